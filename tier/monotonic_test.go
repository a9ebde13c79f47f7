package tier_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/tier"
)

// What this process has returned once, no later read of it goes behind, whichever way
// either goes.

// ways are those in which a process reads a key, other than by the fast path: each gives
// what it found, -1 for nothing, without a load.
func ways(c, remoteOnly *tier.Cache[int]) map[string]func(ctx context.Context) int {
	get := func(c *tier.Cache[int], options ...tier.CallOption) func(ctx context.Context) int {
		return func(ctx context.Context) int {
			v, err := c.Get(ctx, "k", fails[int](errUnneeded), options...)
			if err != nil {
				return -1
			}
			return v
		}
	}
	many := func(c *tier.Cache[int], options ...tier.CallOption) func(ctx context.Context) int {
		return func(ctx context.Context) int {
			got, _ := c.GetMany(ctx, []string{"other", "k"}, func(context.Context, []string, tier.Entries) (map[string]int, error) {
				return nil, errUnneeded
			}, options...)
			if v, ok := got["k"]; ok {
				return v
			}
			return -1
		}
	}
	peek := func(c *tier.Cache[int]) func(ctx context.Context) int {
		return func(ctx context.Context) int {
			if v, there, err := c.Peek(ctx, "k"); there && err == nil {
				return v
			}
			return -1
		}
	}
	return map[string]func(ctx context.Context) int{
		"get": get(c), "get, fresh": get(c, tier.Fresh()), "get, no local": get(c, tier.NoLocal()), "get, remote only": get(remoteOnly),
		"get, fresh and no local": get(c, tier.Fresh(), tier.NoLocal()),
		"many":                    many(c), "many, fresh": many(c, tier.Fresh()), "many, no local": many(c, tier.NoLocal()), "many, remote only": many(remoteOnly),
		"peek": peek(c), "peek, remote only": peek(remoteOnly),
	}
}

// Regression: GetMany past calls and Peek read what was there before a value whose
// write was still on its way, although this process had returned that already.
func TestI1NoReadGoesBehindAValueThatIsBeingStored(t *testing.T) {
	eachRemote(t, func(t *testing.T, w *world) {
		for _, options := range [][]tier.CacheOption{nil, {tier.WithRemoteOnly()}} {
			for before := range 2 { // another value, or none
				w.prefix += "x"
				s, hooks := w.open(quiet...)
				c, remoteOnly := cacheOf[int](t, s), cacheOf[int](t, s, tier.WithRemoteOnly())
				for way, read := range ways(c, remoteOnly) {
					require.NoError(t, c.Delete(t.Context(), "k"))
					if before == 1 {
						require.NoError(t, c.Set(t.Context(), "k", 1))
					}
					reached, goOn := stopAt(hooks.Before, interpose.Write, 1)
					release := sync.OnceFunc(func() { close(goOn) })
					t.Cleanup(release) // before the store is closed
					v, err := cacheOf[int](t, s, options...).Refresh(t.Context(), "k", is(2))
					require.NoError(t, err)
					require.Equal(t, 2, v)
					<-reached
					got := make(chan int, 1)
					go func() { got <- read(t.Context()) }()
					within(t, "the read is answered, or waits for the write", func() bool { return len(got) == 1 || tier.Waits(c, "k") })
					release()
					assert.Equal(t, 2, <-got, "%s, before %d, options %d", way, before, len(options))
					hooks.Before(nil)
				}
			}
		}
	})
}

