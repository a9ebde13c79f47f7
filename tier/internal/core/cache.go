package core

import (
	"github.com/tiercache/tiercache/tier/internal/config"
	"github.com/tiercache/tiercache/tier/internal/loads"
	"github.com/tiercache/tiercache/tier/internal/pace"
	"github.com/tiercache/tiercache/tier/internal/profile"
	"github.com/tiercache/tiercache/tier/internal/record"
	"github.com/tiercache/tiercache/tier/internal/values"
)

// Cache is the part of a Cache of package tier that does not depend on the type of its values.
type Cache struct {
	s      *Store
	ns     *Namespace
	cfg    config.Cache
	noHits bool // no value is given without a closer look
	typed  values.Type
	root   *View // of the namespace, which is in use as long as this is
	labels *profile.Labels
	stuck  *loads.Stuck
	took   *pace.LoadTime
	// compare is not nil in tests that look for modified values.
	compare *values.Comparison
	seen    int64 // what the namespace had counted when it was last asked whether it is idle
}

// Store is the store of the view.
func (c *Cache) Store() *Store { return c.s }

// Namespace is what the view shares with the others of its namespace.
func (c *Cache) Namespace() *Namespace { return c.ns }

// Kind is that of the items of this view.
func (c *Cache) Kind() *record.Kind { return c.typed.Kind }

// Look panics unless an item is of the view's kind: its value is found by its place. Each path that shares an item
// checks its kind. In tests that look for modified values it compares the item's.
func (c *Cache) Look(it *record.Item) {
	// guard: value-of-own-type
	if it.Kind != c.typed.Kind {
		panic("tier: an item of another kind of view")
	}
	if c.compare != nil {
		c.compare.Look(c.ns.Path, it)
	}
}

// Hit is the fast path: a value of the cache's type that needs no closer look, or nil.
// It counts it.
//
// Anything near a deadline takes the slow path, which reads the real clock. Where Soon
// has to read that clock, it does so after both cache lines that a hit needs were asked
// for: reading the clock waits for the loads before it. seq is read before the view. If
// the two are equal, nothing has changed since the item was last checked.
func (c *Cache) Hit(key string) *record.Item {
	e := c.s.Local.GetEntry(c.ns.Hash(key))
	if e == nil {
		return nil
	}
	it := &e.Value
	// guard: hit-of-own-type
	if it.Kind != c.typed.Kind || it.Key != key || c.noHits || c.ns.IsBypassed() {
		return nil
	}
	seq := it.Seq.Load()
	now, v := c.s.clock.Soon(), c.s.Session.Tail.View()
	// guard: I2-hit-asks-proof
	// guard: I1-hit-after-change
	if int64(now) >= it.Check.Load() || !c.s.Session.HasFreshProof(it, v, now) || seq != v.Seq && !it.Recheck(v) {
		return nil
	}
	c.countHit(key)
	return it
}

func (c *Cache) usesLocal(o config.Call) bool {
	// guard: bypass-uses-no-local-copy
	return !o.NoLocal && !c.cfg.RemoteOnly && !c.ns.IsBypassed()
}
