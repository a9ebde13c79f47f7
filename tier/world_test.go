package tier_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/embedded"
	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// world is one shared tier on which a test opens stores, each behind hooks.
type world struct {
	t      *testing.T
	inner  backend.Backend
	prefix string
	raw    rawAccess
}

// rawAccess changes the shared tier behind every store's back.
type rawAccess interface {
	keys(prefix string) []string
	remove(keys ...string)
	flush()
	disconnect()
}

// leaseFirst has the caches of cacheOf ask for the lease along with each read,
// and so take the other way through the remote tier. Tests run one by one, but for a few that wait for their own servers
// most of the time, and run together when the others have ended.
var leaseFirst = false

// readOp is the operation by which a cache first asks the remote tier.
func readOp() interpose.Op {
	if leaseFirst {
		return interpose.Lease
	}
	return interpose.Get
}

// eachRemote runs a test in a world of each kind, in both ways of reading.
func eachRemote(t *testing.T, test func(t *testing.T, w *world)) {
	eachWorld(t, test)
	t.Run("lease first", func(t *testing.T) {
		leaseFirst = true
		defer func() { leaseFirst = false }()
		eachWorld(t, test)
	})
}

func eachWorld(t *testing.T, test func(t *testing.T, w *world)) {
	t.Run("embedded", func(t *testing.T) {
		hub := embedded.New(0)
		test(t, &world{t, hub, "test", embeddedRaw{hub}})
	})
	t.Run("cluster", func(t *testing.T) {
		c := valkeytest.SharedCluster(t)
		prefix := strings.Trim(valkeytest.Prefix(t), ":")
		option := valkey.ClientOption{InitAddress: c.Addrs()}
		test(t, &world{t, remote.Valkey(option), prefix, clusterRaw{t, c, option}})
	})
	valkeytest.EachVersion(t, func(t *testing.T, s *valkeytest.Server) {
		option, err := valkey.ParseURL(strings.Replace(s.URL(), "valkey://", "redis://", 1))
		require.NoError(t, err)
		prefix := strings.Trim(valkeytest.Prefix(t), ":")
		test(t, &world{t, remote.Valkey(option), prefix, valkeyRaw{t, s}})
	})
}

type embeddedRaw struct{ hub *embedded.Remote }

func (r embeddedRaw) keys(prefix string) (out []string) {
	for _, k := range r.hub.Keys() {
		if strings.HasPrefix(k, prefix) {
			out = append(out, k)
		}
	}
	return out
}
func (r embeddedRaw) remove(keys ...string) { r.hub.Remove(keys...) }
func (r embeddedRaw) flush()                { r.hub.Flush() }
func (r embeddedRaw) disconnect()           { r.hub.Disconnect() }

type valkeyRaw struct {
	t *testing.T
	s *valkeytest.Server
}

func (r valkeyRaw) keys(prefix string) []string {
	keys, err := r.s.Do(r.t, "KEYS", prefix+"*").AsStrSlice()
	require.NoError(r.t, err)
	return keys
}

func (r valkeyRaw) remove(keys ...string) {
	r.s.Do(r.t, append([]string{"DEL"}, keys...)...)
}
func (r valkeyRaw) flush()      { r.s.Do(r.t, "FLUSHALL") }
func (r valkeyRaw) disconnect() { r.s.Do(r.t, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") }

type clusterRaw struct {
	t      *testing.T
	c      *valkeytest.Cluster
	option valkey.ClientOption
}

func (r clusterRaw) keys(prefix string) (out []string) {
	for _, s := range r.c.Primaries {
		out = append(out, valkeyRaw{r.t, s}.keys(prefix)...)
	}
	return out
}

func (r clusterRaw) remove(keys ...string) {
	o := r.option
	o.DisableCache = true
	client, err := valkey.NewClient(o)
	require.NoError(r.t, err)
	defer client.Close()
	for _, key := range keys {
		require.NoError(r.t, client.Do(bg, client.B().Del().Key(key).Build()).Error())
	}
}

func (r clusterRaw) flush() {
	for _, s := range r.c.Primaries {
		valkeyRaw{r.t, s}.flush()
	}
}

func (r clusterRaw) disconnect() {
	for _, s := range r.c.Primaries {
		valkeyRaw{r.t, s}.disconnect()
	}
}

// quiet opens stores that learn of changes by messages and their own requests alone, so
// that a schedule is not disturbed by heartbeats.
var quiet = []tier.Option{tier.WithHeartbeat(time.Hour), tier.WithMaxStaleness(10 * time.Hour), tier.WithRemoteTimeout(10 * time.Second)}

// open waits for a server for longer than by default: a machine that is slow fails no test. Those of a timeout set their own.
func (w *world) open(options ...tier.Option) (*tier.Store, *interpose.Backend) {
	b := &interpose.Backend{Inner: w.inner}
	all := []tier.Option{tier.WithRemote(b), tier.WithPrefix(w.prefix), tier.WithRemoteTimeout(10 * time.Second)}
	s, err := tier.Open(context.Background(), append(all, options...)...)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { s.Close() })
	return s, b
}

// origin is the source of truth: one document.
type origin struct{ version atomic.Int64 }

func (o *origin) load(_ context.Context, e *tier.Entry) (int64, error) {
	v := o.version.Load()
	e.DependsOn("doc") // after the read: the as-of covers it
	return v, nil
}

func cacheOf[V any](t *testing.T, s *tier.Store, options ...tier.CacheOption) *tier.Cache[V] {
	c, err := tier.New[V](s, "docs:technical", options...)
	require.NoError(t, err)
	if leaseFirst {
		tier.LeaseFirst(c)
	}
	return c
}

var bg = context.Background()

func lookup[V any](t *testing.T, c *tier.Cache[V], load tier.Loader[V], options ...tier.CallOption) tier.Result[V] {
	t.Helper()
	r, err := c.Lookup(bg, "k", load, options...)
	require.NoError(t, err)
	return r
}

// within polls until ok, which is an event of another goroutine and has no
// channel to wait on.
func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, 30*time.Second, time.Millisecond, what)
}

var errCut = errors.New("cut off")

// stopAt has the nth request of a kind stop: before it is sent, or after it was
// answered.
func stopAt(hook func(func(interpose.Op) error), op interpose.Op, nth int) (reached, goOn chan struct{}) {
	reached, goOn = make(chan struct{}), make(chan struct{})
	var seen atomic.Int64
	hook(func(o interpose.Op) error {
		if o == op && seen.Add(1) == int64(nth) {
			close(reached)
			<-goOn
		}
		return nil
	})
	return reached, goOn
}

// heldLoad has a reader load k, and returns when that runs: it gives 0 once goOn
// is closed.
func heldLoad(t *testing.T, c *tier.Cache[int64]) (goOn chan struct{}, got chan int64) {
	running := make(chan struct{})
	goOn, got = make(chan struct{}), make(chan int64, 1)
	go func() {
		got <- lookup(t, c, func(context.Context, *tier.Entry) (int64, error) {
			close(running)
			<-goOn
			return 0, nil
		}).Value
	}()
	<-running
	return goOn, got
}

// subscribed waits until messages of a reach the store that the hooks are of.
func subscribed(t *testing.T, a *tier.Store, hooks *interpose.Backend) {
	var heard atomic.Bool
	hooks.Filter(func(e interpose.Event) bool {
		if e.Message != "" {
			heard.Store(true)
		}
		return true
	})
	within(t, "messages arrive", func() bool {
		_, err := a.InvalidateSource(bg, "any")
		return err == nil && heard.Load()
	})
}

func none(context.Context, *tier.Entry) (int64, error) { return 0, errCut }
