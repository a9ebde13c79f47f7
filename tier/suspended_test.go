package tier_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/embedded"
	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// requests counts what a store asks of the remote tier.
type requests struct{ heads, gets, loads atomic.Int64 }

func (r *requests) count(hooks *interpose.Backend) {
	hooks.Before(func(op interpose.Op) error {
		switch op {
		case interpose.Heads:
			r.heads.Add(1)
		case interpose.Get:
			r.gets.Add(1)
		case interpose.Lease:
			r.loads.Add(1)
		}
		return nil
	})
}

// lose ends all connections, and returns when the store that the hooks are of has made another.
func lose(t *testing.T, w *world, s *tier.Store, hooks *interpose.Backend) {
	t.Helper()
	var lost atomic.Bool
	hooks.Filter(func(e interpose.Event) bool {
		if e.Lost {
			lost.Store(true)
		}
		return true
	})
	w.raw.disconnect()
	within(t, "the loss is found", lost.Load)
	within(t, "it is connected again", func() bool { return s.Sync(bg) == nil })
}

// onOneServer runs a test in this process and on a real server.
func onOneServer(t *testing.T, test func(t *testing.T, w *world)) {
	t.Run("embedded", func(t *testing.T) { test(t, embeddedWorld(t)) })
	t.Run("valkey", func(t *testing.T) {
		s := valkeytest.Shared(t)
		option, err := valkey.ParseURL(strings.Replace(s.URL(), "valkey://", "redis://", 1))
		require.NoError(t, err)
		test(t, &world{t, remote.Valkey(option), strings.Trim(valkeytest.Prefix(t), ":"), valkeyRaw{t, s}})
	})
}

// reconnect ends and renews all connections, in a bubble.
func reconnect(w *world) {
	w.raw.disconnect()
	synctest.Wait()
	time.Sleep(time.Millisecond) // what is sent after the loss is sent later
}

// A lost connection costs no value: local copies are believed again when the server has said that the
// entries are still the same writes, in the place of the reads that ask for them.
func TestALostConnectionSuspendsLocalCopies(t *testing.T) {
	onOneServer(t, func(t *testing.T, w *world) {
		a, _ := w.open(quiet...)
		b, hooks := w.open(quiet...)
		ca, cb := cacheOf[int64](t, a), cacheOf[int64](t, b)
		keys := make([]string, 20)
		for i := range keys {
			keys[i] = fmt.Sprint("k", i)
			require.Equal(t, int64(i), find(t, cb, keys[i], is(int64(i), "doc")).Value)
		}
		filled(t, b, int64(len(keys)))
		lose(t, w, b, hooks)
		var asked requests
		asked.count(hooks)
		for i, k := range keys {
			r := find(t, cb, k, none)
			require.Equal(t, int64(i), r.Value)
			require.Equal(t, []string{"doc"}, r.Sources)
		}
		require.Zero(t, asked.gets.Load()+asked.loads.Load(), "no value is read again")
		before := asked.heads.Load()
		require.NotZero(t, before)
		for _, k := range keys {
			require.Equal(t, tier.Local, find(t, cb, k, none).Origin)
		}
		require.Equal(t, before, asked.heads.Load())

		// What is proven again is told of again, and depends on what it did.
		for i, change := range map[int]func(){
			0: func() { require.NoError(t, ca.Set(bg, "k0", 100)) },
			1: func() { require.NoError(t, ca.Delete(bg, "k1")) },
			2: func() { w.raw.remove(tier.RemoteName(ca, "k2")) },
		} {
			change()
			require.NoError(t, b.Sync(bg))
			require.Equal(t, int64(100), find(t, cb, keys[i], is(int64(100), "doc")).Value, keys[i])
		}
		_, err := a.InvalidateSource(bg, "doc")
		require.NoError(t, err)
		require.NoError(t, b.Sync(bg))
		require.Equal(t, int64(7), find(t, cb, "k9", is[int64](7)).Value)
	})
}

