package tier

import (
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/envelope"
	"github.com/tiercache/tiercache/internal/valkeyurl"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier/internal/config"
	"github.com/tiercache/tiercache/tier/internal/core"
)

// Option configures a [Store]. Contradictions and values out of range are
// reported by Open, all in one error.
type Option interface{ applyStore(*storeConfig) }

type storeOption func(*storeConfig)

func (f storeOption) applyStore(c *storeConfig) { f(c) }

type storeConfig struct {
	core.Settings
	report bool
}

func defaultStoreConfig() storeConfig {
	return storeConfig{Settings: core.Settings{NewPanic: newLoadPanic, Store: config.Store{
		Prefix:       "tiercache",
		LocalBytes:   64 << 20,
		MaxValue:     envelope.MaxPayload,
		MaxStaleness: time.Second,
		Heartbeat:    250 * time.Millisecond,
		Timeout:      50 * time.Millisecond,
		MaxTTL:       DefaultMaxTTL,
		LeaseTTL:     backend.DefaultLeaseTTL,
		Logger:       slog.Default(),
	}}}
}

// WithValkey connects to the server at a URL:
//
//	valkey://[user:password@]host[:port][,host[:port]…][/db][?parameters]
//
// The scheme is valkey or redis, or with TLS valkeys or rediss; a Unix socket is unix:///path.
// Several hosts are nodes of one cluster. With TLS a single host is the name that the
// certificates of all servers are checked for; of several each is checked for its own.
// Parameters: db, addr (another host), master_set (the hosts are sentinels), sentinel_user and
// sentinel_password (of these), client_name, dial_timeout, write_timeout, skip_verify (with TLS),
// max_retries=0. What is not known is refused by Open. Default: no server, but a tier in this process that no other process
// shares. It excludes WithValkeyClient and WithRemote.
func WithValkey(url string) Option {
	return storeOption(func(c *storeConfig) {
		o, err := valkeyurl.Parse(url)
		if err != nil {
			c.Errs = append(c.Errs, fmt.Errorf("WithValkey: %w", err))
			return
		}
		c.Choose("WithValkey", remote.Valkey(o))
	})
}

// WithValkeyClient connects as a valkey.ClientOption says (TLS, ACL user,
// sentinel, dialer). Options that would silence or reorder the server's invalidations
// are rejected by Open. It excludes WithValkey and WithRemote.
func WithValkeyClient(o valkey.ClientOption) Option {
	return storeOption(func(c *storeConfig) { c.Choose("WithValkeyClient", remote.Valkey(o)) })
}

// WithRemote uses a backend that the caller made: stores opened on one
// remote.NewEmbedded behave towards each other like processes on one server. It
// excludes WithValkey and WithValkeyClient.
func WithRemote(b remote.Backend) Option {
	return storeOption(func(c *storeConfig) {
		if v := reflect.ValueOf(b); b == nil || v.Kind() == reflect.Pointer && v.IsNil() {
			c.Errs = append(c.Errs, errors.New("WithRemote: backend is nil"))
			return
		}
		c.Choose("WithRemote", b)
	})
}

// WithPrefix sets the prefix of all keys of the store. Stores of one prefix share
// everything; stores of different ones, nothing. Default "tiercache"; 1 to 64
// letters, digits, '-', '_' or '.'.
func WithPrefix(prefix string) Option {
	return storeOption(func(c *storeConfig) { c.Prefix = prefix })
}

// WithLocalBytes bounds the local tier by estimated heap bytes, bookkeeping
// included. A value that is not plain data (it holds a mutex, a channel, a func, or
// another package's unexported fields) is not looked into: it counts as its encoded
// length, or as 64 bytes for each reference, or as what [WithSize] says. A value above an eighth of the bound is not kept:
// it would drive out too many others. Default 64 MiB; 0 removes the bound, which needs
// WithLocalEntries.
func WithLocalBytes(n int64) Option {
	return storeOption(func(c *storeConfig) { c.LocalBytes = n })
}

// WithMaxValue is the longest encoded value, in bytes, before and after compression. A Set of a
// longer one is an error that names its length and the limit. A load returns it, and it is not
// stored remotely; it may still be kept locally. All stores of one prefix are to agree. Default 64 MiB; at most 500 MiB.
func WithMaxValue(bytes int64) Option {
	return storeOption(func(c *storeConfig) { c.MaxValue = bytes })
}

// WithLocalEntries bounds the local tier by entries, in addition to the byte
// bound. Default 0: no such bound.
func WithLocalEntries(n int) Option {
	return storeOption(func(c *storeConfig) { c.LocalEntries = n })
}

// WithLocalPolicy chooses which entry leaves the local tier when a bound is
// reached. Default [local.LRU]. [local.Adaptive] reaches the best hit rates on
// most traces, for writers that share one lock; bench/HITRATE.md has the tables.
func WithLocalPolicy(p local.Policy) Option {
	return storeOption(func(c *storeConfig) { c.LocalPolicy = p })
}

// WithMaxStaleness is the longest time for which a change that another process
// made, and the server acknowledged, can go unseen by a local hit, whatever
// happens to network and server. Local copies that are not proven within it are
// not served. Default 1 s; at least twice the heartbeat.
func WithMaxStaleness(d time.Duration) Option {
	return storeOption(func(c *storeConfig) { c.MaxStaleness = d })
}

