package tier

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// CacheOption configures a [Cache]. Contradictions and values out of range are
// reported by New, all in one error.
type CacheOption interface{ applyCache(*cacheConfig) }

type cacheOption func(*cacheConfig)

func (f cacheOption) applyCache(c *cacheConfig) { f(c) }

type cacheConfig struct {
	ttl          time.Duration
	localTTL     time.Duration // 0: as long as the remote copy
	jitter       float64
	negativeTTL  time.Duration // 0: not cached
	negativeSet  bool          // else the TTL bounds it
	loadTimeout  time.Duration
	timedOut     error         // the error of a load that takes longer than loadTimeout
	softTimeout  time.Duration // 0: none
	staleWhile   time.Duration
	staleOnError time.Duration
	outageTTL    time.Duration // 0: off
	early        float64       // 0: off
	codec        Codec         // nil: the default
	schema       string        // empty: the codec's, or that of the type
	schemaSet    bool
	compress     int // 0: off
	localOnly    bool
	remoteOnly   bool
}

func defaultCacheConfig() cacheConfig {
	return cacheConfig{ttl: UserData, negativeTTL: DefaultNegativeTTL, loadTimeout: 30 * time.Second}
}

// TTLOption is the type of [WithTTL].
type TTLOption time.Duration

// WithTTL is how long entries are fresh: one of the kinds of content
// ([StaticFacts], [Documentation], [UserData], [RealTime]) or any whole number
// of milliseconds up to the store's maximum. A loader can choose otherwise for
// its entry ([Entry.SetTTL]), and Set takes it as an option too. Default
// [UserData], 1 h.
func WithTTL(d time.Duration) TTLOption { return TTLOption(d) }

func (d TTLOption) applyCache(c *cacheConfig) { c.ttl = time.Duration(d) }
func (d TTLOption) applyEntry(c *entryConfig) { c.ttl, c.ttlSet = time.Duration(d), true }

// WithLocalTTL bounds the life of local copies; they never outlive the remote
// one in any case. Default: no bound of their own.
func WithLocalTTL(d time.Duration) CacheOption {
	return cacheOption(func(c *cacheConfig) { c.localTTL = nonZero(d) })
}

// WithJitter shortens each TTL by a random part of at most share of it, so that
// entries made together do not expire together. Default 0; 0 ≤ share < 1.
func WithJitter(share float64) CacheOption {
	return cacheOption(func(c *cacheConfig) { c.jitter = share })
}

// WithNegativeTTL is how long a loader's [ErrNotFound] is remembered. Default
// 30 s, or the TTL if that is shorter; 0 does not remember it.
func WithNegativeTTL(d time.Duration) CacheOption {
	return cacheOption(func(c *cacheConfig) { c.negativeTTL, c.negativeSet = d, true })
}

// WithLoadTimeout bounds one load: its context ends then, and its callers get
// an error that matches context.DeadlineExceeded even if the loader ignores
// it. Default 30 s; at least 1 ms.
func WithLoadTimeout(d time.Duration) CacheOption {
	return cacheOption(func(c *cacheConfig) { c.loadTimeout = d })
}

// WithSoftTimeout has a caller that has waited d for a load be given the stale
// value, if there is one, while the load goes on. It needs
// WithStaleWhileRevalidate or WithStaleOnError, whose longer window says how
// stale that may be. Default none; at least 1 ms.
func WithSoftTimeout(d time.Duration) CacheOption {
	return cacheOption(func(c *cacheConfig) { c.softTimeout = nonZero(d) })
}

// WithStaleWhileRevalidate serves an entry for up to d after its TTL, marked
// Stale, while one load in the background renews it. Never one whose source,
// namespace or version changed. Default 0: off.
func WithStaleWhileRevalidate(d time.Duration) CacheOption {
	return cacheOption(func(c *cacheConfig) { c.staleWhile = d })
}

// WithStaleOnError serves an entry for up to d after its TTL, marked Stale, if
// the loader fails (other than with ErrNotFound). Never one whose source,
// namespace or version changed. Default 0: off.
func WithStaleOnError(d time.Duration) CacheOption {
	return cacheOption(func(c *cacheConfig) { c.staleOnError = d })
}

// WithOutageTTL keeps what is loaded while the remote tier is away, for at most d
// from the beginning of its load and no longer than its TTL, so that an outage
// does not turn every read into a load. Such copies are served marked (see
// Result.Outage) and without proof: what this process invalidates, sets or
// deletes is never served, but a change made elsewhere can go unseen for up to d
// instead of the maximum staleness. When the remote tier answers again they are
// dropped at once. What was loaded before the outage is not served longer than
// without the option. Default 0: off; whole milliseconds, at most the store's
// maximum TTL. It excludes WithRemoteOnly.
func WithOutageTTL(d time.Duration) CacheOption {
	return cacheOption(func(c *cacheConfig) { c.outageTTL = d })
}

// WithEarlyRefresh renews an entry in the background when it is hit after
// share of its TTL has passed. Default 0: off; 0 < share < 1.
func WithEarlyRefresh(share float64) CacheOption {
	return cacheOption(func(c *cacheConfig) { c.early = share })
}

