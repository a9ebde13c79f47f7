package tier_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/embedded"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// buggy is a remote tier whose methods panic when they are told to, as if there were a
// mistake in them, or in what calls them with their answers.
type buggy struct {
	backend.Backend
	mu sync.Mutex
	// panics is how often each method is to panic; guarded by mu.
	panics map[string]int
	count  atomic.Int64
}

func buggyRemote(b backend.Backend) *buggy { return &buggy{Backend: b, panics: make(map[string]int)} }

func (b *buggy) set(method string, times int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.panics[method] = times
}

type mistake struct{ value string }

func (b *buggy) at(method string) {
	if b.due(method) {
		panic(mistake{"a secret"})
	}
}

// due reports whether the method is to panic, or to have its caller panic.
func (b *buggy) due(method string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.panics[method] == 0 {
		return false
	}
	b.panics[method]--
	b.count.Add(1)
	return true
}

func (b *buggy) Connect(ctx context.Context, o backend.Options) (backend.Conn, error) {
	e := o.Events
	o.Events.Changed = func(keys []string) { b.at("Changed"); e.Changed(keys) }
	o.Events.Lost = func() { e.Lost(); b.at("Lost") }
	o.Events.Published = func(m string) { b.at("Published"); e.Published(m) }
	c, err := b.Backend.Connect(ctx, o)
	return buggyConn{c, b}, err
}

type buggyConn struct {
	backend.Conn
	b *buggy
}

func (c buggyConn) Delta(ctx context.Context, q changelog.DeltaQuery) (changelog.Delta, error) {
	c.b.at("Delta")
	return c.Conn.Delta(ctx, q)
}

func (c buggyConn) Append(ctx context.Context, x changelog.Change) (changelog.Appended, error) {
	c.b.at("Append")
	return c.Conn.Append(ctx, x)
}

func (c buggyConn) GetOne(ctx context.Context, key string) (backend.Item, error) {
	c.b.at("GetOne")
	return c.Conn.GetOne(ctx, key)
}

func (c buggyConn) Lease(ctx context.Context, reqs []backend.LeaseRequest) ([]backend.Lease, error) {
	c.b.at("Lease")
	return c.Conn.Lease(ctx, reqs)
}

func (c buggyConn) Extend(ctx context.Context, keys []string, token string, ttl time.Duration) error {
	c.b.at("Extend")
	return c.Conn.Extend(ctx, keys, token, ttl)
}

func (c buggyConn) Release(ctx context.Context, keys []string, token string) error {
	c.b.at("Release")
	return c.Conn.Release(ctx, keys, token)
}

func (c buggyConn) WriteLater(ctx context.Context, writes []backend.Write, then func([]backend.Written, error)) {
	c.b.at("WriteLater")
	c.Conn.WriteLater(ctx, writes, func(w []backend.Written, err error) {
		defer c.b.at("WriteLater, told")
		if c.b.due("WriteLater, nonsense") {
			w = nil
		}
		then(w, err)
	})
}

// checkGoesOn checks that s works as if nothing had been, but for what it counts.
func checkGoesOn(t *testing.T, s, other *tier.Store, b *buggy, log *journal) {
	t.Helper()
	eventually(t, "the panic", func() bool { return s.Stats().Panics > 0 })
	c, there := view[int](t, s, "docs"), view[int](t, other, "docs")
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	// A panic is counted before it is made good, so what is read or sent then may fail with the connection.
	require.NoError(t, there.Set(ctx, "before", 1))
	eventually(t, "it is made good", func() bool {
		if s.Sync(ctx) != nil {
			return false
		}
		_, err := c.Get(ctx, "before", unneeded[int])
		return err == nil
	})
	for i := range 5 {
		require.NoError(t, there.Set(ctx, "after", i))
		require.NoError(t, s.Sync(ctx))
		require.Equal(t, i, find(t, c, "after", unneeded[int]).Value)
		_, err := other.InvalidateSource(ctx, "doc")
		require.NoError(t, err)
		require.NoError(t, s.Sync(ctx))
		require.Equal(t, i, find(t, c, "made of it", is(i, "doc")).Value)
	}
	eventually(t, "what is kept is served", func() bool { return find(t, c, "after", unneeded[int]).Origin == tier.Local })
	require.NoError(t, s.Close())
	require.NoError(t, other.Close())
	assert.Contains(t, log.String(), "recovered from a panic")
	assert.NotContains(t, log.String(), "secret")
	assert.Equal(t, b.count.Load(), s.Stats().Panics)
}

