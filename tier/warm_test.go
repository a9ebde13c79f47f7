package tier_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// A process that starts has what others read most, before it is asked for it, and hears of what changes.
func TestAStoreStartsWarm(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		warm := tier.WithWarmStart(100)
		a := f.process(warm)
		ca, other := view[string](t, a, "docs"), view[string](t, a, "docs:other")
		for i := range 60 {
			find(t, ca, fmt.Sprint("key", i), is(fmt.Sprint("value", i), "doc"))
		}
		find(t, other, "key0", is("other"))
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		left := f.read("test:{test}:warm")
		require.Equal(t, 1+61, strings.Count(left, "\n"))
		require.NotContains(t, left, "key")
		_, err := other.Invalidate(t.Context())
		require.NoError(t, err)

		b := f.process(warm)
		cb := view[string](t, b, "docs")
		synctest.Wait()
		for i := range 60 {
			r := find(t, cb, fmt.Sprint("key", i), unneeded)
			require.Equal(t, fmt.Sprint("value", i), r.Value)
			require.Equal(t, tier.Local, r.Origin)
			require.Equal(t, []string{"doc"}, r.Sources)
		}
		require.Equal(t, "new", find(t, view[string](t, b, "docs:other"), "key0", is("new")).Value)
		require.NoError(t, ca.Set(t.Context(), "key1", "set"))
		f.sync()
		require.Equal(t, "set", find(t, cb, "key1", unneeded).Value)
		_, err = a.InvalidateSource(t.Context(), "doc")
		require.NoError(t, err)
		f.sync()
		require.Equal(t, "new", find(t, cb, "key2", is("new")).Value)
	})
}

// What another program has left there harms nothing.
func TestAWarmStartBelievesNoName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := embeddedFleet(t, nil)
		a := f.process()
		ca := view[string](t, a, "docs")
		find(t, ca, "k", is("v"))
		synctest.Wait()
		name := strings.TrimPrefix(tier.RemoteName(ca, "k"), "test:d:")
		wrong := tier.RemoteName(ca, "wrong")
		f.put(wrong, f.read(tier.RemoteName(ca, "k")))
		for _, left := range []string{"", "2\n" + name, "1\n\n!\ndocs:{}\n" + strings.Repeat("x", 1<<16) + "\n" + name + "!\n" + strings.TrimPrefix(wrong, "test:d:") + "\n" + name} {
			f.put("test:{test}:warm", left)
			b := f.process(tier.WithWarmStart(100))
			cb := view[string](t, b, "docs")
			synctest.Wait()
			e, err := cb.Explain(t.Context(), "k")
			require.NoError(t, err)
			require.Equal(t, strings.HasPrefix(left, "1"), e.Local.Present)
			require.Equal(t, "own", find(t, cb, fmt.Sprint("wrong", len(left)), is("own")).Value)
			require.Equal(t, int64(1), b.Stats().Loads)
			require.NoError(t, b.Close())
		}
	})
}

// What was told of between the answer and its use is not kept, and what is here is not replaced.
func TestI2AWarmReadThatAnInvalidationOvertookIsNotKept(t *testing.T) {
	for name, overtake := range map[string]func(t *testing.T, ca, cb *tier.Cache[int64]){
		"set elsewhere": func(t *testing.T, ca, _ *tier.Cache[int64]) { require.NoError(t, ca.Set(bg, "k", 1)) },
		"read here": func(t *testing.T, ca, cb *tier.Cache[int64]) {
			require.NoError(t, ca.Set(bg, "k", 1))
			find(t, cb, "k", none)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := embeddedWorld(t)
				a, _ := w.open(append(quiet, tier.WithWarmStart(10))...)
				ca := cacheOf[int64](t, a)
				find(t, ca, "k", is[int64](0))
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				b, hooks := w.open(append(quiet, tier.WithWarmStart(10))...)
				read, goOn := stopAt(hooks.After, interpose.Get, 2) // the first is of the names
				cb := cacheOf[int64](t, b)
				<-read
				overtake(t, ca, cb)
				synctest.Wait()
				close(goOn)
				synctest.Wait()
				require.Equal(t, int64(1), find(t, cb, "k", none).Value)
			})
		})
	}
}

