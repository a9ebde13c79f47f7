package tier

import (
	"context"

	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/invalidation"
	"github.com/tiercache/tiercache/remote"
)

// shardOf returns the part of the remote tier that has a key, by its remote name;
// nil where there is one server.
func (s *Store) shardOf(name string) *remote.Shard {
	if !s.sharded {
		return nil
	}
	return s.conn.Shard(name)
}

// canJudge reports whether what a plain read gives can be judged by what is known:
// the log was heard of late, and so was the server of the key.
func (s *Store) canJudge(v *invalidation.View, shard *remote.Shard) bool {
	now := mono.Now()
	return s.proofFresh(v, now) && shard.Age(now) <= s.cfg.maxStaleness
}

// connectionChanged reports whether a read that was sent at v, to shard, may have been answered
// over another connection than the one that was proven by then: whoever is about
// to use another one says so first.
func (s *Store) connectionChanged(v *invalidation.View, shard *remote.Shard) bool {
	// guard: I1-read-overtaken-by-flush
	// guard: I6-read-from-other-connection
	return s.tail.View().Epoch != v.Epoch || shard.Gone()
}

// revalidate returns once what was read over a connection that has moved can be
// judged: what changed is asked where it came from. It may have been a server that
// is behind the one before.
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
	return invalidation.ErrUnstable
}

const maxRevalidate = 8
