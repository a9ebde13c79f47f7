package session

import (
	"context"
	"slices"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
)

// ReadOne gets one key. If the caller wants it fresh, or the last proof is too old to
// judge the answer by, the same request reads a delta. done is false if the delta could
// not be used and the caller has to ask again.
func (s *Session) ReadOne(ctx context.Context, name string, fresh bool, v *changelog.View) (stored backend.Item, done bool, err error) {
	rctx := s.Request(ctx)
	defer rctx.End()
	shard := s.ShardOf(name)
	// guard: I4-fresh-read-asks-delta
	if !fresh && s.CanJudge(v, shard) {
		if stored, err = s.Conn.GetOne(rctx, name); err == nil && s.ConnectionChanged(v, shard) {
			err = s.Revalidate(rctx, name)
		}
		return stored, true, err
	}
	q := s.Tail.Query(nil)
	items, d, err := s.Conn.Get(rctx, []string{name}, &q.DeltaQuery)
	if err != nil {
		return stored, false, err
	}
	if done, err = s.Tail.Apply(rctx, q, d); done && s.ConnectionChanged(v, nil) {
		err = s.Revalidate(rctx, name)
	}
	return items[0], done, err
}

// ReadMany is ReadOne for several keys, in one round trip.
func (s *Session) ReadMany(ctx context.Context, names []string, fresh bool, v *changelog.View) (items []backend.Item, done bool, err error) {
	return s.ReadHeads(ctx, nil, names, fresh, v)
}

// ReadHeads is ReadMany, behind the heads of other entries: see [backend.Reader].
func (s *Session) ReadHeads(ctx context.Context, heads, rest []string, fresh bool, v *changelog.View) (items []backend.Item, done bool, err error) {
	rctx := s.Request(ctx)
	defer rctx.End()
	names := rest
	if len(heads) > 0 {
		names = slices.Concat(heads, rest)
	}
	shards := s.shardsOf(names)
	// guard: V3-delta-first
	if !fresh && s.canJudgeAll(v, shards) {
		items, _, err = s.Conn.GetHeads(rctx, heads, rest, nil)
		if err == nil && s.anyConnectionChanged(v, shards) {
			err = s.Revalidate(rctx, names...)
		}
		return items, true, err
	}
	q := s.Tail.Query(nil)
	items, d, err := s.Conn.GetHeads(rctx, heads, rest, &q.DeltaQuery)
	if err != nil {
		return nil, false, err
	}
	if done, err = s.Tail.Apply(rctx, q, d); done && s.ConnectionChanged(v, nil) {
		err = s.Revalidate(rctx, names...)
	}
	return items, done, err
}

// ReadUntracked reads entries that are not to be kept, where there is one server. The caller has
// found that v can judge them.
func (s *Session) ReadUntracked(ctx context.Context, names []string, v *changelog.View) ([]backend.Item, error) {
	rctx := s.Request(ctx)
	defer rctx.End()
	items, err := s.Conn.GetUntracked(rctx, names)
	if err == nil && s.ConnectionChanged(v, nil) {
		err = s.Revalidate(rctx, names...)
	}
	return items, err
}

// Lease asks for leases. What comes with one is judged as what is read without: by what is
// proven. A load that waits for another's lease may find that nothing is.
//
//	A:      Delete(k) returns; B holds the lease of k, and A waits for it
//	server: is restarted from an older file, with k in it
//	A:      dials again, asks for the lease, and is given what the file had
func (s *Session) Lease(ctx context.Context, asked []backend.LeaseRequest, v *changelog.View) ([]backend.Lease, error) {
	var names []string
	var shards []*backend.Shard
	if s.Sharded() {
		names = keysOf(asked)
		shards = s.shardsOf(names)
	}
	rctx := s.Request(ctx)
	defer rctx.End()
	leases, err := s.Conn.Lease(rctx, asked)
	// guard: R6-lease-by-proof
	unproven := !s.canJudgeAll(v, shards) && slices.ContainsFunc(leases, func(l backend.Lease) bool { return l.Item.Found() })
	if err == nil && (unproven || s.anyConnectionChanged(v, shards)) {
		if names == nil {
			names = keysOf(asked)
		}
		err = s.Revalidate(rctx, names...)
	}
	return leases, err
}

func keysOf(asked []backend.LeaseRequest) []string {
	keys := make([]string, len(asked))
	for i := range asked {
		keys[i] = asked[i].Key
	}
	return keys
}

// shardsOf returns the servers of the keys; nil where there is one server.
func (s *Session) shardsOf(names []string) []*backend.Shard {
	if !s.Sharded() {
		return nil
	}
	shards := make([]*backend.Shard, len(names))
	for i, name := range names {
		shards[i] = s.Conn.Shard(name)
	}
	return shards
}

// canJudgeAll is CanJudge for the log and all shards.
func (s *Session) canJudgeAll(v *changelog.View, shards []*backend.Shard) bool {
	if !s.CanJudge(v, nil) {
		return false
	}
	return !slices.ContainsFunc(shards, func(shard *backend.Shard) bool { return !s.CanJudge(v, shard) })
}

// anyConnectionChanged is ConnectionChanged for the log and all shards.
func (s *Session) anyConnectionChanged(v *changelog.View, shards []*backend.Shard) bool {
	return s.ConnectionChanged(v, nil) || slices.ContainsFunc(shards, (*backend.Shard).Gone)
}