// WithHeartbeat is how often the change log is read when nothing else makes it
// necessary. Default 250 ms; at least 1 ms. After 60 s without a read, Set or
// Delete it is read every 20 s, until the next: see [Health].
func WithHeartbeat(d time.Duration) Option {
	return storeOption(func(c *storeConfig) { c.Heartbeat = d })
}

// WithRemoteTimeout bounds the silence of each request to the remote tier, and so what a
// slow or absent server adds to a read. Default 50 ms; at least 1 ms. A request may
// be given up by up to an eighth of it sooner. It goes on for longer while the connection
// moves at least 256 KiB/s of answers, or of requests that are answered.
func WithRemoteTimeout(d time.Duration) Option {
	return storeOption(func(c *storeConfig) { c.Timeout = d })
}

// WithMaxTTL is the longest life an entry can have, stale time included, and how
// long the change log remembers changes. Of the open stores of one prefix the longest
// counts, so it may be changed in a rolling deploy. Default 7 days; 1 s to 100 years.
func WithMaxTTL(d time.Duration) Option {
	return storeOption(func(c *storeConfig) { c.MaxTTL = d })
}

// WithoutTracking does without the server's invalidations of changed keys, for
// providers that offer none. Writes of single keys then go through the change
// log like all other changes. Two kinds of invalidations are lost: of keys that other
// programs change without the library, and of a server that loads an older file
// while connections stay open (DEBUG RELOAD): the next heartbeat finds that, and a
// [Fresh] read finds it at once. All stores of one prefix must agree: Open refuses a
// store of the other mode while any is open, and until 75 s after the last was.
func WithoutTracking() Option {
	return storeOption(func(c *storeConfig) { c.NoTracking = true })
}

// WithMaxLoads bounds the calls of loaders that run at once in the store, by any of its views. A load inside a
// loader uses the place of that one. Up to 4n more wait for a place, first come, first served, for no longer than
// the load timeout, of which that is a part; what comes beyond them is given its value past its TTL
// ([WithStaleOnError]) or [ErrOverloaded], at once. Refreshes in the background take only free places. The
// place of a loader that goes on after the end of its context is free when it returns, and after another load
// timeout at the latest. It is for sources that take only so much, and for outages, in which every read becomes a
// load. A miss takes one round trip more where most reads miss. Default: no bound; at least 1.
func WithMaxLoads(n int) Option {
	return storeOption(func(c *storeConfig) { c.MaxLoads = config.NonZero(n) })
}

// WithStartOffline has Open return a working store although the server cannot be reached:
// loaders answer its reads, its invalidations hold in this process and are sent when it is
// connected, which it does by itself; Health and one log line say when. What no waiting
// mends still fails Open at once: a bad option, a refused password, a right that the user lacks. (Should it come to
// that later, the log says so.) Open waits for at most 2 s. A server that tells of no changed keys needs
// WithoutTracking too. Default: Open fails when its context ends.
func WithStartOffline() Option {
	return storeOption(func(c *storeConfig) { c.StartOffline = true })
}

// WithWarmStart leaves the names of up to n of the store's hottest entries in the remote tier, once a minute while it is used, and has
// a view that is made first in its namespace read in the background what other processes have left, until the local tier
// is full. So a process that joins a fleet has what the fleet reads most. Names are those of the entries, with hashes for keys;
// they last an hour. Default 0: off; at most 100,000.
func WithWarmStart(n int) Option {
	return storeOption(func(c *storeConfig) { c.WarmStart = n })
}

// WithLogger sets the logger for changes of state (change log unreachable, reachable
// again, history lost). Keys and values are not logged. Default slog.Default().
func WithLogger(l *slog.Logger) Option {
	return storeOption(func(c *storeConfig) { c.Logger = l })
}

// WithObserver has f called after loads, fills, writes and invalidations, and after
// errors; not after local hits, which are in [Stats]. f is called under no lock, and may read
// the cache, the very key too. It runs in the goroutine that did the work, which may be a
// caller's, or in one of the store, and must be quick: up to 10,000 errors wait for it, and what
// comes beyond them is not told. What it panics with is logged. Default none.
func WithObserver(f func(Event)) Option {
	return storeOption(func(c *storeConfig) {
		c.Observer = nil
		if f != nil {
			c.Observer = func(e core.Event) {
				f(Event{Kind: EventKind(e.Kind), Namespace: e.Namespace, Took: e.Took, Err: e.Err, Background: e.Background})
			}
		}
	})
}

// ChangeOption configures an invalidation.
type ChangeOption interface{ applyChange(*config.Change) }

// SettleOption is the type of [Settle].
type SettleOption time.Duration

// Settle is for loaders that read from replicas of the source that lag by up to d. What is
// loaded within d of a change may be old: it is kept until then and no longer, in every process,
// also if the one that recorded the change has ended. Given to Open it is for every
// change of the store. Default 0: changes settle at once. At most an hour, and half of
// [WithMaxTTL]; it is rounded up to two decimal digits of milliseconds. (Stores of the release before need the
// process to stay open for d: it records the change once more for them.)
func Settle(d time.Duration) SettleOption { return SettleOption(d) }

func (d SettleOption) applyStore(c *storeConfig)    { c.Settle = time.Duration(d) }
func (d SettleOption) applyChange(c *config.Change) { c.Settle = time.Duration(d) }
