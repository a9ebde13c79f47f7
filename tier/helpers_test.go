package tier_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/embedded"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/tier"
)

// fleet is one remote tier, on which a test opens stores as processes would.
type fleet struct {
	t       *testing.T
	options []tier.Option
	prefix  string
	tracked bool
	hub     *embedded.Remote   // nil on a server
	server  *valkeytest.Server // nil in process; shared: keep to prefix
	stores  []*tier.Store
}

// process opens a store. Its timeouts are long, so that a slow machine fails no
// test; what a test is about it sets itself.
func (f *fleet) process(options ...tier.Option) *tier.Store {
	f.t.Helper()
	all := append([]tier.Option{
		tier.WithPrefix(f.prefix), tier.WithRemoteTimeout(10 * time.Second), tier.WithMaxStaleness(10 * time.Second),
	}, f.options...)
	s, err := tier.Open(context.Background(), append(all, options...)...)
	require.NoError(f.t, err)
	f.t.Cleanup(func() { require.NoError(f.t, s.Close()) })
	f.stores = append(f.stores, s)
	return s
}

// sync returns when every process knows of all that was changed before. Without
// tracking, a read that races the record of a write counts as one of before it,
// and loads.
func (f *fleet) sync() {
	f.t.Helper()
	for _, s := range f.stores {
		if err := s.Sync(context.Background()); err != tier.ErrClosed {
			require.NoError(f.t, err)
		}
	}
}

// put stores bytes behind every store's back, as another program could.
func (f *fleet) put(key, value string) {
	if f.hub != nil {
		f.hub.Put(key, value)
		return
	}
	f.server.Do(f.t, "SET", key, value)
}

// read returns the bytes stored under a key, "" if there are none.
func (f *fleet) read(key string) string {
	if f.hub != nil {
		v, _ := f.hub.Read(key)
		return v
	}
	v, _ := f.server.Do(f.t, "GET", key).ToString()
	return v
}

// remove deletes keys behind every store's back.
func (f *fleet) remove(keys ...string) {
	if f.hub != nil {
		f.hub.Remove(keys...)
		return
	}
	f.server.Do(f.t, append([]string{"DEL"}, keys...)...)
}

// keys returns the names of the fleet's data keys and leases.
func (f *fleet) keys() (out []string) {
	all := []string(nil)
	if f.hub != nil {
		all = f.hub.Keys()
	} else {
		all, _ = f.server.Do(f.t, "KEYS", f.prefix+":*").AsStrSlice()
	}
	for _, k := range all {
		if strings.HasPrefix(k, f.prefix+":d:") {
			out = append(out, k)
		}
	}
	return out
}

// onEachRemote is the battery: it runs a test in this process and on a real
// server, with and without client tracking.
func onEachRemote(t *testing.T, test func(t *testing.T, f *fleet)) {
	for name, options := range tracking {
		t.Run("embedded, "+name, func(t *testing.T) { test(t, embeddedFleet(t, options)) })
		t.Run("valkey, "+name, func(t *testing.T) {
			s := valkeytest.Shared(t)
			test(t, &fleet{t: t, server: s, prefix: valkeytest.Prefix(t), tracked: len(options) == 0,
				options: append([]tier.Option{tier.WithValkey(s.URL())}, options...)})
		})
	}
}

// inBubbles runs a test about time, in fake time, with and without tracking.
func inBubbles(t *testing.T, test func(t *testing.T, f *fleet)) {
	for name, options := range tracking {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, embeddedFleet(t, options)) })
		})
	}
}

var tracking = map[string][]tier.Option{"tracked": nil, "without tracking": {tier.WithoutTracking()}}

func embeddedFleet(t *testing.T, options []tier.Option) *fleet {
	hub := embedded.New(0)
	return &fleet{t: t, hub: hub, prefix: "test", tracked: len(options) == 0,
		options: append([]tier.Option{tier.WithRemote(hub)}, options...)}
}

func view[V any](t *testing.T, s *tier.Store, path string, options ...tier.CacheOption) *tier.Cache[V] {
	t.Helper()
	c, err := tier.New[V](s, path, options...)
	require.NoError(t, err)
	return c
}

// is returns a loader that makes v, from the sources.
func is[V any](v V, sources ...string) tier.Loader[V] {
	return func(_ context.Context, e *tier.Entry) (V, error) {
		e.DependsOn(sources...)
		return v, nil
	}
}

// counted counts the runs of a loader.
func counted[V any](n *atomic.Int64, load tier.Loader[V]) tier.Loader[V] {
	return func(ctx context.Context, e *tier.Entry) (V, error) {
		n.Add(1)
		return load(ctx, e)
	}
}

// fails returns a loader that fails with err.
func fails[V any](err error) tier.Loader[V] {
	return func(context.Context, *tier.Entry) (V, error) { var zero V; return zero, err }
}

// unneeded is a loader for reads that a tier answers.
func unneeded[V any](context.Context, *tier.Entry) (V, error) {
	var zero V
	return zero, errUnneeded
}

var (
	errUnneeded = errors.New("the loader ran, but a tier should have answered")
	errOrigin   = errors.New("the origin is down")
)

// find is a Lookup that must not fail.
func find[V any](t *testing.T, c *tier.Cache[V], key string, load tier.Loader[V], options ...tier.CallOption) tier.Result[V] {
	t.Helper()
	r, err := c.Lookup(context.Background(), key, load, options...)
	require.NoError(t, err)
	return r
}

// eventually waits for what another goroutine or process is about to do.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, 30*time.Second, 2*time.Millisecond, what)
}

// filled waits until n loaded values have been stored: callers are answered before.
func filled(t *testing.T, s *tier.Store, n int64) {
	t.Helper()
	eventually(t, "stored", func() bool { return s.Stats().Fills == n })
}

// journal is a slog handler's output, kept.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}

func (j *journal) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// events collects an observer's events.
type events struct {
	mu  sync.Mutex
	all []tier.Event
}

func (o *events) observe(e tier.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = append(o.all, e)
}

// of returns the events of one kind.
func (o *events) of(kind tier.EventKind) (out []tier.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range o.all {
		if e.Kind == kind {
			out = append(out, e)
		}
	}
	return out
}