// Regression: the value is in the local tier before its callers are told of it, and a caller that
// reads it there may read on by a view that has no local tier.
func TestI1NoReadGoesBehindACopyWhoseWriteIsHandedOver(t *testing.T) {
	eachRemote(t, func(t *testing.T, w *world) {
		s, hooks := w.open(quiet...)
		c, remoteOnly := cacheOf[int](t, s), cacheOf[int](t, s, tier.WithRemoteOnly())
		all := ways(c, remoteOnly)
		for _, way := range []string{"peek", "peek, remote only"} { // the others share the call
			read := all[way]
			require.NoError(t, c.Set(t.Context(), "k", 1))
			got := make(chan int, 1)
			hooks.Handed(func() {
				hooks.Handed(nil)
				if v, there, _ := c.Peek(t.Context(), "k"); !there || v != 2 {
					got <- 2 // it is not kept before it is stored here: nothing was given out
					return
				}
				go func() { got <- read(t.Context()) }()
				within(t, "the read is answered, or waits for the write", func() bool { return len(got) == 1 || tier.Waits(c, "k") })
			})
			v, err := c.Refresh(t.Context(), "k", is(2))
			require.NoError(t, err)
			require.Equal(t, 2, v)
			assert.Equal(t, 2, <-got, way)
		}
	})
}

// The same at full speed, on a real server: nothing stops the write.
func TestI1NoReadGoesBehindARefresh(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c, remoteOnly := view[int](t, s, "docs"), view[int](t, s, "docs", tier.WithRemoteOnly())
		n := 0
		for range 30 {
			for way, read := range ways(c, remoteOnly) {
				n += 2
				require.NoError(t, c.Set(t.Context(), "k", n))
				v, err := c.Refresh(t.Context(), "k", is(n+1))
				require.NoError(t, err)
				require.Equal(t, n+1, v)
				assert.Equal(t, n+1, read(t.Context()), way)
			}
		}
	})
}

// What cannot be stored is given out all the same, and what it was to replace is no
// answer any more.
func TestI1NoReadGoesBehindAValueThatCouldNotBeStored(t *testing.T) {
	type failure struct {
		name string
		fail func(t *testing.T, w *world, hooks *interpose.Backend, c *tier.Cache[int])
		left int // in the remote tier
	}
	failures := []failure{
		{"the write is lost", func(_ *testing.T, _ *world, hooks *interpose.Backend, _ *tier.Cache[int]) {
			hooks.Before(failsFirst(interpose.Write))
		}, -1},
		{"the answer to the write is lost", func(_ *testing.T, _ *world, hooks *interpose.Backend, _ *tier.Cache[int]) {
			hooks.After(failsFirst(interpose.Write))
		}, 2},
		{"the lease is lost", func(_ *testing.T, w *world, _ *interpose.Backend, c *tier.Cache[int]) {
			w.raw.remove(tier.RemoteName(c, "k") + "!")
		}, -1},
		{"the key is set", func(t *testing.T, w *world, _ *interpose.Backend, _ *tier.Cache[int]) {
			other, _ := w.open(quiet...)
			require.NoError(t, cacheOf[int](t, other).Set(t.Context(), "k", 3))
		}, 3},
	}
	for _, f := range failures {
		t.Run(f.name, func(t *testing.T) {
			eachWorld(t, func(t *testing.T, w *world) {
				s, hooks := w.open(quiet...)
				c, remoteOnly := cacheOf[int](t, s), cacheOf[int](t, s, tier.WithRemoteOnly())
				for way, read := range ways(c, remoteOnly) {
					for _, by := range []*tier.Cache[int]{c, remoteOnly} {
						require.NoError(t, c.Set(t.Context(), "k", 1))
						require.Equal(t, 1, lookup(t, c, is(0)).Value)
						require.NoError(t, s.Sync(t.Context())) // the invalidation of the Set has come
						v, err := by.Refresh(t.Context(), "k", func(context.Context, *tier.Entry) (int, error) {
							f.fail(t, w, hooks, c)
							return 2, nil
						})
						require.NoError(t, err)
						require.Equal(t, 2, v)
						if v := read(t.Context()); v != 2 { // at once, and when all is done
							assert.Equal(t, f.left, v, way)
						}
						within(t, "the write is done", func() bool { return !tier.Flies(c, "k") })
						hooks.Before(nil)
						hooks.After(nil)
						assert.Equal(t, f.left, read(t.Context()), way)
					}
				}
			})
		})
	}
}

