package tier

import (
	"math"
	"time"
	"unsafe"

	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier/internal/breaker"
)

// outageAllowance allows an item to be served without proof: as long as one outage of
// the server lasts, and until a given time.
//
// Changes that this process learns of meanwhile (its own, or from messages that still
// arrive) invalidate the item all the same. The time for which other changes can be
// missed is bounded by WithOutageTTL, counted from the beginning of the load.
type outageAllowance struct {
	outage *breaker.Outage
	begun  mono.Time // when the load began
	until  mono.Time
}

// epochNone is the epoch of items that are never valid by proof: the server sends no
// invalidations of their keys, since the items were neither read from it nor stored
// there. When the outage is over they are dropped, even if they are still true.
const epochNone = math.MaxUint64

// allowOutage gives the item that was loaded for f an outageAllowance, if the cache has
// WithOutageTTL and the server is away now. It reports whether it did.
func (c *core) allowOutage(f *call, it *item) bool {
	if c.cfg.outageTTL == 0 {
		return false
	}
	a := c.breaker(f.name).Current.Load()
	if a == nil {
		return false
	}
	o := &outageAllowance{outage: a, begun: f.begun, until: f.begun.Add(jittered(c.cfg.outageTTL, c.cfg.jitter))}
	known := it.meta()
	if known.extra == nil {
		known.cost += int64(unsafe.Sizeof(extra{}))
	}
	it.ensureExtra().outage = o
	if !c.cfg.localOnly { // else only the log has its changes, and will be read after the outage
		// guard: I2-outage-copy-epoch
		known.epoch = epochNone
		known.fresh = min(known.fresh, o.until)
		it.plan(&c.cfg)
	}
	known.cost += int64(unsafe.Sizeof(*o))
	return true
}

// breaker returns the breaker of a remote key's server, or that of the log's server for
// a local-only cache.
func (c *core) breaker(name string) *breaker.Breaker {
	if c.cfg.localOnly {
		return c.s.conn.OfLog()
	}
	return c.s.conn.Of(name)
}

// servableInOutage reports whether a local copy that is not valid by proof may be served
// all the same. Its own marks may be of a table that was discarded, so it is judged by
// new ones. A view serves the copies of other views no longer than its own, and none
// without the option.
func (c *core) servableInOutage(it *item, now mono.Time) bool {
	o := it.extra().outage
	// guard: I2-outage-copy-ttl
	// guard: I2-outage-copy-ends-with-outage
	// guard: I1-outage-copy-validity
	return o != nil && now < o.until && now < it.meta().fresh && now < o.begun.Add(c.cfg.outageTTL) &&
		o.outage.Lasts() && c.ofType(it) && c.stillValid(it)
}

// outageCopy returns the copy of a key that may be served without proof, or nil.
func (c *core) outageCopy(h local.Key, key string) *item {
	if c.cfg.outageTTL == 0 {
		return nil
	}
	e := c.s.local.PeekEntry(h)
	if e == nil || e.Value.ns != c.ns || e.Value.key != key || !c.servableInOutage(&e.Value, mono.Now()) {
		return nil
	}
	return &e.Value
}

// finishFromLocal ends a call with an outage copy that another load has kept since the
// leader looked in the local tier.
func (c *core) finishFromLocal(f *call, o callConfig) bool {
	if f.refreshTarget != nil || f.force || o.fresh || !c.usesLocal(o) {
		return false
	}
	it := c.outageCopy(f.h, f.key)
	if it == nil {
		return false
	}
	c.countOutageHit()
	c.s.table.unregister(f)
	f.finish(outcome{served: served{it: it, origin: Local, outage: true}})
	return true
}

func (c *core) countOutageHit() {
	c.ns.stats.localHits.add()
	c.ns.stats.outageHits.Add(1)
}

// dropCopy removes the outage copy of a key whose loader has returned a result that is
// not kept.
func (c *core) dropCopy(h local.Key) {
	if e := c.s.local.PeekEntry(h); e != nil && e.Value.extra().outage != nil {
		c.s.local.RemoveEntry(e)
	}
}

// remaining is the rest of an item's TTL, or of its outageAllowance if that ends sooner.
func (o served) remaining(now mono.Time) time.Duration {
	left := o.it.meta().fresh.Sub(now)
	if o.outage {
		left = min(left, o.it.extra().outage.until.Sub(now))
	}
	return left
}
