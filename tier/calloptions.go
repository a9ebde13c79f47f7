package tier

import (
	"github.com/tiercache/tiercache/invalidation"
	"github.com/tiercache/tiercache/tier/internal/config"
)

// AsOf says as of when a value is true: a position in the store's change log.
// Take one with Store.AsOf before reading a source, and give it to Set or Get
// with [WithAsOf].
type AsOf = invalidation.AsOf

// CallOption configures one read.
type CallOption interface{ applyCall(*config.Call) }

type callOption func(*config.Call)

func (f callOption) applyCall(c *config.Call) { f(c) }

// Fresh makes a read reflect every change that was acknowledged, in any process,
// before the read began. It asks the remote tier in any case, in one round trip. It is about changes, and not about TTLs: a
// value that is past its TTL and has not changed is not served by WithStaleWhileRevalidate (the read waits for the load,
// and others are served meanwhile), but WithStaleOnError and WithSoftTimeout serve it, marked as Stale.
func Fresh() CallOption { return callOption(func(c *config.Call) { c.Fresh = true }) }

// NoLocal neither reads nor fills the local tier.
func NoLocal() CallOption { return callOption(func(c *config.Call) { c.NoLocal = true }) }

// EntryOption configures one Set.
type EntryOption interface{ applyEntry(*config.Entry) }

func entryOptions(options []EntryOption) config.Entry {
	var cfg config.Entry
	for _, o := range options {
		if o != nil {
			o.applyEntry(&cfg)
		}
	}
	return cfg
}

type entryOption func(*config.Entry)

func (f entryOption) applyEntry(c *config.Entry) { f(c) }

// AsOfOption is the type of [WithAsOf].
type AsOfOption AsOf

// WithAsOf says that the value was read from its source at asOf, or that the
// loader of a Get may return something read then. Without it Set takes the
// present position, which is right when the caller has just written the source.
func WithAsOf(asOf AsOf) AsOfOption { return AsOfOption(asOf) }

func (a AsOfOption) applyCall(c *config.Call)   { c.AsOf = AsOf(a) }
func (a AsOfOption) applyEntry(c *config.Entry) { c.AsOf = AsOf(a) }

// WithSources names the sources that a value given to Set was made from.
func WithSources(ids ...string) EntryOption {
	return entryOption(func(c *config.Entry) { c.AddSources(ids) })
}

// WithCost replaces the estimate of the value's heap bytes in the local tier, as
// [Entry.SetCost] does.
func WithCost(bytes int64) EntryOption {
	return entryOption(func(c *config.Entry) { c.SetCost(bytes) })
}
