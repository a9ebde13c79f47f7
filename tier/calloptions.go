package tier

import (
	"fmt"
	"slices"
	"time"

	"github.com/tiercache/tiercache/internal/envelope"
	"github.com/tiercache/tiercache/invalidation"
)

// AsOf says as of when a value is true: a position in the store's change log.
// Take one with Store.AsOf before reading a source, and give it to Set or Get
// with [WithAsOf].
type AsOf = invalidation.AsOf

// CallOption configures one read.
type CallOption interface{ applyCall(*callConfig) }

type callOption func(*callConfig)

func (f callOption) applyCall(c *callConfig) { f(c) }

type callConfig struct {
	fresh, noLocal bool
	asOf           AsOf
}

// Fresh makes a read reflect every change that was acknowledged, in any process,
// before the read began. It asks the remote tier in any case, in one round trip.
func Fresh() CallOption { return callOption(func(c *callConfig) { c.fresh = true }) }

// NoLocal neither reads nor fills the local tier.
func NoLocal() CallOption { return callOption(func(c *callConfig) { c.noLocal = true }) }

// EntryOption configures one Set.
type EntryOption interface{ applyEntry(*entryConfig) }

type entryOption func(*entryConfig)

func (f entryOption) applyEntry(c *entryConfig) { f(c) }

type entryConfig struct {
	ttl     time.Duration
	ttlSet  bool
	cost    int64
	asOf    AsOf
	sources []string
	err     error
}

// AsOfOption is the type of [WithAsOf].
type AsOfOption AsOf

// WithAsOf says that the value was read from its source at asOf, or that the
// loader of a Get may return something read then. Without it Set takes the
// present position, which is right when the caller has just written the source.
func WithAsOf(asOf AsOf) AsOfOption { return AsOfOption(asOf) }

func (a AsOfOption) applyCall(c *callConfig)   { c.asOf = AsOf(a) }
func (a AsOfOption) applyEntry(c *entryConfig) { c.asOf = AsOf(a) }

// WithSources names the sources that a value given to Set was made from.
func WithSources(ids ...string) EntryOption {
	return entryOption(func(c *entryConfig) { c.addSources(ids) })
}

// WithCost replaces the estimate of the value's heap bytes in the local tier, as
// [Entry.SetCost] does.
func WithCost(bytes int64) EntryOption {
	return entryOption(func(c *entryConfig) { c.setCost(bytes) })
}

func (c *entryConfig) fail(err error) {
	if c.err == nil && err != nil {
		c.err = err
	}
}

func (c *entryConfig) setCost(n int64) {
	if n < 0 {
		c.fail(fmt.Errorf("cost %d: must not be negative", n))
		return
	}
	c.cost = n
}

// check returns the first error in the arguments that were given for the entry.
func (c *entryConfig) check(maxTTL time.Duration) error {
	if c.err == nil && c.ttlSet {
		return checkTTL("TTL", c.ttl, maxTTL)
	}
	return c.err
}

// addSources adds the sources that are not there yet, up to the first invalid one, which
// is an error: the entry is not kept then.
func (c *entryConfig) addSources(ids []string) {
	for _, id := range ids {
		if err := invalidation.CheckSource(id); err != nil {
			c.fail(err)
			return
		}
		// Entries name a handful of sources; a set would cost more than it saves.
		if len(c.sources) < 64 && slices.Contains(c.sources, id) {
			continue
		}
		if len(c.sources) == envelope.MaxSources {
			c.fail(fmt.Errorf("an entry can name at most %d sources", envelope.MaxSources))
			return
		}
		c.sources = append(c.sources, id)
	}
}

// life returns how long the entry is fresh and how long it is kept. check has accepted it.
func (c *entryConfig) life(cfg *cacheConfig, maxTTL time.Duration, negative bool) (fresh, kept time.Duration) {
	ttl := cfg.ttl
	switch {
	case c.ttlSet:
		ttl = c.ttl
	case negative && cfg.negativeSet:
		ttl = cfg.negativeTTL
	case negative:
		ttl = min(cfg.negativeTTL, ttl)
	}
	fresh = jittered(ttl, cfg.jitter)
	if negative {
		return fresh, fresh
	}
	return fresh, min(fresh+cfg.staleWindow(), maxTTL)
}