// WithCodec sets how values are encoded for the remote tier. Default: string
// and []byte as they are, all else as JSON; New then rejects types of which
// JSON would lose a part, and says which. Where the value decides (text that is not
// UTF-8, what is in an interface), a Set of a value that JSON would change is an error; a
// loaded one is returned and not stored remotely, which Stats, Health and an event tell.
// An integer in an interface comes back as a float64, as JSON has it, and is such an
// error beyond 2^53. docs/values.md lists it all.
func WithCodec(codec Codec) CacheOption {
	return cacheOption(func(c *cacheConfig) {
		c.codec = codec
		if codec == nil {
			c.codec = badCodec{}
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
	return cacheOption(func(c *cacheConfig) { c.schema, c.schemaSet = name, true })
}

// WithCompression compresses encoded values of at least minBytes (S2), if that
// makes them smaller. Default off; at least 1. Readers need no option.
func WithCompression(minBytes int) CacheOption {
	return cacheOption(func(c *cacheConfig) {
		c.compress = nonZero(minBytes)
	})
}

// WithLocalOnly keeps entries in this process alone. Invalidations reach them;
// Set and Delete of other processes do not, nor do its own reach the remote tier.
// So all views of its namespace in the process have it, or none: see [New]. It
// excludes WithRemoteOnly, WithCodec and WithCompression.
func WithLocalOnly() CacheOption {
	return cacheOption(func(c *cacheConfig) { c.localOnly = true })
}

// WithRemoteOnly keeps no local copies. Other views of the namespace may: what any
// of them changes, all see. It excludes WithLocalOnly, WithLocalTTL
// and WithOutageTTL.
func WithRemoteOnly() CacheOption {
	return cacheOption(func(c *cacheConfig) { c.remoteOnly = true })
}

// nonZero keeps an explicit 0 apart from "not set", so that it is rejected.
func nonZero[T int | time.Duration](n T) T {
	if n == 0 {
		return explicitZero
	}
	return n
}

// asGiven undoes nonZero, for messages.
func asGiven[T int | time.Duration](n T) T {
	if n == explicitZero {
		return 0
	}
	return n
}

// explicitZero is negative, and no value that a caller would give.
const explicitZero = math.MinInt32

type badCodec struct{ Codec }

// staleWindow is how long an entry is kept after its TTL.
func (c *cacheConfig) staleWindow() time.Duration { return max(c.staleWhile, c.staleOnError) }

func (c *cacheConfig) validate(maxTTL time.Duration) error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	ttl := func(name string, d time.Duration) {
		if err := checkTTL(name, d, maxTTL); err != nil {
			errs = append(errs, err)
		}
	}
	ttl("WithTTL", c.ttl)
	if c.localTTL != 0 {
		ttl("WithLocalTTL", asGiven(c.localTTL))
	}
	if c.negativeSet && c.negativeTTL != 0 {
		ttl("WithNegativeTTL", c.negativeTTL)
	}
	bad(!(c.jitter >= 0 && c.jitter < 1), "WithJitter %v: must be at least 0 and less than 1", c.jitter)
	bad(!(c.early >= 0 && c.early < 1), "WithEarlyRefresh %v: must be more than 0 and less than 1", c.early)
	bad(c.loadTimeout < time.Millisecond, "WithLoadTimeout %v: must be at least 1ms", c.loadTimeout)
	bad(c.softTimeout != 0 && c.softTimeout < time.Millisecond, "WithSoftTimeout %v: must be at least 1ms", asGiven(c.softTimeout))
	bad(c.staleWhile < 0 || c.staleWhile%minTTL != 0, "WithStaleWhileRevalidate %v: must not be negative, in whole milliseconds", c.staleWhile)
	bad(c.staleOnError < 0 || c.staleOnError%minTTL != 0, "WithStaleOnError %v: must not be negative, in whole milliseconds", c.staleOnError)
	if c.outageTTL != 0 {
		ttl("WithOutageTTL", c.outageTTL)
	}
	bad(c.ttl <= maxTTL && c.staleWindow() > 0 && c.ttl+c.staleWindow() > maxTTL,
		"WithTTL %v and %v of stale time: exceed the store's maximum of %v (WithMaxTTL)", c.ttl, c.staleWindow(), maxTTL)
	bad(c.softTimeout > 0 && c.staleWindow() == 0, "WithSoftTimeout without WithStaleWhileRevalidate or WithStaleOnError: there would be nothing to serve")
	bad(c.compress < 0, "WithCompression %d: must be at least 1 byte", asGiven(c.compress))
	bad(c.localOnly && c.remoteOnly, "WithLocalOnly and WithRemoteOnly exclude each other")
	bad(c.localOnly && (c.codec != nil || c.compress != 0), "WithLocalOnly excludes WithCodec and WithCompression: nothing is encoded")
	bad(c.remoteOnly && c.localTTL != 0, "WithRemoteOnly excludes WithLocalTTL: there are no local copies")
	bad(c.remoteOnly && c.outageTTL != 0, "WithRemoteOnly excludes WithOutageTTL: there are no local copies")
	bad(c.schemaSet && c.schema == "", "WithSchema: the name is empty")
	bad(c.localOnly && c.schemaSet, "WithLocalOnly excludes WithSchema: nothing is encoded")
	_, nilCodec := c.codec.(badCodec)
	bad(nilCodec, "WithCodec: codec is nil")
	return errors.Join(errs...)
}