// Several keys are compared in one request, together with what is to be read of others.
func TestManySuspendedCopiesAreComparedAtOnce(t *testing.T) {
	onOneServer(t, func(t *testing.T, w *world) {
		a, _ := w.open(quiet...)
		b, hooks := w.open(quiet...)
		ca, cb := cacheOf[int64](t, a), cacheOf[int64](t, b)
		keys := make([]string, 30)
		for i := range keys {
			keys[i] = fmt.Sprint("k", i)
			require.NoError(t, ca.Set(bg, keys[i], int64(i)))
		}
		_, err := cb.GetMany(bg, keys[:20], noneOf)
		require.NoError(t, err)
		lose(t, w, b, hooks)
		for _, i := range []int{3, 13, 23} {
			require.NoError(t, ca.Set(bg, keys[i], int64(100+i)))
		}
		require.NoError(t, ca.Delete(bg, keys[5]))
		require.NoError(t, b.Sync(bg))
		var asked requests
		asked.count(hooks)
		found, err := cb.GetMany(bg, keys, func(_ context.Context, keys []string, _ tier.Entries) (map[string]int64, error) {
			require.Equal(t, []string{"k5"}, keys)
			return map[string]int64{"k5": 105}, nil
		})
		require.NoError(t, err)
		require.Len(t, found, len(keys))
		for i, k := range keys {
			if i%10 == 3 || i == 5 {
				i += 100
			}
			require.Equal(t, int64(i), found[k], k)
		}
		require.LessOrEqual(t, asked.gets.Load(), int64(2), "all at once, and then those that are others by now")
	})
}

func noneOf(context.Context, []string, tier.Entries) (map[string]int64, error) { return nil, errCut }

// What changed while the connection was lost is not believed again, however it did.
func TestI2ASuspendedCopyThatChangedIsNotBelieved(t *testing.T) {
	for name, change := range map[string]func(a *tier.Store, c *tier.Cache[int64], w *world) error{
		"set":    func(_ *tier.Store, c *tier.Cache[int64], _ *world) error { return c.Set(bg, "k", 1) },
		"delete": func(_ *tier.Store, c *tier.Cache[int64], _ *world) error { return c.Delete(bg, "k") },
		"refresh": func(_ *tier.Store, c *tier.Cache[int64], _ *world) error {
			_, err := c.Refresh(bg, "k", is(int64(1)))
			return err
		},
		"source": func(a *tier.Store, _ *tier.Cache[int64], _ *world) error {
			_, err := a.InvalidateSource(bg, "doc")
			return err
		},
		"namespace": func(_ *tier.Store, c *tier.Cache[int64], _ *world) error {
			_, err := c.Invalidate(bg)
			return err
		},
		"another program": func(_ *tier.Store, c *tier.Cache[int64], w *world) error {
			for _, k := range w.raw.keys(w.prefix + ":d:") {
				w.raw.remove(k)
			}
			return nil
		},
		"flush": func(_ *tier.Store, _ *tier.Cache[int64], w *world) error { w.raw.flush(); return nil },
	} {
		for _, how := range proofs {
			t.Run(name+"/"+how.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := embeddedWorld(t)
					a, _ := w.open(quiet...)
					b, hooks := w.open(quiet...)
					ca, cb := cacheOf[int64](t, a), cacheOf[int64](t, b)
					find(t, cb, "k", is(int64(0), "doc"))
					synctest.Wait()
					hooks.Filter(func(e interpose.Event) bool { return e.Lost }) // the rest is lost with the connection
					require.NoError(t, change(a, ca, w))
					reconnect(w)
					hooks.Filter(nil)
					require.NoError(t, b.Sync(bg))
					if how.name != "by a read" {
						how.prove(t, cb)
					}
					require.Equal(t, int64(1), find(t, cb, "k", is(int64(1), "doc")).Value)
				})
			})
		}
	}
}

func embeddedWorld(t *testing.T) *world {
	hub := embedded.New(0)
	return &world{t, hub, "test", embeddedRaw{hub}}
}

