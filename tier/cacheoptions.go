package tier

import (
	"time"

	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier/internal/config"
)

// CacheOption configures a [Cache]. Contradictions and values out of range are
// reported by New, all in one error.
type CacheOption interface{ applyCache(*config.Cache) }

type cacheOption func(*config.Cache)

func (f cacheOption) applyCache(c *config.Cache) { f(c) }

func defaultCacheConfig() config.Cache {
	return config.Cache{TTL: UserData, NegativeTTL: DefaultNegativeTTL, LoadTimeout: 30 * time.Second, RetryFirst: time.Second, RetryMax: time.Minute}
}

// TTLOption is the type of [WithTTL].
type TTLOption time.Duration

// WithTTL is how long entries are fresh: one of the kinds of content
// ([StaticFacts], [Documentation], [UserData], [RealTime]) or any whole number
// of milliseconds up to the store's maximum. A loader can choose otherwise for
// its entry ([Entry.SetTTL]), and Set takes it as an option too. Default
// [UserData], 1 h.
func WithTTL(d time.Duration) TTLOption { return TTLOption(d) }

func (d TTLOption) applyCache(c *config.Cache) { c.TTL = time.Duration(d) }
func (d TTLOption) applyEntry(c *config.Entry) { c.TTL, c.TTLSet = time.Duration(d), true }

// WithLocalTTL bounds the life of local copies; they never outlive the remote
// one in any case. Default: no bound of their own; whole milliseconds, from 1 ms to the
// store's maximum TTL. It excludes WithRemoteOnly.
func WithLocalTTL(d time.Duration) CacheOption {
	return cacheOption(func(c *config.Cache) { c.LocalTTL = config.NonZero(d) })
}

// WithJitter shortens each TTL by a random part of at most share of it, so that
// entries made together do not expire together. Default 0; 0 ≤ share < 1.
func WithJitter(share float64) CacheOption {
	return cacheOption(func(c *config.Cache) { c.Jitter = share })
}

// WithNegativeTTL is how long a loader's [ErrNotFound] is remembered. Default
// 30 s, or the TTL if that is shorter; 0 does not remember it; else whole milliseconds,
// up to the store's maximum TTL.
func WithNegativeTTL(d time.Duration) CacheOption {
	return cacheOption(func(c *config.Cache) { c.NegativeTTL, c.NegativeSet = d, true })
}

// WithLoadTimeout bounds one load: its context ends then, and its callers get
// an error that matches context.DeadlineExceeded even if the loader ignores
// it. Default 30 s; at least 1 ms.
func WithLoadTimeout(d time.Duration) CacheOption {
	return cacheOption(func(c *config.Cache) { c.LoadTimeout = d })
}

// WithSoftTimeout has a caller that has waited d for a load be given the stale
// value, if there is one, while the load goes on. It needs
// WithStaleWhileRevalidate or WithStaleOnError, whose longer window says how
// stale that may be. Default none; at least 1 ms.
func WithSoftTimeout(d time.Duration) CacheOption {
	return cacheOption(func(c *config.Cache) { c.SoftTimeout = config.NonZero(d) })
}

// WithStaleWhileRevalidate serves an entry for up to d after its TTL, marked
// Stale, while one load in the background renews it. Never one whose source,
// namespace or version changed. Default 0: off; whole milliseconds, together with the TTL
// at most the store's maximum TTL.
func WithStaleWhileRevalidate(d time.Duration) CacheOption {
	return cacheOption(func(c *config.Cache) { c.StaleWhile = d })
}

// WithStaleOnError serves an entry for up to d after its TTL, marked Stale, if
// the loader fails (other than with ErrNotFound). Never one whose source,
// namespace or version changed. Default 0: off; the same range as WithStaleWhileRevalidate.
func WithStaleOnError(d time.Duration) CacheOption {
	return cacheOption(func(c *config.Cache) { c.StaleOnError = d })
}

// WithRetryAfter is how long a key whose load has failed is not loaded again for readers that
// can be given a value without a load: the first pause, which doubles with each further failure, up to the longest. Each is
// lengthened by a random part of up to a quarter. Meanwhile a read that may be answered with a
// value past its TTL (WithStaleWhileRevalidate, WithStaleOnError) gets that at once, nothing is
// renewed in the background, and a read without such a value loads, unless WithFailFast. A load that
// succeeds, or returns [ErrNotFound], ends the pause; one that was given up by its callers begins
// none. A process that has a value past its TTL keeps to the pauses of the others in the fleet, too: there is one
// attempt a pause; one that has none may try. A process remembers the pauses of at most 8,192 keys. Default 1 s and 1 min; at least 1 ms.
func WithRetryAfter(first, longest time.Duration) CacheOption {
	return cacheOption(func(c *config.Cache) { c.RetryFirst, c.RetryMax = first, longest })
}

// WithFailFast gives reads without a value the error of the latest load, during the pause after it
// (see [WithRetryAfter]), instead of loading.
func WithFailFast() CacheOption {
	return cacheOption(func(c *config.Cache) { c.FailFast = true })
}

// WithDetachedLoads has a load go on to its end, and fill the tiers, though all its callers have given up. So a
// source that takes longer than callers wait is asked once, and its answer is there for those that come later. Two
// loaders of a key never run at once in the process, nor in the fleet while the remote tier
// answers: one that has not returned at the load timeout fails its callers, and those that come, until it returns or
// another load timeout has passed. Then it is given up: that is logged and counted
// (Counts.GivenUp, Health.StuckLoads), its result is not kept, and one new load may run. While 8 loaders of a
// view have been given up and not returned it begins no load: its reads are given their value past its TTL
// ([WithStaleOnError]), or [ErrOverloaded]. Default: a load ends with its last caller.
func WithDetachedLoads() CacheOption {
	return cacheOption(func(c *config.Cache) { c.Detached = true })
}

