package tier_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// clusterOfCopies is a cluster of three primaries, each with a replica, and a store that has copies of keys of each.
type clusterOfCopies struct {
	*valkeytest.Cluster
	t      *testing.T
	a, b   *tier.Cache[int64]
	store  *tier.Store // of b
	writer *tier.Store // of a
	hooks  *interpose.Backend
	server map[string]int // of each key
	log    int            // the server that has the change log
	asked  requests
	lost   atomic.Bool // all copies are suspended
	failed bool        // a read went to its loader, so requests are not counted
}

func newClusterOfCopies(t *testing.T) *clusterOfCopies {
	c := &clusterOfCopies{t: t, Cluster: valkeytest.StartCluster(t, 3), server: make(map[string]int)}
	option := valkey.ClientOption{InitAddress: c.Addrs()}
	w := &world{t, remote.Valkey(option), "p", clusterRaw{t, c.Cluster, option}}
	a, _ := w.open()
	b, hooks := w.open(tier.WithMaxStaleness(time.Hour), tier.WithHeartbeat(20*time.Millisecond), tier.WithRemoteTimeout(10*time.Second))
	c.a, c.b, c.store, c.writer, c.hooks, c.log = cacheOf[int64](t, a), cacheOf[int64](t, b), b, a, hooks, primaryOf(t, c.Cluster, changelog.LogKey("p"))
	for i := range 60 {
		k := fmt.Sprint("k", i)
		require.Equal(t, int64(0), find(t, c.b, k, is(int64(0), "doc")).Value)
		c.server[k] = primaryOf(t, c.Cluster, tier.RemoteName(c.b, k))
	}
	within(t, "all is stored", func() bool { return b.Stats().Fills == 60 })
	within(t, "all copies are here", func() bool { return c.local(func(string) bool { return true }) == 60 })
	within(t, "the log is read, and each server proves itself", func() bool { return b.Sync(bg) == nil })
	c.asked.count(hooks)
	hooks.Filter(func(e interpose.Event) bool {
		if e.Lost {
			c.lost.Store(true)
		}
		return true
	})
	return c
}

func (c *clusterOfCopies) local(of func(key string) bool) (n int) {
	for k := range c.server {
		if !of(k) {
			continue
		}
		switch r, err := c.b.Lookup(bg, k, none); {
		case err != nil: // it went to its loader, as a read whose request fails
			c.failed = true
		case r.Origin == tier.Local:
			n++
		}
	}
	return n
}

// suspends has something happen that suspends the copies of some keys and of no others, and awaits that those are proven. removed: some
// of them are told of as changed, and so removed.
func (c *clusterOfCopies) suspends(some func(key string) bool, removed bool, happen func()) {
	others := func(key string) bool { return !some(key) }
	few, many := 0, 0
	for k := range c.server {
		if some(k) {
			few++
		} else {
			many++
		}
	}
	require.NotZero(c.t, few)
	require.NotZero(c.t, many)
	done := make(chan struct{})
	go func() {
		defer close(done)
		happen()
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		require.Equal(c.t, many, c.local(others), "copies of other keys are suspended")
	}
	within(c.t, "each slot has a server that proves itself", func() bool {
		require.Equal(c.t, many, c.local(others), "copies of other keys are suspended")
		return c.store.Sync(bg) == nil
	})
	within(c.t, "what happened is found, and copies are asked for", func() bool {
		require.Equal(c.t, many, c.local(others), "copies of other keys are suspended")
		_ = c.local(some)
		return removed || c.asked.heads.Load() > 0
	})
	within(c.t, "all copies are proven", func() bool {
		require.Equal(c.t, many, c.local(others), "copies of other keys are suspended")
		return c.local(some) == few
	})
	require.False(c.t, c.lost.Load(), "that is told of all keys")
	if !removed && !c.failed {
		require.Zero(c.t, c.asked.gets.Load()+c.asked.loads.Load(), "no value is read again")
	}
	within(c.t, "the writer knows the servers", func() bool { return c.writer.Sync(bg) == nil })
	for k := range c.server {
		if some(k) {
			require.NoError(c.t, c.a.Set(bg, k, 1))
			within(c.t, "a change is told", func() bool { return find(c.t, c.b, k, none).Value == 1 })
			return
		}
	}
}

// A connection that is lost suspends the copies of its server's keys, also of the server that has the change log: the log is
// resumed from the watermark, and tells all that was lost of it.
func TestInAClusterTheLossOfTheLogsConnectionSuspendsItsServersKeysAlone(t *testing.T) {
	t.Parallel()
	c := newClusterOfCopies(t)
	c.suspends(func(k string) bool { return c.server[k] == c.log }, false, func() {
		c.Primaries[c.log].Do(t, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	})
}

// A failover suspends the copies of the keys of the server that was replaced.
func TestInAClusterAFailoverSuspendsItsKeysAlone(t *testing.T) {
	t.Parallel()
	for name, from := range map[string]int{"of the server that has the log": 0, "of another": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClusterOfCopies(t)
			server := (c.log + from) % 3
			c.suspends(func(k string) bool { return c.server[k] == server }, false, func() {
				c.Failover(t, c.Replicas[server])
			})
		})
	}
}

// A slot that moves suspends the copies of its keys, and of the keys of a few slots beside it. What is migrated is told of as deleted.
func TestInAClusterAMovedSlotSuspendsItsKeysAlone(t *testing.T) {
	t.Parallel()
	c := newClusterOfCopies(t)
	slotOf := func(k string) int { return backend.SlotOf(tier.RemoteName(c.b, k)) }
	moved := slotOf("k0")
	from := c.server["k0"]
	c.suspends(func(k string) bool {
		return slotOf(k)/backend.SlotsTogether == moved/backend.SlotsTogether
	}, true, func() {
		c.MoveSlot(t, moved, c.Primaries[from], c.Primaries[(from+1)%3], nil)
	})
}
