package tier

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/envelope"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/invalidation"
	"github.com/tiercache/tiercache/local"
)

// stillServable reports whether a value is at most window past its TTL and
// nothing it depends on has changed.
func (c *core) stillServable(it *item, window time.Duration) bool {
	return mono.Now() < it.meta().fresh.Add(window) && c.stillValid(it)
}

// stillValid decides R1 by what is known locally, for an item whose own marks may
// have been released.
func (c *core) stillValid(it *item) bool {
	marks := c.s.tail.Pin(sourceScopes(it.sources()))
	defer c.s.tail.Release(marks)
	return c.checkMarks(it, c.ns.pins.Current(), marks) == changelog.Valid && !c.keyChanged(it)
}

// keyChanged judges the key's own scope, where keys are scopes.
func (c *core) keyChanged(it *item) bool {
	if !c.keysAreScopes() {
		return false
	}
	marks := c.s.tail.Pin([]invalidation.Scope{c.keyScope(it.key)})
	defer c.s.tail.Release(marks)
	verdict, _ := c.s.tail.Judge(AsOf{Incarnation: it.meta().asOf.Incarnation, Tick: it.extra().keyTick}, marks)
	return verdict != changelog.Valid
}

func (c *core) keyScope(key string) invalidation.Scope {
	return invalidation.Key(c.ns.remoteName(c.ns.hash(key)))
}

func sourceScopes(sources []string) []invalidation.Scope {
	if len(sources) == 0 {
		return nil
	}
	scopes := make([]invalidation.Scope, len(sources))
	for i, id := range sources {
		scopes[i] = invalidation.Source(id)
	}
	return scopes
}

// scopes returns all scopes that a value made from the sources depends on.
func (c *core) scopes(sources []string) []invalidation.Scope {
	return slices.Concat(c.ns.scopes, sourceScopes(sources))
}

// ofType reports whether the item is of this view's namespace and kind: items of earlier
// views of another shape are not.
// guard: I2-negative-of-own-kind
func (c *core) ofType(it *item) bool { return it.kind == c.kind || it.kind == c.kind.negativeKind }

// removeOtherVersions removes local copies of other versions of a key than the one that was
// read and is returned, but not kept. Where the server tracks keys, its invalidations have
// done so: they come before the answer. Without tracking, the change of a key is recorded
// after its write, and a fill is not recorded at all:
//
//	B: writes 2, or fills the key with it
//	A: reads 2 without the local tier, and returns it
//	A: reads 1 from the local tier
//	B: records the change
func (c *core) removeOtherVersions(h local.Key, it *item, f *call) {
	if c.s.cfg.noTracking {
		c.s.table.removeOtherVersions(h, it.meta().nonce, f)
	}
}

// storedValue is a stored entry of which an item is to be made.
type storedValue struct {
	key    string
	stored backend.Item
	basis
	now   mono.Time
	keeps bool // the item may be put into the local tier
}

// open decodes a stored entry and validates it. Without an item the cause says why.
func (c *core) open(ctx context.Context, r *storedValue) (*item, Cause, error) {
	if !r.stored.Found() {
		return nil, Cold, nil
	}
	e, err := envelope.Decode(r.stored.Envelope())
	switch {
	// guard: other-format-is-no-damage
	case errors.Is(err, envelope.ErrFormat):
		return nil, OtherFormat, nil // no error: two releases share the tier
	case err != nil:
		return nil, Damaged, err
	}
	if e.Namespace != c.ns.path || e.Key != r.key {
		return nil, Cold, nil // another key of the same hash
	}
	it, cause, err := c.itemOf(r, &e)
	if err != nil || it == nil {
		return nil, cause, err
	}
	// guard: I5-judge-remote-entry
	if !c.pinMarks(ctx, it) {
		it.release(c.s.tail)
		return nil, Invalidated, nil
	}
	return it, 0, nil
}

