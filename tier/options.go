package tier

import (
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/valkeyurl"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/remote"
)

// Option configures a [Store]. Contradictions and values out of range are
// reported by Open, all in one error.
type Option interface{ applyStore(*storeConfig) }

type storeOption func(*storeConfig)

func (f storeOption) applyStore(c *storeConfig) { f(c) }

type storeConfig struct {
	backend      backend.Backend
	backends     []string // names of the options that chose one
	prefix       string
	localBytes   int64
	localEntries int
	localPolicy  local.Policy
	maxStaleness time.Duration
	heartbeat    time.Duration
	timeout      time.Duration
	maxTTL       time.Duration
	settle       time.Duration
	noTracking   bool
	logger       *slog.Logger
	observer     func(Event)
	leaseTTL     time.Duration // the same in the whole fleet: see renewEvery
	errs         []error
}

func defaultStoreConfig() storeConfig {
	return storeConfig{
		prefix:       "tiercache",
		localBytes:   64 << 20,
		maxStaleness: time.Second,
		heartbeat:    250 * time.Millisecond,
		timeout:      50 * time.Millisecond,
		maxTTL:       DefaultMaxTTL,
		leaseTTL:     backend.DefaultLeaseTTL,
		logger:       slog.Default(),
	}
}

// WithValkey connects to the server at a URL:
//
//	valkey://[user:password@]host[:port][,host[:port]…][/db][?parameters]
//
// The scheme is valkey or redis, or with TLS valkeys or rediss; a Unix socket is unix:///path.
// Several hosts are nodes of one cluster. With TLS a single host is the name that the
// certificates of all servers are checked for; of several each is checked for its own.
// Parameters: db, addr (another host), master_set (the hosts are sentinels), client_name,
// dial_timeout, write_timeout, skip_verify (with TLS), max_retries=0. What is not known is
// refused by Open. Default: no server, but a tier in this process that no other process
// shares. It excludes WithValkeyClient and WithRemote.
func WithValkey(url string) Option {
	return storeOption(func(c *storeConfig) {
		o, err := valkeyurl.Parse(url)
		if err != nil {
			c.errs = append(c.errs, fmt.Errorf("WithValkey: %w", err))
			return
		}
		c.choose("WithValkey", remote.Valkey(o))
	})
}

// WithValkeyClient connects as a valkey.ClientOption says (TLS, ACL user,
// sentinel, dialer). Options that would silence or reorder the server's invalidations
// are rejected by Open. It excludes WithValkey and WithRemote.
func WithValkeyClient(o valkey.ClientOption) Option {
	return storeOption(func(c *storeConfig) { c.choose("WithValkeyClient", remote.Valkey(o)) })
}

// WithRemote uses a backend that the caller made: stores opened on one
// remote.Embedded behave towards each other like processes on one server. It
// excludes WithValkey and WithValkeyClient.
func WithRemote(b remote.Backend) Option {
	return storeOption(func(c *storeConfig) {
		if v := reflect.ValueOf(b); b == nil || v.Kind() == reflect.Pointer && v.IsNil() {
			c.errs = append(c.errs, errors.New("WithRemote: backend is nil"))
			return
		}
		c.choose("WithRemote", b)
	})
}

func (c *storeConfig) choose(name string, b backend.Backend) {
	c.backend = b
	c.backends = append(c.backends, name)
}

// WithPrefix sets the prefix of all keys of the store. Stores of one prefix share
// everything; stores of different ones, nothing. Default "tiercache"; 1 to 64
// letters, digits, '-', '_' or '.'.
func WithPrefix(prefix string) Option {
	return storeOption(func(c *storeConfig) { c.prefix = prefix })
}

// WithLocalBytes bounds the local tier by estimated heap bytes, bookkeeping
// included. A value that is not plain data (it holds a mutex, a channel, a func, or
// another package's unexported fields) is not looked into: it counts as its encoded
// length, or as 64 bytes for each reference. Default 64 MiB; 0 removes the bound,
// which needs WithLocalEntries.
func WithLocalBytes(n int64) Option {
	return storeOption(func(c *storeConfig) { c.localBytes = n })
}

// WithLocalEntries bounds the local tier by entries, in addition to the byte
// bound. Default 0: no such bound.
func WithLocalEntries(n int) Option {
	return storeOption(func(c *storeConfig) { c.localEntries = n })
}

// WithLocalPolicy chooses which entry leaves the local tier when a bound is
// reached. Default [local.LRU]. [local.Adaptive] reaches the best hit rates on
// most traces, for writers that share one lock; bench/HITRATE.md has the tables.
func WithLocalPolicy(p local.Policy) Option {
	return storeOption(func(c *storeConfig) { c.localPolicy = p })
}

// WithMaxStaleness is the longest time for which a change that another process
// made, and the server acknowledged, can go unseen by a local hit, whatever
// happens to network and server. Local copies that are not proven within it are
// not served. Default 1 s; at least twice the heartbeat.
func WithMaxStaleness(d time.Duration) Option {
	return storeOption(func(c *storeConfig) { c.maxStaleness = d })
}

// WithHeartbeat is how often the change log is read when nothing else makes it
// necessary. Default 250 ms; at least 1 ms. After 60 s without a read, Set or
// Delete it is read every 20 s, until the next: see [Health].
func WithHeartbeat(d time.Duration) Option {
	return storeOption(func(c *storeConfig) { c.heartbeat = d })
}