// A panic of the library's own code in any of its goroutines ends neither the process nor
// the store: it is counted and logged, what waited for it gets an error, and nothing that
// is kept here is believed until it has been read again.
func TestAPanicInABackgroundGoroutineEndsNothingElse(t *testing.T) {
	slow := func(wait time.Duration) tier.Loader[int] {
		return func(ctx context.Context, _ *tier.Entry) (int, error) {
			select {
			case <-time.After(wait):
				return 1, nil
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
	}
	for name, one := range map[string]struct {
		method string
		ours   int  // how many panics come before, in the test's own goroutine
		fails  bool // the load that meets it does
		meet   func(t *testing.T, s *tier.Store, c *tier.Cache[int], load func(key string, l tier.Loader[int]) error) error
	}{
		"heartbeat": {method: "Delta", meet: func(t *testing.T, s *tier.Store, _ *tier.Cache[int], _ func(string, tier.Loader[int]) error) error {
			time.Sleep(10 * time.Second)
			assert.True(t, s.Health(t.Context()).ServesLocal, "heartbeats go on")
			return nil
		}},
		"resending a change": {method: "Append", ours: 1, meet: func(t *testing.T, s *tier.Store, _ *tier.Cache[int], _ func(string, tier.Loader[int]) error) error {
			assert.Panics(t, func() { _, _ = s.InvalidateSource(t.Context(), "lost") }, "that is the caller's own goroutine")
			time.Sleep(2 * time.Second)
			assert.Zero(t, s.Health(t.Context()).Undelivered, "it is sent again all the same")
			return nil
		}},
		"lease": {method: "Lease", fails: true, meet: func(_ *testing.T, _ *tier.Store, _ *tier.Cache[int], load func(string, tier.Loader[int]) error) error {
			return load("k", is(1))
		}},
		"extending a lease": {method: "Extend", meet: func(_ *testing.T, _ *tier.Store, _ *tier.Cache[int], load func(string, tier.Loader[int]) error) error {
			return load("k", slow(10*time.Second))
		}},
		"giving a lease up": {method: "Release", meet: func(_ *testing.T, _ *tier.Store, _ *tier.Cache[int], load func(string, tier.Loader[int]) error) error {
			_ = load("k", fails[int](errOrigin))
			return nil
		}},
		"fill": {method: "WriteLater", fails: true, meet: func(_ *testing.T, _ *tier.Store, _ *tier.Cache[int], load func(string, tier.Loader[int]) error) error {
			return load("k", is(1))
		}},
		"an answer that is none": {method: "WriteLater, nonsense", meet: func(t *testing.T, s *tier.Store, _ *tier.Cache[int], load func(string, tier.Loader[int]) error) error {
			assert.NoError(t, load("k", is(1)), "it was answered before")
			_, err := s.InvalidateNamespace(t.Context(), "docs")
			assert.NoError(t, err)
			return load("k", is(1)) // which the one before must not hold up
		}},
		"end of a fill": {method: "WriteLater, told", meet: func(_ *testing.T, _ *tier.Store, _ *tier.Cache[int], load func(string, tier.Loader[int]) error) error {
			return load("k", is(1))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := buggyRemote(embedded.New(0))
				var log journal
				open := func(inner backend.Backend) *tier.Store {
					s, err := tier.Open(context.Background(), tier.WithRemote(inner), tier.WithLogger(log.logger()))
					require.NoError(t, err)
					return s
				}
				s, other := open(b), open(b.Backend)
				c := view[int](t, s, "docs")
				b.set(one.method, 1+one.ours)
				err := one.meet(t, s, c, func(key string, l tier.Loader[int]) error {
					ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
					defer cancel()
					_, err := c.Get(ctx, key, l)
					return err
				})
				require.Equal(t, one.fails, err != nil, "%v", err)
				if one.fails {
					var ended *tier.LoadPanic
					require.ErrorAs(t, err, &ended)
				}
				b.count.Add(-int64(one.ours))
				synctest.Wait() // until it is made good
				checkGoesOn(t, s, other, b, &log)
			})
		})
	}
}

