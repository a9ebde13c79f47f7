package core

import (
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier/internal/record"
)

// refreshesEarly reports that it is time to renew an item ahead of its TTL: once, and once more
// after each pause that follows a failure. The pause is that of the key, since the item may have been read after it began.
func (c *Cache) refreshesEarly(h local.Key, it *record.Item, now mono.Time) bool {
	if c.cfg.Early == 0 || now < it.EarlyAt(c.earlyShare(it)) {
		return false
	}
	// guard: no-early-refresh-in-pause
	if until, paused := c.s.pauses.Until(h, now); paused {
		c.refreshEarlyAt(it, until)
		return false
	}
	if !it.Once(record.Early) {
		return false
	}
	it.Plan(c.earlyShare(it))
	return true
}

// earlyShare is the share of an item's TTL after which it is renewed early; 0 if it is not.
func (c *Cache) earlyShare(it *record.Item) float64 {
	if c.cfg.Early == 0 {
		return 0
	}
	f := it.Meta()
	return c.took.EarlyShare(c.cfg.Early, f.Fresh.Sub(f.Born), f.Nonce^c.s.seed)
}

// refreshEarlyAt has an item that was to be renewed ahead of its TTL, and was not, renewed when it
// is read after at.
func (c *Cache) refreshEarlyAt(it *record.Item, at mono.Time) {
	it.Meta().Retry.Store(int64(at))
	it.Again(record.Early)
	it.Plan(c.earlyShare(it))
}
