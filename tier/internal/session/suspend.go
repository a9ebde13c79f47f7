package session

import (
	"context"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/tier/internal/record"
)

// IsSuspended reports whether a local copy is not served for the one reason that invalidations of its key may have been
// lost, and so may be believed again once the server says that the entry is still the same write (V1): it was read over
// another connection, or from another server of a cluster than has its key now.
//
// Not so copies of another incarnation, those whose own write is not acknowledged, those that were kept for an outage, and
// those of which the log tells all.
func (s *Session) IsSuspended(it *record.Item, v *changelog.View) bool {
	f := it.Meta()
	switch {
	case !v.Covers(f.AsOf.Full()), f.Provisional.Load() != 0, f.Epoch == record.EpochNone:
		return false
	case it.Extra().Shard.Gone():
		return true
	}
	return f.Epoch != v.Epoch && !changelog.IsLogEpoch(f.Epoch)
}

// ReadHead is ReadOne of no more than tells whether an entry is the same write as a copy of it.
func (s *Session) ReadHead(ctx context.Context, name string, v *changelog.View) (head backend.Item, done bool, err error) {
	items, done, err := s.ReadHeads(ctx, []string{name}, nil, false, v)
	if err != nil {
		return head, done, err
	}
	return items[0], done, nil
}