// failsFirst fails the first request of a kind, once.
func failsFirst(op interpose.Op) func(interpose.Op) error {
	var done atomic.Bool
	return func(o interpose.Op) error {
		if o == op && !done.Swap(true) {
			return errCut
		}
		return nil
	}
}

// A value past its TTL is none to fall back on once a newer one was returned.
func TestI1NoFallbackGoesBehindAValueThatCouldNotBeStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, option := range []tier.CacheOption{tier.WithRemoteOnly(), tier.WithLocalTTL(time.Hour)} {
			w := &world{t, embeddedFleet(t, nil).hub, "test", nil}
			s, hooks := w.open()
			c := cacheOf[int](t, s, tier.WithStaleOnError(time.Hour), option)
			require.NoError(t, c.Set(t.Context(), "k", 1, tier.WithTTL(time.Minute)))
			time.Sleep(2 * time.Minute)
			hooks.Before(failsFirst(interpose.Write))
			require.Equal(t, 2, lookup(t, c, is(2)).Value)
			synctest.Wait()
			_, err := c.Get(t.Context(), "k", fails[int](errOrigin))
			require.ErrorIs(t, err, errOrigin)
		}
	})
}

// Refresh replaces what there is also if it gets no lease.
func TestI1NoReadGoesBehindARefreshWithoutALease(t *testing.T) {
	test := func(t *testing.T, w *world, options ...tier.Option) {
		s, hooks := w.open(options...)
		c, remoteOnly := cacheOf[int](t, s), cacheOf[int](t, s, tier.WithRemoteOnly())
		for way, read := range ways(c, remoteOnly) {
			require.NoError(t, c.Set(t.Context(), "k", 1))
			require.Equal(t, 1, lookup(t, c, is(0)).Value) // from here on there is a local copy
			hooks.Before(failsFirst(interpose.Lease))
			v, err := c.Refresh(t.Context(), "k", is(2))
			require.NoError(t, err)
			require.Equal(t, 2, v)
			assert.Equal(t, -1, read(t.Context()), way)
		}
	}
	eachWorld(t, func(t *testing.T, w *world) { test(t, w, quiet...) })
	t.Run("without tracking", func(t *testing.T) { // nor does an invalidation remove the copy
		w := &world{t, embeddedFleet(t, nil).hub, "test", nil}
		test(t, w, append([]tier.Option{tier.WithoutTracking()}, quiet...)...)
	})
}

// Without tracking no invalidation tells of a write or a fill: what was read once says so.
func TestI1NoReadGoesBehindWhatWasReadWithoutTracking(t *testing.T) {
	w := &world{t, embeddedFleet(t, nil).hub, "test", nil}
	untracked := append([]tier.Option{tier.WithoutTracking()}, quiet...)
	s, _ := w.open(untracked...)
	c, remoteOnly := cacheOf[int](t, s), cacheOf[int](t, s, tier.WithRemoteOnly())
	reads := ways(c, remoteOnly)
	n := 0
	for way, read := range reads {
		other, hooks := w.open(untracked...)
		theirs := cacheOf[int](t, other)
		for what, change := range map[string]func(v int){
			"a fill": func(v int) {
				another, _ := w.open(untracked...)
				theirs := cacheOf[int](t, another)
				_, err := theirs.Refresh(t.Context(), "k", is(v))
				require.NoError(t, err)
				within(t, "it is stored", func() bool { return !tier.Flies(theirs, "k") })
			},
			"a write": func(v int) { // whose record is lost for now
				hooks.Before(func(o interpose.Op) error {
					if o == interpose.Append {
						return errCut
					}
					return nil
				})
				require.Error(t, theirs.Set(t.Context(), "k", v))
			},
		} {
			n++
			require.NoError(t, c.Set(t.Context(), "k", -10)) // so that a local copy is kept of the next
			lookup(t, c, is(0))
			require.Equal(t, tier.Local, lookup(t, c, is(0)).Origin)
			change(n)
			if v := read(t.Context()); v == n {
				for _, next := range []string{"peek", "get", "many"} { // the local tier first: other ways replace what it has
					assert.Equal(t, n, reads[next](t.Context()), "%s after %s, after %s", next, way, what)
				}
				for next, again := range reads {
					assert.Equal(t, n, again(t.Context()), "%s after %s, after %s", next, way, what)
				}
			}
			hooks.Before(nil)
			require.NoError(t, s.Sync(t.Context()))
		}
	}
}