// The next invalidation of a copy that was proven again is none of its own write: that went to the connection that was
// lost.
//
//	B: fills k; the invalidation that the write causes is lost with the connection
//	B: finds that the entry is still that write
//	A: sets k, and B is told
func TestI2ASuspendedCopyExpectsNoEcho(t *testing.T) {
	for _, how := range proofs {
		t.Run(how.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := embeddedWorld(t)
				a, _ := w.open(quiet...)
				b, hooks := w.open(quiet...)
				ca, cb := cacheOf[int64](t, a), cacheOf[int64](t, b)
				hooks.Filter(func(e interpose.Event) bool { return e.Changed == nil })
				find(t, cb, "k", is(int64(0)))
				synctest.Wait()
				reconnect(w)
				hooks.Filter(nil)
				require.NoError(t, b.Sync(bg))
				how.prove(t, cb)
				require.Equal(t, tier.Local, lookup(t, cb, none).Origin)
				require.NoError(t, ca.Set(bg, "k", 1))
				synctest.Wait()
				require.Equal(t, int64(1), lookup(t, cb, none).Value)
			})
		})
	}
}

// proofs are the ways in which a suspended copy of k is proven again, in a bubble.
var proofs = []struct {
	name  string
	prove func(*testing.T, *tier.Cache[int64])
}{
	{"by a read", func(t *testing.T, c *tier.Cache[int64]) { lookup(t, c, none) }},
	{"in the background", proveInBackground},
}

// proveInBackground has the copy of k proven in the background, woken by a read of another key.
func proveInBackground(t *testing.T, c *tier.Cache[int64]) {
	tier.WakeRevalidation(c)
	time.Sleep(time.Second) // of the bubble
	synctest.Wait()
}

// Guards: Table.InsertIfUnchanged and ReplaceProven. What was told between the answer and its use counts.
//
//	B: asks for the write of k, and is answered: it is the copy's
//	A: sets k; B is told
//	B: would believe its copy again
func TestI2AProofThatAnInvalidationOvertookIsNotUsed(t *testing.T) {
	for name, overtake := range map[string]func(*testing.T, *world, *tier.Store, *tier.Cache[int64]){
		"set": func(t *testing.T, _ *world, _ *tier.Store, ca *tier.Cache[int64]) {
			require.NoError(t, ca.Set(bg, "k", 1))
		},
		// V3 c: the connection was lost in between, and with it the invalidation.
		"connection lost": func(t *testing.T, w *world, b *tier.Store, ca *tier.Cache[int64]) {
			reconnect(w)
			require.NoError(t, ca.Set(bg, "k", 1))
			require.NoError(t, b.Sync(bg))
		},
	} {
		for _, how := range proofs {
			t.Run(name+"/"+how.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := embeddedWorld(t)
					a, _ := w.open(quiet...)
					b, hooks := w.open(quiet...)
					ca, cb := cacheOf[int64](t, a), cacheOf[int64](t, b)
					hooks.Filter(func(e interpose.Event) bool { return e.Changed == nil })
					lookup(t, cb, is[int64](0)) // and the copy expects an echo, which is lost
					reconnect(w)
					hooks.Filter(nil)
					require.NoError(t, a.Sync(bg))
					require.NoError(t, b.Sync(bg))
					once := sync.OnceFunc(func() {
						overtake(t, w, b, ca)
						synctest.Wait()
					})
					hooks.After(func(op interpose.Op) error {
						if op == interpose.Heads {
							once()
						}
						return nil
					})
					how.prove(t, cb)
					synctest.Wait()
					require.Equal(t, int64(1), lookup(t, cb, none).Value)
				})
			})
		}
	}
}

// Guard: ReplaceProven. A copy that was removed meanwhile is not put back.
//
//	background: asks for the write of k, and is answered
//	server:     goes away
//	B:          Refresh(k) gives 1, which cannot be stored, and removes the copy
//	background: would put the copy back
func TestI10AProofBringsNoCopyBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := embeddedWorld(t)
		b, hooks := w.open(quiet...)
		cb := cacheOf[int64](t, b)
		require.NoError(t, cb.Set(bg, "k", 0))
		reconnect(w)
		require.NoError(t, b.Sync(bg))
		var away atomic.Bool
		hooks.Before(func(interpose.Op) error {
			if away.Load() {
				return errCut
			}
			return nil
		})
		hooks.After(func(op interpose.Op) error {
			if op == interpose.Heads {
				away.Store(true)
				v, err := cb.Refresh(bg, "k", is[int64](1))
				require.NoError(t, err)
				require.Equal(t, int64(1), v)
			}
			return nil
		})
		proveInBackground(t, cb)
		away.Store(false)
		e, err := cb.Explain(bg, "k")
		require.NoError(t, err)
		require.False(t, e.Local.Present)
	})
}

