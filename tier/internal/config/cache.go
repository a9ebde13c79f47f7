package config

import (
	"fmt"
	"math"
	"time"

	"github.com/tiercache/tiercache/internal/joined"
)

// Cache is what the options of a cache say.
type Cache struct {
	TTL          time.Duration
	LocalTTL     time.Duration // 0: as long as the remote copy
	Jitter       float64
	NegativeTTL  time.Duration // 0: not cached
	NegativeSet  bool          // else the TTL bounds it
	LoadTimeout  time.Duration
	TimedOut     error         // the error of a load that takes longer than LoadTimeout
	SoftTimeout  time.Duration // 0: none
	StaleWhile   time.Duration
	StaleOnError time.Duration
	RetryFirst   time.Duration // the pause after a failed load, for readers that have a stale value
	RetryMax     time.Duration
	FailFast     bool          // callers without a value get the error of the failed load during the pause
	OutageTTL    time.Duration // 0: off
	Early        float64       // 0: off
	Codec        Codec         // nil: the default
	Schema       string        // empty: the codec's, or that of the type
	SchemaSet    bool
	Size         any // a func(V) int64; nil: estimated
	SizeIsNil    bool
	OnEvict      any // a func(string, V, local.Reason); nil: none
	OnEvictIsNil bool
	Compress     int // 0: off
	LocalOnly    bool
	RemoteOnly   bool
	Detached     bool // loads go on without callers
}

// NonZero keeps an explicit 0 apart from "not set", so that it is rejected.
func NonZero[T int | time.Duration](n T) T {
	if n == 0 {
		return explicitZero
	}
	return n
}

// asGiven undoes NonZero, for messages.
func asGiven[T int | time.Duration](n T) T {
	if n == explicitZero {
		return 0
	}
	return n
}

// explicitZero is negative, and no value that a caller would give.
const explicitZero = math.MinInt32

// Codec turns values into bytes and back: see tier.Codec.
type Codec interface {
	Marshal(v any) ([]byte, error)
	Unmarshal(data []byte, v any) error
}

// NilCodec stands for a codec that is nil, until it is rejected.
type NilCodec struct{ Codec }

// StaleWindow is how long an entry is kept after its TTL, and how late a soft timeout may serve it. What a view serves otherwise is
// decided by package core: fromLocal, servesLate, present, canServe, servesOnError.
func (c *Cache) StaleWindow() time.Duration { return max(c.StaleWhile, c.StaleOnError) }

func (c *Cache) Validate(maxTTL time.Duration) error {
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
	ttl("WithTTL", c.TTL)
	if c.LocalTTL != 0 {
		ttl("WithLocalTTL", asGiven(c.LocalTTL))
	}
	bad(c.NegativeSet && c.NegativeTTL < 0, "WithNegativeTTL %v: must be at least 1ms, or 0, which remembers nothing", c.NegativeTTL)
	if c.NegativeSet && c.NegativeTTL > 0 {
		ttl("WithNegativeTTL", c.NegativeTTL)
	}
	bad(!(c.Jitter >= 0 && c.Jitter < 1), "WithJitter %v: must be at least 0 and less than 1", c.Jitter)
	bad(!(c.Early >= 0 && c.Early < 1), "WithEarlyRefresh %v: must be more than 0 and less than 1", c.Early)
	bad(c.LoadTimeout < time.Millisecond, "WithLoadTimeout %v: must be at least 1ms", c.LoadTimeout)
	bad(c.SoftTimeout != 0 && c.SoftTimeout < time.Millisecond, "WithSoftTimeout %v: must be at least 1ms", asGiven(c.SoftTimeout))
	bad(c.StaleWhile < 0 || c.StaleWhile%minTTL != 0, "WithStaleWhileRevalidate %v: must not be negative, in whole milliseconds", c.StaleWhile)
	bad(c.StaleOnError < 0 || c.StaleOnError%minTTL != 0, "WithStaleOnError %v: must not be negative, in whole milliseconds", c.StaleOnError)
	bad(c.OutageTTL < 0, "WithOutageTTL %v: must be at least 1ms, or 0, which keeps nothing", c.OutageTTL)
	if c.OutageTTL > 0 {
		ttl("WithOutageTTL", c.OutageTTL)
	}
	bad(c.TTL <= maxTTL && c.StaleWindow() > 0 && c.TTL+c.StaleWindow() > maxTTL,
		"WithTTL %v and %v of stale time: exceed the store's maximum of %v (WithMaxTTL)", c.TTL, c.StaleWindow(), maxTTL)
	bad(c.SoftTimeout > 0 && c.StaleWindow() == 0, "WithSoftTimeout without WithStaleWhileRevalidate or WithStaleOnError: there would be nothing to serve")
	bad(c.RetryFirst < time.Millisecond || c.RetryMax < c.RetryFirst, "WithRetryAfter %v, %v: the first must be at least 1ms, and the longest no shorter", c.RetryFirst, c.RetryMax)
	bad(c.Compress < 0, "WithCompression %d: must be at least 1 byte", asGiven(c.Compress))
	bad(c.LocalOnly && c.RemoteOnly, "WithLocalOnly and WithRemoteOnly exclude each other")
	bad(c.LocalOnly && (c.Codec != nil || c.Compress != 0), "WithLocalOnly excludes WithCodec and WithCompression: nothing is encoded")
	bad(c.RemoteOnly && c.LocalTTL != 0, "WithRemoteOnly excludes WithLocalTTL: there are no local copies")
	bad(c.RemoteOnly && c.OutageTTL != 0, "WithRemoteOnly excludes WithOutageTTL: there are no local copies")
	bad(c.SchemaSet && c.Schema == "", "WithSchema: the name is empty")
	bad(c.LocalOnly && c.SchemaSet, "WithLocalOnly excludes WithSchema: nothing is encoded")
	bad(c.SizeIsNil, "WithSize: the function is nil")
	bad(c.OnEvictIsNil, "WithOnEvict: the function is nil")
	bad(!c.LocalOnly && c.OnEvict != nil && !c.OnEvictIsNil, "WithOnEvict without WithLocalOnly: a value that leaves the local tier may still be stored remotely, and is read from there again")
	_, nilCodec := c.Codec.(NilCodec)
	bad(nilCodec, "WithCodec: codec is nil")
	return joined.Errors(errs...)
}