// What a warm start has read is older than what a caller was given meanwhile, though nothing was told of yet.
func TestI10AWarmReadDoesNotGoBehindWhatWasGiven(t *testing.T) {
	type schedule struct {
		options []tier.Option
		// give has a newer value returned in b's process while the answer of the warm read is held; release lets go what it holds.
		give func(t *testing.T, ca, cb, noLocal *tier.Cache[int64], ha, hb *interpose.Backend) (release func())
	}
	for name, sc := range map[string]schedule{
		"refreshed by a view without local copies": {give: func(t *testing.T, _, _, noLocal *tier.Cache[int64], _, hb *interpose.Backend) func() {
			_, goOn := stopAt(hb.Before, interpose.Write, 1)
			v, err := noLocal.Refresh(bg, "k", is[int64](1))
			require.NoError(t, err)
			require.Equal(t, int64(1), v)
			return func() { close(goOn) }
		}},
		"without tracking, peeked before the change is recorded": {
			options: []tier.Option{tier.WithoutTracking()},
			give: func(t *testing.T, ca, cb, _ *tier.Cache[int64], ha, _ *interpose.Backend) func() {
				reached, goOn := stopAt(ha.Before, interpose.Append, 1)
				go func() { _ = ca.Set(bg, "k", 1) }()
				<-reached
				v, there, err := cb.Peek(bg, "k")
				require.NoError(t, err)
				require.True(t, there)
				require.Equal(t, int64(1), v)
				return func() { close(goOn) }
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := embeddedWorld(t)
				options := append(append(quiet, tier.WithWarmStart(10)), sc.options...)
				a, ha := w.open(options...)
				ca := cacheOf[int64](t, a)
				find(t, ca, "k", is[int64](0))
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				b, hb := w.open(options...)
				read, goOn := stopAt(hb.After, interpose.Get, 2) // the first is of the names
				cb := cacheOf[int64](t, b)
				<-read
				release := sc.give(t, ca, cb, cacheOf[int64](t, b, tier.WithRemoteOnly()), ha, hb)
				close(goOn)
				synctest.Wait()
				got := make(chan int64, 1)
				go func() { got <- find(t, cb, "k", unneeded[int64]).Value }()
				synctest.Wait()
				release() // the read may wait for what is on its way
				require.Equal(t, int64(1), <-got)
				synctest.Wait()
			})
		})
	}
}

// What was read over a connection that is lost before the copy is kept is not believed by what the next one proves.
func TestI2AWarmReadIsOfTheServerThatWasAsked(t *testing.T) {
	t.Parallel()
	c := valkeytest.StartCluster(t, 3)
	option := valkey.ClientOption{InitAddress: c.Addrs()}
	w := &world{t, remote.Valkey(option), "p", clusterRaw{t, c, option}}
	a, _ := w.open()
	ca := cacheOf[int64](t, a)
	server := (primaryOf(t, c, changelog.LogKey("p")) + 1) % 3
	var keys []string // of that server
	for i := 0; len(keys) < 2; i++ {
		if k := fmt.Sprint("k", i); primaryOf(t, c, tier.RemoteName(ca, k)) == server {
			keys = append(keys, k)
			require.NoError(t, ca.Set(bg, k, 0))
		}
	}
	const left = "p:{p}:warm"
	c.Primaries[primaryOf(t, c, left)].Do(t, "SET", left, "1\n"+strings.TrimPrefix(tier.RemoteName(ca, keys[0]), "p:d:")+"\n")
	b, hooks := w.open(tier.WithWarmStart(10), tier.WithMaxStaleness(time.Hour), tier.WithHeartbeat(20*time.Millisecond), tier.WithRemoteTimeout(10*time.Second))
	other := view[int64](t, b, "other")
	connected := func() bool { // to all servers
		for i := range 20 {
			if find(t, other, fmt.Sprint(i), is[int64](0)).Origin != tier.Local {
				return false
			}
		}
		return true
	}
	within(t, "all is connected", connected)
	var lost atomic.Bool
	hooks.Filter(func(e interpose.Event) bool {
		if e.Lost {
			lost.Store(true)
		}
		return true
	})
	read, goOn := stopAt(hooks.After, interpose.Get, 1)
	cb := cacheOf[int64](t, b)
	<-read
	c.Primaries[server].Do(t, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	find(t, cb, keys[1], none)
	within(t, "there is another connection, and it is proven", func() bool {
		return b.Sync(bg) == nil && find(t, cb, keys[1], none).Origin == tier.Local
	})
	require.False(t, lost.Load(), "all copies are suspended")
	before := b.Stats().LocalEntries
	close(goOn)
	within(t, "there is a copy", func() bool { return b.Stats().LocalEntries > before })
	require.NoError(t, ca.Set(bg, keys[0], 1))
	within(t, "the change is told", func() bool { return find(t, cb, keys[0], none).Value == 1 })
}