// A suspended copy is judged by a log that was read over the connection that says that it is the same write.
//
//	B: has a copy, and loses its connection; A changes the copy's source
//	B: is connected again, and asks for the write before it has read the log
func TestI2ASuspendedCopyIsJudgedByTheLogOfItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := embeddedWorld(t)
		a, _ := w.open(quiet...)
		b, hooks := w.open(quiet...)
		cb := cacheOf[int64](t, b)
		find(t, cb, "k", is(int64(0), "doc"))
		synctest.Wait()
		hooks.Filter(func(e interpose.Event) bool { return e.Lost })
		hooks.Before(func(op interpose.Op) error {
			if op == interpose.Delta {
				return errCut
			}
			return nil
		})
		_, err := a.InvalidateSource(bg, "doc")
		require.NoError(t, err)
		reconnect(w)
		require.Equal(t, int64(1), find(t, cb, "k", is(int64(1), "doc")).Value)
	})
}

// A copy that stands beside an entry of another version of the program is compared together with that.
func TestI2ACopyBesideAnEntryOfAnotherVersion(t *testing.T) {
	for _, how := range []string{"by a read", "by reads of many", "in the background"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := embeddedWorld(t)
				a, _ := w.open(quiet...)
				b, hooks := w.open(quiet...)
				ca, cb := version(t, a, 1), version(t, b, 2)
				for _, k := range []string{"same", "set"} {
					find(t, ca, k, is("one"))
					synctest.Wait()
					find(t, cb, k, is("two"))
					synctest.Wait()
				}
				hooks.Filter(func(e interpose.Event) bool { return e.Lost })
				require.NoError(t, ca.Set(bg, "set", "new"))
				reconnect(w)
				hooks.Filter(nil)
				require.NoError(t, b.Sync(bg))
				var asked requests
				asked.count(hooks)
				switch how {
				case "in the background":
					tier.WakeRevalidation(cb)
					time.Sleep(time.Second)
					synctest.Wait()
					require.Equal(t, int64(2), asked.heads.Load())
				case "by reads of many":
					found, err := cb.GetMany(bg, []string{"same", "set"}, func(_ context.Context, keys []string, _ tier.Entries) (map[string]string, error) {
						require.Equal(t, []string{"set"}, keys)
						return map[string]string{"set": "newer"}, nil
					})
					require.NoError(t, err)
					require.Equal(t, map[string]string{"same": "two", "set": "newer"}, found)
					synctest.Wait()
				}
				require.Equal(t, "two", find(t, cb, "same", unneeded).Value)
				require.Equal(t, "newer", find(t, cb, "set", is("newer")).Value)
				require.Equal(t, tier.Local, find(t, cb, "same", unneeded).Origin)
			})
		})
	}
}