// itemOf decodes the value and turns the server's times into local ones.
func (c *core) itemOf(r *storedValue, e *envelope.Entry) (*item, Cause, error) {
	left := e.Expires.Sub(c.s.tail.View().ServerTime(r.now))
	if left <= 0 {
		return nil, Expired, nil
	}
	it := c.empty()
	f := it.meta()
	if e.Negative {
		it.kind = c.kind.negativeKind
	}
	it.key, f.nonce, f.asOf = r.key, e.Nonce, e.AsOf
	c.setBasis(it, &r.basis)
	it.dependOn(cloneAll(e.Sources))
	if !e.Negative {
		if e.Shape != c.typed.shape {
			return nil, OtherType, fmt.Errorf("stored value is of another type than %s's", c.ns.path)
		}
		if err := c.decode(e.Payload, it); err != nil {
			return nil, Damaged, err
		}
	}
	left = min(left, e.Life) // an expiry in the far future gives no longer life
	f.born = r.now.Add(left - e.Life)
	f.fresh, f.expires = f.born.Add(e.Fresh), r.now.Add(left)
	if !r.keeps {
		return it, 0, nil
	}
	stored := len(r.stored.Envelope())
	if e.Cost > 0 {
		// guard: I9-stored-cost
		f.cost = envelope.StatedCost(e.Cost, int64(max(stored, len(e.Payload))))
	}
	c.limitLocal(it, r.now, len(e.Payload))
	if e.Cost == 0 && c.typed.views && len(e.Payload) >= viewFrom {
		f.cost += int64(max(0, stored-len(e.Payload))) // kept alive by the value
	}
	return it, 0, nil
}

// limitLocal applies WithLocalTTL, and estimates the local copy's size unless it is
// stated; encoded is the value's encoded length, or 0 if that is not known.
func (c *core) limitLocal(it *item, now mono.Time, encoded int) {
	f := it.meta()
	if c.cfg.localTTL > 0 {
		f.expires = min(f.expires, now.Add(c.cfg.localTTL))
	}
	if f.cost == 0 {
		var whole bool
		if f.cost, whole = c.typed.size(it, encoded); !whole {
			it.once(guessed)
		}
	}
	it.plan(&c.cfg)
}

// correctGuess raises a cost that was guessed to at least the value's encoded length.
func (c *core) correctGuess(it *item, encoded int) {
	if it.has(guessed) {
		it.meta().cost, _ = c.typed.size(it, encoded)
	}
}

// pinMarks pins the marks of all that the item depends on and decides R1. It asks the
// log about scopes for which this process's knowledge does not reach back far enough (R6).
func (c *core) pinMarks(ctx context.Context, it *item) bool {
	t := c.s.tail
	f := it.meta()
	f.common = c.ns.pins.Current()
	if f.made != nil {
		f.made.marks = t.Pin(sourceScopes(f.made.sources))
	}
	if c.keysAreScopes() {
		it.ensureExtra().keyMark = t.Pin([]invalidation.Scope{c.keyScope(it.key)})[0]
	}
	verdict := c.validate(it)
	if verdict != changelog.Unknown {
		return verdict == changelog.Valid
	}
	// guard: I8-no-fetch-in-outage
	if c.s.conn.OpenOutage() != nil {
		return false
	}
	scopes := c.scopes(it.sources())
	if m := it.extra().keyMark; m != nil {
		scopes = append(scopes, m.Scope())
	}
	rctx := c.s.request(ctx)
	defer rctx.End()
	if err := t.Fetch(rctx, scopes); err != nil {
		c.countRemoteError(err)
		return false
	}
	return c.validate(it) == changelog.Valid
}

func (c *core) validate(it *item) changelog.Verdict {
	verdict := c.checkMarks(it, it.meta().common, it.marks())
	if x := it.extra(); verdict == changelog.Valid && x.keyMark != nil {
		verdict, _ = c.s.tail.Judge(AsOf{Incarnation: it.meta().asOf.Incarnation, Tick: x.keyTick}, []*changelog.Mark{x.keyMark})
	}
	return verdict
}

// checkMarks decides R1 by the marks of the namespaces and of the sources.
func (c *core) checkMarks(it *item, common *changelog.Pinned, own []*changelog.Mark) changelog.Verdict {
	verdict, _ := c.s.tail.Judge(it.meta().asOf, common.Marks)
	if verdict == changelog.Changed || len(own) == 0 {
		return verdict
	}
	if more, _ := c.s.tail.Judge(it.meta().asOf, own); more != changelog.Valid {
		return more
	}
	return verdict
}
