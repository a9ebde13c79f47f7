package core

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/envelope"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/invalidation"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier/internal/inflight"
	"github.com/tiercache/tiercache/tier/internal/record"
	"github.com/tiercache/tiercache/tier/internal/values"
)

// setBasis notes on what basis the item was read or loaded.
func (c *Cache) setBasis(it *record.Item, b *inflight.Basis) {
	it.Meta().Epoch = b.Epoch
	switch {
	case c.cfg.LocalOnly: // no server has its key
		it.Meta().Epoch = b.LogEpoch
		return
	case c.keysAreScopes():
		it.Meta().Epoch = b.LogEpoch
		it.EnsureExtra().KeyTick = b.KeyTick
	}
	c.setShard(it, b.Shard)
}

// setShard notes which server of a cluster the item was read from or is written to.
func (c *Cache) setShard(it *record.Item, s *backend.Shard) {
	if s != nil || it.Meta().Extra != nil {
		it.EnsureExtra().Shard = s
	}
}

// keysAreScopes reports whether changes of single keys are recorded in the log.
func (c *Cache) keysAreScopes() bool { return c.s.Config.NoTracking && !c.cfg.LocalOnly }

// stillServable reports whether a value is at most window past its TTL, within its life, and
// nothing it depends on has changed.
func (c *Cache) stillServable(it *record.Item, window time.Duration) bool {
	// guard: S3-stale-within-life
	// guard: evicted-value-is-no-fallback
	return mono.Now() < min(it.Meta().Fresh.Add(window), it.Meta().Expires) && !it.Has(record.Left) && c.stillValid(it)
}

// stillValid decides R1 by what is known locally, for an item whose own marks may
// have been released.
func (c *Cache) stillValid(it *record.Item) bool {
	return c.s.Session.StillValid(&c.ns.Namespace, it, c.keysAreScopes())
}

// ofType reports whether the item is of this view's namespace and kind: items of earlier
// views of another shape are not.
// guard: I2-negative-of-own-kind
func (c *Cache) ofType(it *record.Item) bool {
	return it.Kind == c.typed.Kind || it.Kind == c.typed.Kind.NegativeKind
}

// removeOtherVersions removes local copies of other versions of a key than the one that was
// read and is returned, but not kept. Where the server tracks keys, its invalidations have
// done so: they come before the answer. Without tracking, the change of a key is recorded
// after its write, and a fill is not recorded at all:
//
//	B: writes 2, or fills the key with it
//	A: reads 2 without the local tier, and returns it
//	A: reads 1 from the local tier
//	B: records the change
func (c *Cache) removeOtherVersions(h local.Key, it *record.Item, f *inflight.Call) {
	if c.s.Config.NoTracking {
		c.s.Table.RemoveOtherVersions(h, it.Meta().Nonce, f)
	}
}

// storedValue is a stored entry of which an item is to be made.
type storedValue struct {
	key    string
	stored backend.Item
	inflight.Basis
	now   mono.Time
	keeps bool // the item may be put into the local tier
	// again is an item to be used again for this value, which is copied out of it; nil for one of its own.
	again *record.Item
}

// linkOf returns the random number of an entry of which open made no item since it is of another
// encoding, or of a format of another release. 0: it is not, and has to be replaced.
func linkOf(stored backend.Item, cause MissCause) uint64 {
	if cause != CauseOtherType && cause != CauseOtherFormat {
		return 0
	}
	link, _ := envelope.NonceOf(stored.Envelope())
	return link
}

// besideName is the name of this view's entry of a key whose entry is of another encoding.
func (c *Cache) besideName(h local.Key) string { return c.ns.BesideName(h, c.typed.Shape) }

// openBeside is open for an entry that stands beside one of another encoding, which was link when
// it was read, and could not be used because of why.
func (c *Cache) openBeside(ctx context.Context, r *storedValue, link uint64, why MissCause) (*record.Item, MissCause, error) {
	if !r.stored.Found() {
		return nil, why, nil
	}
	was, entry, ok := envelope.CutLink(r.stored.Envelope())
	// What it was loaded beside has been set, deleted or replaced since.
	// guard: P1-link
	if !ok || was != link {
		return nil, why, nil
	}
	r.stored.Raw = entry
	return c.open(ctx, r)
}

// open decodes a stored entry and validates it. Without an item the cause says why.
func (c *Cache) open(ctx context.Context, r *storedValue) (*record.Item, MissCause, error) {
	if !r.stored.Found() {
		return nil, CauseCold, nil
	}
	e, err := envelope.DecodeWithin(r.stored.Envelope(), c.s.Config.MaxValue)
	switch {
	// guard: other-format-is-no-damage
	case errors.Is(err, envelope.ErrFormat):
		return nil, CauseOtherFormat, nil // no error: two releases share the tier
	case err != nil:
		return nil, CauseDamaged, err
	}
	if e.Namespace != c.ns.Path || e.Key != r.key {
		return nil, CauseCold, nil // another key of the same hash
	}
	it, cause, err := c.itemOf(r, &e)
	if err != nil || it == nil {
		return nil, cause, err
	}
	// guard: I5-judge-remote-entry
	if !c.pinMarks(ctx, it) {
		it.Release(c.s.Session.Tail)
		return nil, CauseInvalidated, nil
	}
	return it, 0, nil
}

