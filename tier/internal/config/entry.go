package config

import (
	"fmt"
	"slices"
	"time"

	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/envelope"
	"github.com/tiercache/tiercache/invalidation"
)

// Call is what the options of a read say.
type Call struct {
	Fresh, NoLocal bool
	AsOf           invalidation.AsOf
}

// Change is what the options of an invalidation say.
type Change struct{ Settle time.Duration }

// CheckSettle checks the time after which a change settles: the log must still have the change then.
func CheckSettle(d, maxTTL time.Duration) error {
	switch {
	case d < 0 || d > changelog.MaxSettle:
		//lint:ignore ST1005 it is the name of the option
		return fmt.Errorf("Settle %v: must be between 0 and %v", d, changelog.MaxSettle)
	case d > maxTTL/2:
		//lint:ignore ST1005 likewise
		return fmt.Errorf("Settle %v with WithMaxTTL %v: must be at most half of it", d, maxTTL)
	}
	return nil
}

// Entry is what is said of an entry that is stored.
type Entry struct {
	TTL     time.Duration
	TTLSet  bool
	Cost    int64
	AsOf    invalidation.AsOf
	Sources []string
	err     error
}

func (c *Entry) fail(err error) {
	if c.err == nil && err != nil {
		c.err = err
	}
}

func (c *Entry) SetCost(n int64) {
	if n < 0 {
		c.fail(fmt.Errorf("cost %d: must not be negative", n))
		return
	}
	c.Cost = n
}

// Check returns the first error in the arguments that were given for the entry.
func (c *Entry) Check(maxTTL time.Duration) error {
	if c.err == nil && c.TTLSet {
		return checkTTL("TTL", c.TTL, maxTTL)
	}
	return c.err
}

// AddSources adds the sources that are not there yet, up to the first invalid one, which
// is an error: the entry is not kept then.
func (c *Entry) AddSources(ids []string) {
	for _, id := range ids {
		if err := invalidation.CheckSource(id); err != nil {
			c.fail(err)
			return
		}
		// Entries name a handful of sources; a set would cost more than it saves.
		if len(c.Sources) < 64 && slices.Contains(c.Sources, id) {
			continue
		}
		if len(c.Sources) == envelope.MaxSources {
			c.fail(fmt.Errorf("an entry can name at most %d sources", envelope.MaxSources))
			return
		}
		c.Sources = append(c.Sources, id)
	}
}

// Life returns how long the entry is fresh and how long it is kept. check has accepted it.
func (c *Entry) Life(cfg *Cache, maxTTL time.Duration, negative bool) (fresh, kept time.Duration) {
	ttl := cfg.TTL
	switch {
	case c.TTLSet:
		ttl = c.TTL
	case negative && cfg.NegativeSet:
		ttl = cfg.NegativeTTL
	case negative:
		ttl = min(cfg.NegativeTTL, ttl)
	}
	fresh = Jittered(ttl, cfg.Jitter)
	if negative {
		return fresh, fresh
	}
	return fresh, min(fresh+cfg.StaleWindow(), maxTTL)
}