// WithOutageTTL keeps what is loaded while the remote tier is away, for at most d
// from the beginning of its load and no longer than its TTL, so that an outage
// does not turn every read into a load. Such copies are served marked (see
// Result.Outage) and without proof: what this process invalidates, sets or
// deletes is never served, but a change made elsewhere can go unseen for up to d
// instead of the maximum staleness. When the remote tier answers again they are
// dropped at once; [WithoutTracking] they stay if the change log proves them. What was loaded before the
// outage is not served longer than without the option. Default 0: off; whole milliseconds, at most the store's
// maximum TTL. It excludes WithRemoteOnly.
func WithOutageTTL(d time.Duration) CacheOption {
	return cacheOption(func(c *config.Cache) { c.OutageTTL = d })
}

// WithEarlyRefresh renews an entry in the background when it is hit after
// share of its TTL has passed, or sooner if loads of the view have taken long lately: then by the time
// that they take, and up to several times as much by chance, so that the processes of a fleet do not begin at once
// (XFetch); but not before half of the TTL has passed. Default 0: off; 0 < share < 1.
func WithEarlyRefresh(share float64) CacheOption {
	return cacheOption(func(c *config.Cache) { c.Early = share })
}

// WithCodec sets how values are encoded for the remote tier. Default: string
// and []byte as they are, all else as JSON; New then rejects types of which
// JSON would lose a part, and says which. Where the value decides (text that is not
// UTF-8, what is in an interface), a Set of a value that JSON would change is an error; a
// loaded one is returned and not stored remotely, which Stats, Health and an event tell.
// An integer in an interface comes back as a float64, as JSON has it, and is such an
// error beyond 2^53. docs/values.md lists it all.
func WithCodec(codec Codec) CacheOption {
	return cacheOption(func(c *config.Cache) {
		c.Codec = codec
		if codec == nil {
			c.Codec = config.NilCodec{}
		}
	})
}

// WithSchema names what the stored values of a view are, in place of what is deduced from
// V: what JSON sees of it, or with a codec its package and name. Entries with the same
// name are decoded, others are not. So two versions of a program whose types differ share
// entries if both name the same schema; whether one then reads what the other has written
// as it is meant is for the user to see to. Default none; not empty. It excludes
// WithLocalOnly.
func WithSchema(name string) CacheOption {
	return cacheOption(func(c *config.Cache) { c.Schema, c.SchemaSet = name, true })
}

// WithSize says how many bytes of heap a value keeps alive, apart from the V itself, in place of
// an estimate. It is for values that cannot be looked into, whose size is a guess by their
// encoded length (Health.Warnings names them), and for large ones that take long to look at.
// The size is stored with the value, so that every process counts the same; what is read counts
// as at least its encoded length, and at most 64 times that and 4 KiB. size may be called
// from any goroutine, also while the value is used; what it panics with is no size. New
// refuses a size of values of another type.
func WithSize[V any](size func(V) int64) CacheOption {
	return cacheOption(func(c *config.Cache) {
		c.Size, c.SizeIsNil = size, size == nil
	})
}

// WithOnEvict has f called for each value that the local tier of a [WithLocalOnly] view has had and has no longer, once, and
// says why: local.Evicted if a bound of the local tier was reached, local.Replaced by a load or Set (which may be of the same
// value), local.Removed by Delete or by a load that said DoNotStore, local.Expired, local.Invalidated, or local.Cleared by
// Store.Close. Expired and invalidated values leave when they are next read, or within 15 s. It is for values that have to
// be closed.
//
// No read that begins after f was called is given that value. A caller that was given it before may be using it still:
// only the value itself can tell. A value that was never kept is not told of, and belongs to its callers: one whose loader said
// DoNotStore, that changed while it was loaded, is larger than an eighth of WithLocalBytes, or that no caller waited for any
// more. So does what Set returned an error for.
//
// f is called by one goroutine of the store, for one value after another, under no lock, and may use the store; Close, which
// waits for it, is to be called in another goroutine. Values wait for a slow f in memory. What it panics with is logged.
// New refuses an f for values of another type. Views of one namespace that are in use at once must all have the option,
// or none; the function of the latest is called.
func WithOnEvict[V any](f func(key string, v V, why local.Reason)) CacheOption {
	return cacheOption(func(c *config.Cache) {
		c.OnEvict, c.OnEvictIsNil = f, f == nil
	})
}

// WithCompression compresses encoded values of at least minBytes (S2), if that
// makes them smaller. Default off; at least 1. Readers need no option.
func WithCompression(minBytes int) CacheOption {
	return cacheOption(func(c *config.Cache) {
		c.Compress = config.NonZero(minBytes)
	})
}

// WithLocalOnly keeps entries in this process alone. Invalidations reach them;
// Set and Delete of other processes do not, nor do its own reach the remote tier.
// So all views of its namespace in the process have it, or none: see [New]. It
// excludes WithRemoteOnly, WithCodec and WithCompression.
func WithLocalOnly() CacheOption {
	return cacheOption(func(c *config.Cache) { c.LocalOnly = true })
}

// WithRemoteOnly keeps no local copies. Other views of the namespace may: what any
// of them changes, all see. It excludes WithLocalOnly, WithLocalTTL
// and WithOutageTTL.
func WithRemoteOnly() CacheOption {
	return cacheOption(func(c *config.Cache) { c.RemoteOnly = true })
}
