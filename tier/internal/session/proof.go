package session

import (
	"context"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/tier/internal/record"
)

// IsValid decides rule R5, except for the TTL: whether this process can prove at now
// that a local copy is true.
func (s *Session) IsValid(it *record.Item, v *changelog.View, now mono.Time) bool {
	return s.HasFreshProof(it, v, now) && (it.Seq.Load() == v.Seq || it.Recheck(v))
}

// HasFreshProof reports whether this process has recent proof that it learns of changes of
// the item: from the log, and from the server that the item was read from.
func (s *Session) HasFreshProof(it *record.Item, v *changelog.View, now mono.Time) bool {
	// guard: I2-shard-proof-age
	// guard: I2-proof-age
	return s.ProofFresh(v, now) && (!s.Sharded() || it.Extra().Shard.Age(now) <= s.Cfg.MaxStaleness)
}

// ProofFresh reports whether this process has recent proof that it has read the log.
func (s *Session) ProofFresh(v *changelog.View, now mono.Time) bool {
	return v.Age(now) <= s.Cfg.MaxStaleness
}

// ShardOf returns the server of the cluster that has the remote key name; nil where
// there is one server.
func (s *Session) ShardOf(name string) *backend.Shard {
	if !s.Sharded() {
		return nil
	}
	return s.Conn.Shard(name)
}

// CanJudge reports whether the answer to a plain read can be judged by what is known:
// the log was read recently, and the server of the key has answered recently, since a server of the cluster was
// replaced, or a connection to one.
func (s *Session) CanJudge(v *changelog.View, shard *backend.Shard) bool {
	now := mono.Now()
	// guard: R6-proof-since-move
	return s.ProofFresh(v, now) && shard.Age(now) <= s.Cfg.MaxStaleness && v.Proof > v.MovedAt
}

// ConnectionChanged reports whether a read that was sent at v, to shard, may have been
// answered over another connection than the one that was proven then. A connection
// reports that it is new (see remote.Events) before it is used.
func (s *Session) ConnectionChanged(v *changelog.View, shard *backend.Shard) bool {
	latest := s.Tail.View()
	// guard: I1-read-overtaken-by-flush
	// guard: R6-read-overtaken-by-move
	return latest.Epoch != v.Epoch || latest.Moves != v.Moves || shard.Gone()
}

// Revalidate returns once an answer over a changed connection can be judged. It reads the
// log, and asks for proof, over the connection that is used now: the server may be
// another one, which has not yet received all changes that the one before had.
func (s *Session) Revalidate(ctx context.Context, names ...string) error {
	for range maxRevalidate {
		v := s.Tail.View()
		if err := s.Tail.CatchUp(ctx); err != nil {
			return err
		}
		if err := s.Conn.Prove(ctx, names...); err != nil {
			return err
		}
		if !s.ConnectionChanged(v, nil) {
			return nil
		}
	}
	return changelog.ErrUnstable
}

const maxRevalidate = 8