// Where a change of a key is recorded in the log, and where the server has no such key, the log tells all: nothing is
// asked for any copy once it was read over the new connection.
func TestWhatTheLogTellsOfIsNotSuspended(t *testing.T) {
	for name, o := range map[string]struct {
		store []tier.Option
		cache []tier.CacheOption
	}{
		"local only":       {nil, []tier.CacheOption{tier.WithLocalOnly()}},
		"without tracking": {[]tier.Option{tier.WithoutTracking()}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := embeddedWorld(t)
				a, _ := w.open(append(quiet, o.store...)...)
				b, hooks := w.open(append(quiet, o.store...)...)
				ca, cb := cacheOf[int64](t, a, o.cache...), cacheOf[int64](t, b, o.cache...)
				for _, k := range []string{"k", "set", "source"} {
					find(t, cb, k, is(int64(0), k))
				}
				synctest.Wait()
				var asked requests
				asked.count(hooks)
				hooks.Filter(func(e interpose.Event) bool { return e.Lost })
				reconnect(w)
				_, err := a.InvalidateSource(bg, "source")
				require.NoError(t, err)
				if o.cache == nil {
					require.NoError(t, ca.Set(bg, "set", 1))
				}
				w.raw.disconnect()
				synctest.Wait()
				time.Sleep(time.Millisecond)
				hooks.Filter(nil)
				require.NoError(t, b.Sync(bg))
				require.Equal(t, tier.Local, find(t, cb, "k", none).Origin)
				require.Zero(t, asked.gets.Load()+asked.heads.Load())
				require.Equal(t, int64(1), find(t, cb, "source", is(int64(1))).Value)
				if o.cache == nil {
					require.Equal(t, int64(1), find(t, cb, "set", none).Value)
				}
			})
		})
	}
}

// A log of which more was missing than a process follows has discarded what was known: no copy is believed by old marks.
//
//	B: has a copy, and is cut off; more changes than it can follow, and at last the copy's source
func TestI2WhatTheLogTellsOfIsNotBelievedByOldMarks(t *testing.T) {
	for name, cache := range map[string][]tier.CacheOption{"local only": {tier.WithLocalOnly()}, "both tiers": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := embeddedWorld(t)
				a, _ := w.open(quiet...)
				b, hooks := w.open(quiet...)
				cb := cacheOf[int64](t, b, cache...)
				find(t, cb, "k", is(int64(0), "doc"))
				synctest.Wait()
				hooks.Filter(func(e interpose.Event) bool { return e.Lost })
				ids := make([]string, 1000)
				for n := range 70 {
					for i := range ids {
						ids[i] = fmt.Sprint(n, " ", i)
					}
					_, err := a.InvalidateSource(bg, ids...)
					require.NoError(t, err)
				}
				require.NoError(t, b.Sync(bg))
				_, err := a.InvalidateSource(bg, "doc")
				require.NoError(t, err)
				hooks.Filter(nil)
				require.NoError(t, b.Sync(bg))
				require.Equal(t, int64(1), find(t, cb, "k", is(int64(1))).Value)
			})
		})
	}
}

// After a loss the copies that were used last are proven in the background, a few at a time. All processes that the server tells
// of changed keys ask for 100,000 in a second together, and each pauses for as long as a request took. One that is alone does not pause.
// Nothing is asked while the server is away.
func TestRevalidationInTheBackgroundIsPaced(t *testing.T) {
	for _, others := range []int{0, 1, 49} {
		t.Run(fmt.Sprint(others, " others"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const n, took = 5_000, 2 * time.Millisecond
				w := embeddedWorld(t)
				s, hooks := w.open(tier.WithHeartbeat(50*time.Millisecond), tier.WithMaxStaleness(time.Second), tier.WithRemoteTimeout(100*time.Millisecond))
				for range others {
					w.open()
				}
				c := cacheOf[int64](t, s)
				for i := range n {
					find(t, c, fmt.Sprint(i), is(int64(i)))
				}
				synctest.Wait()
				var away atomic.Bool
				var mu sync.Mutex
				var at []time.Time
				hooks.Before(func(op interpose.Op) error {
					if op == interpose.Heads {
						mu.Lock()
						at = append(at, time.Now())
						mu.Unlock()
						time.Sleep(took)
					}
					if away.Load() {
						return context.DeadlineExceeded
					}
					return nil
				})
				away.Store(true)
				w.raw.disconnect()
				time.Sleep(2 * time.Second)
				for range 10 {
					find(t, c, "0", is(int64(0)))
					time.Sleep(300 * time.Millisecond)
				}
				require.LessOrEqual(t, len(at), 3, "while the server is away nothing is asked in the background")
				at = nil
				away.Store(false)
				time.Sleep(2 * time.Second)
				back := time.Now()
				find(t, c, "1", none) // and with it the others
				time.Sleep(10 * time.Second)
				synctest.Wait()
				require.LessOrEqual(t, at[1].Sub(back), 260*time.Millisecond)
				atOnce, apart := 512, took
				if others > 0 {
					atOnce = 32
					apart = max(2*took, time.Duration(atOnce*(1+others))*time.Second/100_000)
				}
				for i := 2; i < len(at); i++ {
					require.GreaterOrEqual(t, at[i].Sub(at[i-1]), apart)
				}
				require.Len(t, at, 1+(n+atOnce-1)/atOnce)
				local := 0
				for i := range n {
					if find(t, c, fmt.Sprint(i), none).Origin == tier.Local {
						local++
					}
				}
				require.Equal(t, n, local)
			})
		})
	}
}