// Nor is what is being loaded then shared with callers that come later. (Those that find a renewal under way
// read what is stored by now.)
func TestI1NoCallGoesBehindWhatWasReadWithoutTracking(t *testing.T) {
	for name, load := range map[string]func(c *tier.Cache[int]) (int, error){
		"a load":    func(c *tier.Cache[int]) (int, error) { return c.Get(bg, "k", is(2)) },
		"a renewal": func(c *tier.Cache[int]) (int, error) { return c.Refresh(bg, "k", is(2)) },
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{t, embeddedFleet(t, nil).hub, "test", nil}
			untracked := append([]tier.Option{tier.WithoutTracking()}, quiet...)
			s, hooks := w.open(untracked...)
			other, others := w.open(untracked...)
			c, theirs := cacheOf[int](t, s, tier.WithRemoteOnly()), cacheOf[int](t, other)
			if name == "a renewal" {
				require.NoError(t, c.Set(t.Context(), "k", 1))
			}

			reading, read := stopAt(hooks.Before, interpose.Get, 1)
			many := make(chan int, 1)
			go func() { many <- ways(c, c)["many, no local"](t.Context()) }()
			<-reading
			writing, write := stopAt(hooks.Before, interpose.Write, 1)
			v, err := load(c)
			require.NoError(t, err)
			require.Equal(t, 2, v)
			<-writing
			others.Before(func(o interpose.Op) error {
				if o == interpose.Append {
					return errCut
				}
				return nil
			})
			require.Error(t, theirs.Set(t.Context(), "k", 3))
			close(read)
			require.Equal(t, 3, <-many)
			got := make(chan int, 1)
			go func() { got <- ways(c, c)["get, no local"](t.Context()) }()
			within(t, "it is answered, or waits for the write", func() bool { return len(got) == 1 || tier.Waits(c, "k") })
			close(write)
			require.Equal(t, 3, <-got)
			others.Before(nil)
		})
	}
}

// Regression: a load had read a value past its TTL; then the key was set or deleted, and a
// caller that came after that, and shared the load, was given the old value when it failed.
func TestI1NoFallbackIsOlderThanAChangeBeforeTheCaller(t *testing.T) {
	for tracked, options := range tracking {
		for what, change := range map[string]func(c *tier.Cache[int]) error{
			"delete": func(c *tier.Cache[int]) error { return c.Delete(bg, "k") },
			"set": func(c *tier.Cache[int]) error {
				defer time.Sleep(time.Second) // by then it has expired
				return c.Set(bg, "k", 2, tier.WithTTL(time.Millisecond))
			},
		} {
			for local, option := range map[string]tier.CacheOption{"remote only": tier.WithRemoteOnly(), "both tiers": tier.WithLocalTTL(time.Hour)} {
				t.Run(tracked+", "+what+", "+local, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						w := &world{t, embeddedFleet(t, nil).hub, "test", nil}
						s, hooks := w.open(options...)
						c, brief := cacheOf[int](t, s, tier.WithStaleOnError(time.Hour), option), cacheOf[int](t, s)
						require.NoError(t, c.Set(bg, "k", 1, tier.WithTTL(time.Minute)))
						time.Sleep(2 * time.Minute)
						reached, goOn := stopAt(hooks.Before, interpose.Lease, 1)
						end := make(chan struct{})
						go c.Get(bg, "k", func(context.Context, *tier.Entry) (int, error) { <-end; return 0, errOrigin })
						<-reached // it has read 1
						require.NoError(t, change(brief))
						close(goOn)
						synctest.Wait()
						got := make(chan error)
						go func() {
							v, err := c.Get(bg, "k", fails[int](errOrigin))
							assert.Zero(t, v)
							got <- err
						}()
						synctest.Wait()
						close(end)
						require.ErrorIs(t, <-got, errOrigin)
					})
				})
			}
		}
	}
}