// The events of a connection come in the goroutine that reads it: the client's, a caller's,
// or that of the embedded tier.
func TestAPanicInAnEventEndsTheConnectionAlone(t *testing.T) {
	for _, method := range []string{"Changed", "Lost", "Published"} {
		t.Run(method+", embedded", func(t *testing.T) {
			hub := embedded.New(0)
			panicsInEvent(t, method, hub, func() { hub.Disconnect() })
		})
		t.Run(method+", valkey", func(t *testing.T) {
			srv := valkeytest.Start(t)
			o, err := valkey.ParseURL(strings.Replace(srv.URL(), "valkey://", "redis://", 1))
			require.NoError(t, err)
			admin := srv.Client(t)
			panicsInEvent(t, method, remote.Valkey(o), func() {
				_ = admin.Do(t.Context(), admin.B().Arbitrary("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Build()).Error()
			})
		})
	}
}

func panicsInEvent(t *testing.T, method string, inner backend.Backend, disconnect func()) {
	b := buggyRemote(inner)
	var log journal
	open := func(inner backend.Backend) *tier.Store {
		s, err := tier.Open(context.Background(), tier.WithRemote(inner), tier.WithLogger(log.logger()),
			tier.WithRemoteTimeout(10*time.Second), tier.WithMaxStaleness(10*time.Second))
		require.NoError(t, err)
		return s
	}
	s, other := open(b), open(inner)
	c, there := view[int](t, s, "docs"), view[int](t, other, "docs")
	find(t, c, "k", is(1))
	filled(t, s, 1)
	b.set(method, 1)
	switch method {
	case "Changed":
		require.NoError(t, there.Set(t.Context(), "k", 2))
	case "Lost":
		disconnect()
	case "Published":
		_, err := other.InvalidateSource(t.Context(), "doc")
		require.NoError(t, err)
	}
	eventually(t, "the panic", func() bool {
		_, _ = c.Get(t.Context(), "other", is(1), tier.NoLocal())
		return b.count.Load() == 1
	})
	if method == "Changed" {
		eventually(t, "another connection", func() bool { return s.Sync(t.Context()) == nil })
		require.Equal(t, 2, find(t, c, "k", unneeded[int]).Value, "the invalidation was lost, so the copy was dropped")
	}
	checkGoesOn(t, s, other, b, &log)
}

// A refresh in the background has no caller to tell of its end.
func TestAPanicInARefreshIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := buggyRemote(embedded.New(0))
		var log journal
		s, err := tier.Open(context.Background(), tier.WithRemote(b), tier.WithLogger(log.logger()))
		require.NoError(t, err)
		other, err := tier.Open(context.Background(), tier.WithRemote(b.Backend))
		require.NoError(t, err)
		c := view[int](t, s, "docs", tier.WithTTL(time.Minute), tier.WithStaleWhileRevalidate(time.Hour))
		find(t, c, "k", is(1))
		time.Sleep(2 * time.Minute)
		require.NoError(t, s.Sync(t.Context())) // an idle store proves its copies rarely, and perhaps right now
		b.set("GetOne", 1)
		b.set("Lease", 1)
		r := find(t, c, "k", is(2))
		require.True(t, r.Stale)
		eventually(t, "renewed", func() bool {
			time.Sleep(2 * refreshPause)
			return find(t, c, "k", is(2)).Value == 2
		})
		checkGoesOn(t, s, other, b, &log)
	})
}

const refreshPause = time.Second

// A change that settles is recorded again in the background.
func TestAPanicWhileAChangeSettlesLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := buggyRemote(embedded.New(0))
		var log journal
		s, err := tier.Open(context.Background(), tier.WithRemote(b), tier.WithLogger(log.logger()), tier.Settle(time.Minute))
		require.NoError(t, err)
		other, err := tier.Open(context.Background(), tier.WithRemote(b.Backend))
		require.NoError(t, err)
		there := view[int](t, other, "docs")
		_, err = s.InvalidateSource(t.Context(), "doc")
		require.NoError(t, err)
		find(t, there, "k", is(1, "doc"))
		b.set("Append", 1)
		time.Sleep(2 * time.Minute)
		require.Equal(t, 2, find(t, there, "k", is(2, "doc")).Value, "the change was recorded again, later")
		checkGoesOn(t, s, other, b, &log)
	})
}

// unruly is a slog.Handler with a mistake.
type unruly struct{}

func (unruly) Enabled(context.Context, slog.Level) bool  { return true }
func (unruly) Handle(context.Context, slog.Record) error { panic("the logger's own") }
func (unruly) WithAttrs([]slog.Attr) slog.Handler        { return unruly{} }
func (unruly) WithGroup(string) slog.Handler             { return unruly{} }

// A logger that panics ends no heartbeat and no caller.
func TestALoggerThatPanicsEndsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := buggyRemote(embedded.New(0))
		s, err := tier.Open(context.Background(), tier.WithRemote(b), tier.WithLogger(slog.New(unruly{})),
			tier.WithObserver(func(tier.Event) { panic("the observer's own") }))
		require.NoError(t, err)
		c := view[int](t, s, "docs")
		b.set("Delta", 1)
		time.Sleep(time.Second)
		require.Equal(t, 1, find(t, c, "k", is(1)).Value)
		require.NoError(t, s.Sync(t.Context()))
		require.Greater(t, s.Stats().Panics, int64(1))
		require.NoError(t, s.Close())
	})
}

// Nor does it cost what else a panic does: the trust in the local copies.
func TestALoggerThatPanicsKeepsTheLocalCopies(t *testing.T) {
	partitioned(t, func(t *testing.T, p *partition) {
		c := view[string](t, p.store, "docs")
		find(t, c, "k", is("v"))
		synctest.Wait()
		p.begin()
		time.Sleep(5 * time.Second) // until it is logged
		p.end()
		eventually(t, "the log is read", func() bool { return p.store.Sync(t.Context()) == nil })
		require.Equal(t, tier.Local, find(t, c, "k", unneeded).Origin)
		require.Positive(t, p.store.Stats().Panics)
	}, tier.WithLogger(slog.New(unruly{})))
}

// What an observer panics with may be a value.
func TestWhatAnObserverPanicsWithIsNotLogged(t *testing.T) {
	var log journal
	s, err := tier.Open(context.Background(), tier.WithLogger(log.logger()), tier.WithObserver(func(tier.Event) { panic(mistake{"a secret"}) }), tier.WithRemoteTimeout(10*time.Second))
	require.NoError(t, err)
	find(t, view[int](t, s, "docs"), "k", is(1))
	require.NoError(t, s.Close()) // it is told when its caller has been answered
	require.Contains(t, log.String(), "the observer panicked")
	require.False(t, strings.Contains(log.String(), "secret"), log.String())
}