// In a cluster each server proves its own part: no value is read again after connections were lost, nor when a slot has
// moved to another server.
func TestInAClusterCopiesAreProvenByTheirServers(t *testing.T) {
	t.Parallel()
	c := valkeytest.StartCluster(t, 3)
	option := valkey.ClientOption{InitAddress: c.Addrs()}
	w := &world{t, remote.Valkey(option), "p", clusterRaw{t, c, option}}
	a, _ := w.open()
	b, hooks := w.open(tier.WithMaxStaleness(time.Hour), tier.WithHeartbeat(20*time.Millisecond), tier.WithRemoteTimeout(10*time.Second))
	ca, cb := cacheOf[int64](t, a), cacheOf[int64](t, b)
	keys := make([]string, 30)
	for i := range keys {
		keys[i] = fmt.Sprint("k", i)
		require.Equal(t, int64(i), find(t, cb, keys[i], is(int64(i), "doc")).Value)
	}
	within(t, "all is stored", func() bool { return b.Stats().Fills == int64(len(keys)) })
	local := func() bool {
		n := 0
		for i, k := range keys {
			r := find(t, cb, k, none)
			require.Equal(t, int64(i), r.Value)
			if r.Origin == tier.Local {
				n++
			}
		}
		return n == len(keys)
	}
	within(t, "all copies are here", local)
	var asked requests
	asked.count(hooks)
	w.raw.disconnect()
	within(t, "it is connected again", func() bool { return b.Sync(bg) == nil })
	within(t, "all copies are proven", local)
	require.Zero(t, asked.loads.Load())
	require.Zero(t, asked.gets.Load(), "no value is read again")

	name := tier.RemoteName(cb, "k0")
	from := primaryOf(t, c, name)
	slot, err := c.Primaries[0].Do(t, "CLUSTER", "KEYSLOT", name).AsInt64()
	require.NoError(t, err)
	c.MoveSlot(t, int(slot), c.Primaries[from], c.Primaries[(from+1)%3], nil)
	within(t, "all copies are proven", local)
	require.NoError(t, ca.Set(bg, "k0", 100))
	within(t, "it is told by the server that has the key now", func() bool { return find(t, cb, "k0", none).Value == 100 })
}

