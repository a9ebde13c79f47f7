package core

import (
	"unsafe"

	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier/internal/breaker"
	"github.com/tiercache/tiercache/tier/internal/config"
	"github.com/tiercache/tiercache/tier/internal/inflight"
	"github.com/tiercache/tiercache/tier/internal/record"
)

// allowOutage reports whether the item that was loaded for f is to be kept although it is not stored, since the server is away now. It
// gives it an outageAllowance, if the cache has WithOutageTTL. Without that it is kept where the log has all its changes: it is believed
// as long as other local copies are, and again after the outage, once the log was read (V2). Where keys are tracked it is not:
//
//	A: is cut off, and loads k
//	B: sets k, and deletes it
//	A: is back; the server has no k, and the log has no change of it
func (c *Cache) allowOutage(f *inflight.Call, it *record.Item) bool {
	a := c.breaker(f.Name).Current.Load()
	if a == nil || c.cfg.OutageTTL == 0 {
		// guard: I2-outage-load-in-log
		return a != nil && c.keysAreScopes()
	}
	o := &record.OutageAllowance{Outage: a, Begun: f.Begun, Until: f.Begun.Add(config.Jittered(c.cfg.OutageTTL, c.cfg.Jitter))}
	known := it.Meta()
	if known.Extra == nil {
		known.Cost += int64(unsafe.Sizeof(record.Extra{}))
	}
	it.EnsureExtra().Outage = o
	if !c.cfg.LocalOnly && !c.keysAreScopes() { // else the log has all its changes, and will be read after the outage
		// guard: I2-outage-copy-epoch
		known.Epoch = record.EpochNone
		known.Fresh = min(known.Fresh, o.Until)
		it.Plan(c.earlyShare(it))
	}
	known.Cost += int64(unsafe.Sizeof(*o))
	return true
}

// breaker returns the breaker of a remote key's server, or that of the log's server for
// a local-only cache.
func (c *Cache) breaker(name string) *breaker.Breaker {
	if c.cfg.LocalOnly {
		return c.s.Session.Conn.OfLog()
	}
	return c.s.Session.Conn.Of(name)
}

// servableInOutage reports whether a local copy that is not valid by proof may be served
// all the same. Its own marks may be of a table that was discarded, so it is judged by
// new ones. A view serves the copies of other views no longer than its own, and none
// without the option.
func (c *Cache) servableInOutage(it *record.Item, now mono.Time) bool {
	o := it.Extra().Outage
	// guard: I2-outage-copy-ttl
	// guard: I2-outage-copy-ends-with-outage
	// guard: I1-outage-copy-validity
	return o != nil && now < o.Until && now < it.Meta().Fresh && now < o.Begun.Add(c.cfg.OutageTTL) &&
		o.Outage.Lasts() && c.ofType(it) && c.stillValid(it)
}

// outageCopy returns the copy of a key that may be served without proof, or nil.
func (c *Cache) outageCopy(h local.Key, key string) *record.Item {
	if c.cfg.OutageTTL == 0 {
		return nil
	}
	e := c.s.Local.PeekEntry(h)
	if e == nil || e.Value.Space != any(c.ns) || e.Value.Key != key || !c.servableInOutage(&e.Value, mono.Now()) {
		return nil
	}
	return &e.Value
}

// finishFromLocal ends a call with an outage copy that another load has kept since the
// leader looked in the local tier.
func (c *Cache) finishFromLocal(f *inflight.Call, o config.Call) bool {
	if f.RefreshTarget != nil || f.Force || o.Fresh || !c.usesLocal(o) {
		return false
	}
	it := c.outageCopy(f.H, f.Key)
	if it == nil {
		return false
	}
	c.countOutageHit()
	c.s.Table.Unregister(f)
	f.Finish(inflight.Outcome{Served: inflight.Served{It: it, Origin: inflight.FromLocal, Outage: true}})
	return true
}

func (c *Cache) countOutageHit() {
	c.ns.Stats.LocalHits.Add()
	c.ns.Stats.OutageHits.Add(1)
}

// dropCopy removes the outage copy of a key whose loader has returned a result that is
// not kept.
func (c *Cache) dropCopy(h local.Key) {
	if e := c.s.Local.PeekEntry(h); e != nil && e.Value.Extra().Outage != nil {
		c.s.Local.RemoveEntry(e)
	}
}