// itemOf decodes the value and turns the server's times into local ones.
func (c *Cache) itemOf(r *storedValue, e *envelope.Entry) (*record.Item, MissCause, error) {
	left := e.Expires.Sub(c.s.Session.Tail.View().ServerTime(r.now))
	if left <= 0 {
		return nil, CauseExpired, nil
	}
	it, decode := r.again, c.typed.DecodeApart
	if it == nil {
		it, decode = c.typed.Empty(), c.typed.Decode
	} else {
		// guard: item-used-again-is-empty
		it.Clear()
	}
	f := it.Meta()
	if e.Negative {
		it.Kind = c.typed.Kind.NegativeKind
	}
	it.Key, f.Nonce, f.AsOf = r.key, e.Nonce, record.PositionOf(e.AsOf)
	c.setBasis(it, &r.Basis)
	it.DependOn(record.CloneAll(e.Sources))
	if !e.Negative {
		if e.Shape != c.typed.Shape {
			c.noteEncoding(e.Shape, r.now.Add(left-e.Life), r.now)
			return nil, CauseOtherType, fmt.Errorf("stored value is of another type than %s's", c.ns.Path)
		}
		if err := decode(e.Payload, it); err != nil {
			return nil, CauseDamaged, err
		}
	}
	left = min(left, e.Life) // an expiry in the far future gives no longer life
	f.Born = r.now.Add(left - e.Life)
	f.Fresh, f.Expires = f.Born.Add(e.Fresh), r.now.Add(left)
	if !r.keeps {
		return it, 0, nil
	}
	stored := len(r.stored.Envelope())
	if e.Cost > 0 {
		// guard: I9-stored-cost
		f.Cost = envelope.StatedCost(e.Cost, int64(max(stored, len(e.Payload))))
	}
	c.limitLocal(it, r.now, len(e.Payload))
	if e.Cost == 0 && c.typed.Views && len(e.Payload) >= values.ViewFrom {
		f.Cost += int64(max(0, stored-len(e.Payload))) // kept alive by the value
	}
	return it, 0, nil
}

// limitLocal applies WithLocalTTL, and estimates the local copy's size unless it is
// stated; encoded is the value's encoded length, or 0 if that is not known.
func (c *Cache) limitLocal(it *record.Item, now mono.Time, encoded int) {
	f := it.Meta()
	if c.cfg.LocalTTL > 0 {
		f.Expires = min(f.Expires, now.Add(c.cfg.LocalTTL))
	}
	if f.Cost == 0 {
		var whole bool
		if f.Cost, whole = c.typed.Size(it, encoded); !whole {
			it.Once(record.Guessed)
			c.warnOfGuess()
		}
	}
	it.Plan(c.earlyShare(it))
}

// correctGuess raises a cost that was guessed to at least the value's encoded length.
func (c *Cache) correctGuess(it *record.Item, encoded int) {
	if it.Has(record.Guessed) {
		it.Meta().Cost, _ = c.typed.Size(it, encoded)
	}
}

// endOf is when a value ends since a change settles (S3).
func (c *Cache) endOf(ctx context.Context, a invalidation.AsOf, begun mono.Time, sources []string) mono.Time {
	end, err := c.s.Session.EndOf(ctx, &c.ns.Namespace, a, begun, sources)
	if err != nil {
		c.countRemoteError(err)
	}
	return end
}

// pinMarks pins the marks of all that the item depends on and decides R1 and R6.
func (c *Cache) pinMarks(ctx context.Context, it *record.Item) bool {
	valid, err := c.s.Session.PinMarks(ctx, &c.ns.Namespace, it, c.keysAreScopes())
	if err != nil {
		c.countRemoteError(err)
	}
	return valid
}

// FreshCopy returns a local copy that is fresh, and valid or servable in the outage.
func (c *Cache) FreshCopy(h local.Key, key string) *record.Item {
	if c.cfg.RemoteOnly || c.ns.IsBypassed() {
		return nil
	}
	it, _, _ := c.localCopy(h, key, false)
	return it
}

// localCopy returns a local copy that is valid, or servable in the outage; or nil, and why there is none.
func (c *Cache) localCopy(h local.Key, key string, stale bool) (it *record.Item, outage bool, why MissCause) {
	e := c.s.Local.PeekEntry(h)
	if e == nil {
		return nil, false, CauseCold
	}
	it, now, v := &e.Value, mono.Now(), c.s.Session.Tail.View()
	// guard: I2-peek-of-own-kind
	if !c.ofType(it) || it.Key != key {
		return nil, false, CauseCold
	}
	if !it.Servable(now) || !stale && now >= it.Meta().Fresh {
		return nil, false, CauseExpired
	}
	switch outage = !c.s.Session.IsValid(it, v, now); {
	case !outage:
	case c.servableInOutage(it, now):
	case c.s.Session.ProofFresh(v, now):
		return nil, false, CauseInvalidated
	default:
		return nil, false, CauseUnproven
	}
	return it, outage, 0
}