// In a cluster a connection that ends suspends the copies of its server's keys, and no others.
func TestInAClusterALostConnectionSuspendsItsKeysAlone(t *testing.T) {
	t.Parallel()
	c := valkeytest.StartCluster(t, 3)
	option := valkey.ClientOption{InitAddress: c.Addrs()}
	w := &world{t, remote.Valkey(option), "p", clusterRaw{t, c, option}}
	a, _ := w.open()
	b, hooks := w.open(tier.WithMaxStaleness(time.Hour), tier.WithHeartbeat(20*time.Millisecond), tier.WithRemoteTimeout(10*time.Second))
	ca, cb := cacheOf[int64](t, a), cacheOf[int64](t, b)
	ofLog := primaryOf(t, c, changelog.LogKey("p"))
	var here, elsewhere []string // keys of one server, and of others
	for i := range 60 {
		k := fmt.Sprint("k", i)
		require.Equal(t, int64(0), find(t, cb, k, is(int64(0), "doc")).Value)
		if primaryOf(t, c, tier.RemoteName(cb, k)) == (ofLog+1)%3 {
			here = append(here, k)
		} else {
			elsewhere = append(elsewhere, k)
		}
	}
	within(t, "all is stored", func() bool { return b.Stats().Fills == 60 })
	local := func(keys []string) (n int) {
		for _, k := range keys {
			if find(t, cb, k, none).Origin == tier.Local {
				n++
			}
		}
		return n
	}
	within(t, "all copies are here", func() bool { return local(here)+local(elsewhere) == 60 })
	var asked requests
	asked.count(hooks)
	var lost atomic.Bool
	hooks.Filter(func(e interpose.Event) bool {
		if e.Lost {
			lost.Store(true)
		}
		return true
	})
	c.Primaries[(ofLog+1)%3].Do(t, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	within(t, "the loss is found, and copies are asked for", func() bool {
		require.Equal(t, len(elsewhere), local(elsewhere), "they are suspended with those of the server whose connection was lost")
		_ = local(here)
		return asked.heads.Load() > 0
	})
	within(t, "all copies are proven", func() bool { return local(here) == len(here) })
	require.False(t, lost.Load(), "that is told of all keys")
	require.Zero(t, asked.gets.Load(), "no value is read again")
	require.NoError(t, ca.Set(bg, here[0], 1))
	within(t, "it is told over the new connection", func() bool { return find(t, cb, here[0], none).Value == 1 })
}

// Without tracking the log tells of all keys: what a lost connection to a server of a cluster suspends is proven by its reads, each
// for itself, and nothing is asked in the background, whose copies would be believed by invalidations that do not come.
func TestInAClusterWithoutTrackingCopiesAreLeftToTheirReads(t *testing.T) {
	t.Parallel()
	c := valkeytest.StartCluster(t, 3)
	option := valkey.ClientOption{InitAddress: c.Addrs()}
	w := &world{t, remote.Valkey(option), "p", clusterRaw{t, c, option}}
	a, _ := w.open(tier.WithoutTracking())
	b, hooks := w.open(tier.WithoutTracking(), tier.WithMaxStaleness(time.Hour), tier.WithHeartbeat(20*time.Millisecond), tier.WithRemoteTimeout(10*time.Second))
	ca, cb := cacheOf[int64](t, a), cacheOf[int64](t, b)
	server := (primaryOf(t, c, changelog.LogKey("p")) + 1) % 3
	var keys []string // of that server
	for i := 0; len(keys) < 20; i++ {
		if k := fmt.Sprint("k", i); primaryOf(t, c, tier.RemoteName(cb, k)) == server {
			keys = append(keys, k)
			find(t, cb, k, is(int64(0), "doc"))
		}
	}
	within(t, "all is stored", func() bool { return b.Stats().Fills == int64(len(keys)) })
	within(t, "all copies are here", func() bool {
		n := 0
		for _, k := range keys {
			if find(t, cb, k, none).Origin == tier.Local {
				n++
			}
		}
		return n == len(keys)
	})
	var heads, others, deltas atomic.Int64
	hooks.Before(func(op interpose.Op) error {
		switch op {
		case interpose.Heads:
			heads.Add(1)
		case interpose.Get, interpose.Lease:
			others.Add(1)
		case interpose.Delta:
			deltas.Add(1)
		}
		return nil
	})
	c.Primaries[server].Do(t, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	within(t, "the loss is found", func() bool {
		find(t, cb, keys[0], none)
		return heads.Load() > 0 && b.Sync(bg) == nil && find(t, cb, keys[0], none).Origin == tier.Local
	})
	asked, since := heads.Load(), deltas.Load()
	within(t, "the background has had time", func() bool { return deltas.Load() > since+30 })
	require.Equal(t, asked, heads.Load(), "nothing is asked in the background")
	for _, k := range keys[1:] {
		require.Equal(t, int64(0), find(t, cb, k, none).Value)
		require.Equal(t, tier.Local, find(t, cb, k, none).Origin)
	}
	require.Equal(t, asked+int64(len(keys)-1), heads.Load())
	require.Zero(t, others.Load(), "no value is read again")
	require.NoError(t, ca.Set(bg, keys[1], 1))
	require.NoError(t, b.Sync(bg))
	require.Equal(t, int64(1), find(t, cb, keys[1], none).Value)
}