// WithRemoteTimeout bounds each request to the remote tier, and so what a slow
// or absent server adds to a read. Default 50 ms; at least 1 ms. A request may
// be given up by up to an eighth of it sooner.
func WithRemoteTimeout(d time.Duration) Option {
	return storeOption(func(c *storeConfig) { c.timeout = d })
}

// WithMaxTTL is the longest life an entry can have, stale time included, and how
// long the change log remembers changes. Of the open stores of one prefix the longest
// counts, so it may be changed in a rolling deploy. Default 7 days; 1 s to 100 years.
func WithMaxTTL(d time.Duration) Option {
	return storeOption(func(c *storeConfig) { c.maxTTL = d })
}

// WithoutTracking does without the server's invalidations of changed keys, for
// providers that offer none. Writes of single keys then go through the change
// log like all other changes. Two kinds of invalidations are lost: of keys that other
// programs change without the library, and of a server that loads an older file
// while connections stay open (DEBUG RELOAD): the next heartbeat finds that, and a
// [Fresh] read finds it at once. All stores of one prefix must agree: Open refuses a
// store of the other mode while any is open, and until 75 s after the last was.
func WithoutTracking() Option {
	return storeOption(func(c *storeConfig) { c.noTracking = true })
}

// WithLogger sets the logger for changes of state (change log unreachable, reachable
// again, history lost). Keys and values are not logged. Default slog.Default().
func WithLogger(l *slog.Logger) Option {
	return storeOption(func(c *storeConfig) { c.logger = l })
}

// WithObserver has f called after loads, fills, writes and invalidations, and after
// errors; not after local hits, which are in Stats. f is called without locks, in the
// goroutine that did the work (which may be a caller's) or in one of its own, and must
// be quick. Default none.
func WithObserver(f func(Event)) Option {
	return storeOption(func(c *storeConfig) { c.observer = f })
}

// ChangeOption configures an invalidation.
type ChangeOption interface{ applyChange(*changeConfig) }

type changeConfig struct{ settle time.Duration }

// SettleOption is the type of [Settle].
type SettleOption time.Duration

// Settle has a change recorded once more after d, for loaders that read from
// replicas of the source that lag by up to d: what was loaded meanwhile from a
// replica that had not caught up is cut off too. Given to Open it is for every
// change of the store. Default 0: once. At most an hour.
func Settle(d time.Duration) SettleOption { return SettleOption(d) }

func (d SettleOption) applyStore(c *storeConfig)   { c.settle = time.Duration(d) }
func (d SettleOption) applyChange(c *changeConfig) { c.settle = time.Duration(d) }

const maxSettle = time.Hour

func checkSettle(d time.Duration) error {
	if d < 0 || d > maxSettle {
		return fmt.Errorf("Settle %v: must be between 0 and %v", d, maxSettle)
	}
	return nil
}

// validate names every offending option at once.
func (c *storeConfig) validate() error {
	errs := c.errs
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(len(c.backends) > 1, "%s exclude each other: a store has one remote tier", strings.Join(c.backends, " and "))
	bad(!validPrefix(c.prefix), "WithPrefix %.80q: must be 1 to 64 letters, digits, '-', '_' or '.'", c.prefix)
	bad(c.localBytes < 0, "WithLocalBytes %d: must not be negative", c.localBytes)
	least := local.Overhead + ownSize[struct{}]()
	bad(c.localBytes > 0 && c.localBytes <= least, "WithLocalBytes %d: holds nothing, an entry needs more than %d", c.localBytes, least)
	bad(c.localEntries < 0, "WithLocalEntries %d: must not be negative", c.localEntries)
	bad(!c.localPolicy.Known(), "WithLocalPolicy %v: is not known", c.localPolicy)
	bad(c.localBytes == 0 && c.localEntries == 0, "WithLocalBytes 0 without WithLocalEntries: the local tier needs a bound")
	bad(c.heartbeat < time.Millisecond, "WithHeartbeat %v: must be at least 1ms", c.heartbeat)
	bad(c.maxStaleness < 2*max(c.heartbeat, time.Millisecond), "WithMaxStaleness %v with WithHeartbeat %v: must be at least twice the heartbeat, or local copies would lapse between two of them", c.maxStaleness, c.heartbeat)
	bad(c.timeout < time.Millisecond, "WithRemoteTimeout %v: must be at least 1ms", c.timeout)
	bad(c.maxTTL < time.Second || c.maxTTL > maxMaxTTL || c.maxTTL%minTTL != 0, "WithMaxTTL %v: must be between 1s and %v, in whole milliseconds", c.maxTTL, maxMaxTTL)
	bad(c.logger == nil, "WithLogger: logger is nil")
	if err := checkSettle(c.settle); err != nil {
		errs = append(errs, err)
	}
	if b, ok := c.backend.(backend.Checker); ok {
		errs = append(errs, b.Check(c.connection()))
	}
	return errors.Join(errs...)
}

// connection returns the options of the backend's connection, without the events.
func (c *storeConfig) connection() backend.Options {
	return backend.Options{Prefix: c.prefix, Timeout: c.timeout, Heartbeat: c.heartbeat, MaxTTL: c.maxTTL, NoTracking: c.noTracking}
}

func validPrefix(p string) bool {
	if len(p) == 0 || len(p) > 64 {
		return false
	}
	for i := range len(p) {
		if !plain(p[i]) {
			return false
		}
	}
	return true
}

// plain reports whether b is written unescaped in the name of a remote key.
func plain(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '-' || b == '_' || b == '.'
}