// Until that is done, callers share what was loaded, or wait.
func TestI1NoReadGoesBehindAValueWhileTheOlderIsRemoved(t *testing.T) {
	w := &world{t, embeddedFleet(t, nil).hub, "test", nil}
	s, hooks := w.open(quiet...)
	c, remoteOnly := cacheOf[int](t, s), cacheOf[int](t, s, tier.WithRemoteOnly())
	for way, read := range ways(c, remoteOnly) {
		require.NoError(t, c.Set(t.Context(), "k", 1))
		reached, goOn := stopAt(hooks.Before, interpose.Delete, 1)
		release := sync.OnceFunc(func() { close(goOn) })
		t.Cleanup(release)
		lost := failsFirst(interpose.Write)
		hooks.Reach(func(_ context.Context, op interpose.Op) error { return lost(op) })
		v, err := c.Refresh(t.Context(), "k", is(2))
		require.NoError(t, err)
		require.Equal(t, 2, v)
		<-reached
		got := make(chan int, 1)
		go func() { got <- read(t.Context()) }()
		within(t, "the read is answered, or waits", func() bool { return len(got) == 1 || tier.Waits(c, "k") })
		release()
		assert.NotEqual(t, 1, <-got, way)
		within(t, "all is done", func() bool { return !tier.Flies(c, "k") })
		hooks.Before(nil)
		hooks.Reach(nil)
	}
}

// Guard: likewise if the connection on which the change was told is lost before this process takes the lease.
//
//	A: has read 1, past its TTL, and waits for the lease, which B holds
//	B: deletes the key, which ends its lease; the invalidation is lost with A's connection
//	C: has the lease next, and A asks for it over its next connection in vain
//	A: takes the lease
//	D: begins, and shares A's load, which fails
func TestI2NoFallbackIsOlderThanALostConnection(t *testing.T) {
	for tracked, options := range tracking {
		for local, option := range map[string]tier.CacheOption{"remote only": tier.WithRemoteOnly(), "both tiers": tier.WithLocalTTL(time.Hour)} {
			t.Run(tracked+", "+local, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					hub := embeddedFleet(t, nil).hub
					w := &world{t, hub, "test", nil}
					a, hooks := w.open(options...)
					b, _ := w.open(options...)
					c, _ := w.open(options...)
					ca, cb, cc := cacheOf[int](t, a, tier.WithStaleOnError(time.Hour), option), cacheOf[int](t, b), cacheOf[int](t, c)
					require.NoError(t, cb.Set(bg, "k", 1, tier.WithTTL(time.Minute)))
					require.NoError(t, ca.Set(bg, "k", 1, tier.WithTTL(time.Minute)))
					time.Sleep(2 * time.Minute)
					holds, next, end := make(chan struct{}), make(chan struct{}), make(chan struct{})
					go cb.Get(bg, "k", func(context.Context, *tier.Entry) (int, error) { <-holds; return 2, nil })
					synctest.Wait()
					go ca.Get(bg, "k", func(context.Context, *tier.Entry) (int, error) { <-end; return 0, errOrigin })
					synctest.Wait() // it has read 1, and waits for the lease
					hooks.Filter(func(e interpose.Event) bool { return e.Changed == nil })
					require.NoError(t, cb.Delete(bg, "k"))
					go cc.Get(bg, "k", func(context.Context, *tier.Entry) (int, error) { <-next; return 0, errOrigin })
					synctest.Wait()
					hub.Disconnect()
					time.Sleep(3 * time.Second)
					close(next)
					time.Sleep(3 * time.Second)
					got := make(chan error)
					go func() {
						v, err := ca.Get(bg, "k", fails[int](errOrigin))
						assert.Zero(t, v)
						got <- err
					}()
					synctest.Wait()
					close(end)
					require.ErrorIs(t, <-got, errOrigin)
					close(holds)
					synctest.Wait()
				})
			})
		}
	}
}
