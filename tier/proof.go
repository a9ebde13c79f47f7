package tier

import (
	"context"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/mono"
)

// shardOf returns the server of the cluster that has the remote key name; nil where
// there is one server.
func (s *Store) shardOf(name string) *backend.Shard {
	if !s.sharded {
		return nil
	}
	return s.conn.Shard(name)
}

// canJudge reports whether the answer to a plain read can be judged by what is known:
// the log was read recently, and the server of the key has answered recently.
func (s *Store) canJudge(v *changelog.View, shard *backend.Shard) bool {
	now := mono.Now()
	return s.proofFresh(v, now) && shard.Age(now) <= s.cfg.maxStaleness
}

// connectionChanged reports whether a read that was sent at v, to shard, may have been
// answered over another connection than the one that was proven then. A connection
// reports that it is new (see remote.Events) before it is used.
func (s *Store) connectionChanged(v *changelog.View, shard *backend.Shard) bool {
	// guard: I1-read-overtaken-by-flush
	// guard: I6-read-from-other-connection
	return s.tail.View().Epoch != v.Epoch || shard.Gone()
}

// revalidate returns once an answer over a changed connection can be judged. It reads the
// log, and asks for proof, over the connection that is used now: the server may be
// another one, which has not yet received all changes that the one before had.
func (s *Store) revalidate(ctx context.Context, names ...string) error {
	for range maxRevalidate {
		v := s.tail.View()
		if err := s.tail.CatchUp(ctx); err != nil {
			return err
		}
		if err := s.conn.Prove(ctx, names...); err != nil {
			return err
		}
		if !s.connectionChanged(v, nil) {
			return nil
		}
	}
	return changelog.ErrUnstable
}

const maxRevalidate = 8
