package core

import (
	"context"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/tier/internal/config"
	"github.com/tiercache/tiercache/tier/internal/inflight"
	"github.com/tiercache/tiercache/tier/internal/record"
	"github.com/tiercache/tiercache/tier/internal/revalidate"
)

// suspendedCopy returns the local copy that f may have proven again in place of a read (V5), or nil.
func (c *Cache) suspendedCopy(f *inflight.Call, o config.Call) *record.Item {
	if !c.usesLocal(o) || o.Fresh || f.Force || f.RefreshTarget != nil {
		return nil
	}
	e := c.s.Local.PeekEntry(f.H)
	if e == nil || !c.ofType(&e.Value) || e.Value.Key != f.Key || !e.Value.Servable(mono.Now()) || !c.s.Session.IsSuspended(&e.Value, c.s.Session.Tail.View()) {
		return nil
	}
	return &e.Value
}

// finishFromCopy ends the call with a suspended copy, if its entry is still the same write. If not, unread says whether there is
// an entry to be read, of which the copy is removed (V4), or one beside it to be compared (P4). due is set if the copy is to be renewed in the background.
func (c *Cache) finishFromCopy(ctx context.Context, f *inflight.Call, copied *record.Item, head backend.Item, o config.Call) (ended, unread bool, due *record.Item) {
	var answer revalidate.Answer
	var link uint64
	if f.Beside == nil {
		answer, link = revalidate.Compare(copied, head)
	} else {
		answer, f.Basis = revalidate.CompareBeside(copied, head, f.Beside.Nonce), f.Beside.Basis
	}
	switch answer {
	case revalidate.Same:
	case revalidate.Beside:
		c.s.Table.GoBeside(f, c.besideName(f.H), link, uint8(CauseOtherType))
		return false, true, nil
	default:
		c.s.Local.RemoveEntry(copied.Entry())
		if answer == revalidate.Missing {
			cause := CauseCold
			if f.Beside != nil {
				cause = MissCause(f.Beside.Cause)
			}
			c.countMiss(cause)
		}
		return false, answer != revalidate.Missing, nil
	}
	f.Seen, f.Empty = seenOf(head)
	it := copied.Renewed()
	c.setBasis(it, &f.Basis)
	it.Plan(c.earlyShare(it))
	// guard: V3-judge-again
	if !c.pinMarks(ctx, it) {
		it.Release(c.s.Session.Tail)
		c.s.Local.RemoveEntry(copied.Entry())
		c.countMiss(CauseInvalidated)
		return false, false, nil
	}
	ended, due = c.finishItem(f, it, mono.Now(), o)
	return ended, false, due
}
