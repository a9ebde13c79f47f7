// Package config has what the options of a store, a cache, a read and an entry say, and checks it.
package config

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/joined"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier/internal/keyspace"
	"github.com/tiercache/tiercache/tier/internal/traced"
)

// Store are what the options of a store say.
type Store struct {
	Backend      backend.Backend
	backends     []string // names of the options that chose one
	Prefix       string
	LocalBytes   int64
	LocalEntries int
	MaxValue     int64
	LocalPolicy  local.Policy
	MaxStaleness time.Duration
	Heartbeat    time.Duration
	Timeout      time.Duration
	MaxTTL       time.Duration
	Settle       time.Duration
	NoTracking   bool
	StartOffline bool
	WarmStart    int
	MaxLoads     int // 0: no bound
	Logger       *slog.Logger
	Trace        traced.Told
	LeaseTTL     time.Duration // the same in the whole fleet: see core.Store.renewEvery
	Errs         []error
}

func (c *Store) Choose(name string, b backend.Backend) {
	c.Backend = b
	c.backends = append(c.backends, name)
}

// Validate names every offending option at once. least is what the smallest local entry needs, in bytes.
func (c *Store) Validate(least int64) error {
	errs := c.Errs
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(len(c.backends) > 1, "%s exclude each other: a store has one remote tier", strings.Join(c.backends, " and "))
	bad(!validPrefix(c.Prefix), "WithPrefix %.80q: must be 1 to 64 letters, digits, '-', '_' or '.'", c.Prefix)
	bad(c.LocalBytes < 0, "WithLocalBytes %d: must not be negative", c.LocalBytes)
	bad(c.LocalBytes > 0 && c.LocalBytes <= least, "WithLocalBytes %d: holds nothing, an entry needs more than %d", c.LocalBytes, least)
	bad(c.MaxValue < 1 || c.MaxValue > MostValue, "WithMaxValue %d: must be between 1 and %d bytes, which a server takes", c.MaxValue, int64(MostValue))
	bad(c.WarmStart < 0 || c.WarmStart > mostWarm, "WithWarmStart %d: must be between 0 and %d entries", c.WarmStart, mostWarm)
	bad(c.LocalEntries < 0, "WithLocalEntries %d: must not be negative", c.LocalEntries)
	bad(!c.LocalPolicy.Known(), "WithLocalPolicy %v: is not known", c.LocalPolicy)
	bad(c.LocalBytes == 0 && c.LocalEntries == 0, "WithLocalBytes 0 without WithLocalEntries: the local tier needs a bound")
	bad(c.Heartbeat < time.Millisecond, "WithHeartbeat %v: must be at least 1ms", c.Heartbeat)
	bad(c.MaxStaleness < 2*max(c.Heartbeat, time.Millisecond), "WithMaxStaleness %v with WithHeartbeat %v: must be at least twice the heartbeat, or local copies would lapse between two of them", c.MaxStaleness, c.Heartbeat)
	bad(c.Timeout < time.Millisecond, "WithRemoteTimeout %v: must be at least 1ms", c.Timeout)
	bad(c.MaxTTL < time.Second || c.MaxTTL > maxMaxTTL || c.MaxTTL%minTTL != 0, "WithMaxTTL %v: must be between 1s and %v, in whole milliseconds", c.MaxTTL, maxMaxTTL)
	bad(c.MaxLoads < 0 || c.MaxLoads > 1<<20, "WithMaxLoads %d: must be between 1 and %d", asGiven(c.MaxLoads), 1<<20)
	bad(c.Logger == nil, "WithLogger: logger is nil")
	if err := CheckSettle(c.Settle, max(c.MaxTTL, time.Second)); err != nil {
		errs = append(errs, err)
	}
	if b, ok := c.Backend.(backend.Checker); ok {
		errs = append(errs, b.Check(c.Connection()))
	}
	return joined.Errors(errs...)
}

// mostWarm bounds what is left in the remote tier for those that start: some megabytes.
const mostWarm = 100_000

// MostValue is the longest value that a server takes by default, in bytes, less what an entry has besides it.
const MostValue = 500 << 20

// Connection returns the options of the backend's connection, without the events.
func (c *Store) Connection() backend.Options {
	return backend.Options{Prefix: c.Prefix, Timeout: c.Timeout, Heartbeat: c.Heartbeat, MaxTTL: c.MaxTTL, MaxValue: c.MaxValue, NoTracking: c.NoTracking}
}

func validPrefix(p string) bool {
	if len(p) == 0 || len(p) > 64 {
		return false
	}
	for i := range len(p) {
		if !keyspace.Plain(p[i]) {
			return false
		}
	}
	return true
}
