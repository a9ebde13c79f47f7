package tier_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/tier"
)

// busy counts the loaders that run, and the most that did at once.
type busy struct{ now, most, all atomic.Int64 }

func (b *busy) while(f func()) {
	b.all.Add(1)
	n := b.now.Add(1)
	defer b.now.Add(-1)
	for m := b.most.Load(); n > m && !b.most.CompareAndSwap(m, n); m = b.most.Load() {
	}
	f()
}

// inTiers runs a test of caches that keep copies in both tiers, or in one of them.
func inTiers(t *testing.T, test func(t *testing.T, f *fleet, options ...tier.CacheOption)) {
	for name, options := range map[string][]tier.CacheOption{"both tiers": nil, "remote only": {tier.WithRemoteOnly()}, "local only": {tier.WithLocalOnly()}} {
		t.Run(name, func(t *testing.T) {
			inBubbles(t, func(t *testing.T, f *fleet) { test(t, f, options...) })
		})
	}
}

// Guard: a value past its TTL is given without a place, whichever way it is read.
func TestAStaleValueNeedsNoPlace(t *testing.T) {
	inTiers(t, func(t *testing.T, f *fleet, options ...tier.CacheOption) {
		s := f.process(append(forHours, tier.WithMaxLoads(1))...)
		c := view[string](t, s, "docs", append(options, tier.WithTTL(time.Minute), tier.WithStaleWhileRevalidate(time.Hour))...)
		require.NoError(t, c.SetMany(t.Context(), map[string]string{"one": "v", "two": "v"}))
		f.sync()
		time.Sleep(2 * time.Minute)
		goOn := make(chan struct{})
		go func() {
			_, _ = c.Get(context.Background(), "slow", func(context.Context, *tier.Entry) (string, error) { <-goOn; return "", nil })
		}()
		synctest.Wait()
		begun := time.Now()
		assert.True(t, find(t, c, "one", unneeded).Stale)
		got, err := c.GetMany(t.Context(), []string{"one", "two"}, func(context.Context, []string, tier.Entries) (map[string]string, error) {
			return nil, errOrigin
		})
		require.NoError(t, err)
		assert.Equal(t, map[string]string{"one": "v", "two": "v"}, got)
		assert.Zero(t, time.Since(begun))
		close(goOn)
	})
}

// Guard: callers that wait for less long than a load takes do not begin it again and again.
func TestADetachedLoadFillsWithoutCallers(t *testing.T) {
	inTiers(t, func(t *testing.T, f *fleet, options ...tier.CacheOption) {
		c := view[string](t, f.process(), "docs", append(options, tier.WithDetachedLoads())...)
		var ran busy
		load := func(ctx context.Context, e *tier.Entry) (v string, err error) {
			ran.while(func() {
				time.Sleep(5 * time.Second)
				v, err = "v", ctx.Err()
			})
			return v, err
		}
		answered := 0
		for range 60 {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			if v, err := c.Get(ctx, "k", load); err == nil {
				assert.Equal(t, "v", v)
				answered++
			} else {
				assert.ErrorIs(t, err, context.DeadlineExceeded)
			}
			_, _ = c.GetMany(ctx, []string{"k"}, failingMany(new(atomic.Int64)))
			cancel()
		}
		assert.Positive(t, answered)
		assert.Equal(t, int64(1), ran.all.Load())
		assert.Equal(t, "v", find(t, c, "k", unneeded).Value)
	})
}

// Guard: nor do those of another process.
func TestADetachedLoadIsTheFleetsOnlyOne(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		var ran busy
		load := func(context.Context, []string, tier.Entries) (map[string]string, error) {
			ran.while(func() { time.Sleep(3 * backend.DefaultLeaseTTL) })
			return many("a", "b"), nil
		}
		var all []*tier.Cache[string]
		for range 3 {
			all = append(all, view[string](t, f.process(), "docs", tier.WithDetachedLoads()))
		}
		for i := range 100 { // until the load has ended
			ctx, cancel := context.WithTimeout(t.Context(), backend.DefaultLeaseTTL/30)
			_, _ = all[i%3].GetMany(ctx, []string{"a", "b"}, load)
			cancel()
		}
		assert.Equal(t, int64(1), ran.all.Load())
		for _, c := range all {
			got, err := c.GetMany(t.Context(), []string{"a", "b"}, failingMany(new(atomic.Int64)))
			require.NoError(t, err)
			assert.Equal(t, many("a", "b"), got)
		}
	})
}

// Guard: a load that was detached is one of before a change that comes while it has no callers.
func TestI5ADetachedLoadThatOverlapsAChangeIsNotBelieved(t *testing.T) {
	inTiers(t, func(t *testing.T, f *fleet, options ...tier.CacheOption) {
		s := f.process()
		c := view[string](t, s, "docs", append(options, tier.WithDetachedLoads())...)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Get(ctx, "k", func(_ context.Context, e *tier.Entry) (string, error) {
			time.Sleep(5 * time.Second)
			e.DependsOn("doc")
			return "old", nil
		})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, err = s.InvalidateSource(t.Context(), "doc")
		require.NoError(t, err)
		time.Sleep(10 * time.Second)
		assert.Equal(t, "new", find(t, c, "k", is("new")).Value)
	})
}

// Guard: two loaders of a key do not run at once, but one that does not return is given up: its result is
// not kept, and the key is loaded anew.
func TestALoaderThatDoesNotReturnIsGivenUp(t *testing.T) {
	inTiers(t, func(t *testing.T, f *fleet, options ...tier.CacheOption) {
		var log journal
		s := f.process(tier.WithLogger(log.logger()))
		c := view[string](t, s, "docs", append(options, tier.WithDetachedLoads(), tier.WithLoadTimeout(10*time.Second))...)
		release := make(chan struct{})
		var ran busy
		stuck := func(context.Context, *tier.Entry) (string, error) {
			ran.while(func() { <-release })
			return "too late", nil
		}
		begun := time.Now()
		_, err := c.Get(t.Context(), "k", stuck)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 10*time.Second, time.Since(begun))
		for time.Since(begun) < 19*time.Second {
			at := time.Now()
			_, err := c.Get(t.Context(), "k", stuck)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			_, err = c.GetMany(t.Context(), []string{"k"}, failingMany(new(atomic.Int64)))
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			_, err = c.Refresh(t.Context(), "k", stuck)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Zero(t, time.Since(at), "nothing is waited for")
			_, err = s.InvalidateSource(t.Context(), "other")
			require.NoError(t, err)
			time.Sleep(time.Second)
		}
		assert.Equal(t, int64(1), ran.all.Load())
		assert.Zero(t, s.Health(t.Context()).StuckLoads)
		time.Sleep(2 * time.Second)
		assert.Equal(t, 1, s.Health(t.Context()).StuckLoads)
		assert.Contains(t, fmt.Sprint(s.Health(t.Context()).Warnings), "WithDetachedLoads")
		assert.Equal(t, int64(1), s.Stats().GivenUp)
		assert.Equal(t, int64(1), s.Stats().LoadErrors)
		assert.Contains(t, log.String(), "given up")
		assert.Equal(t, "new", find(t, c, "k", is("new")).Value)
		close(release)
		synctest.Wait()
		assert.Zero(t, s.Health(t.Context()).StuckLoads)
		assert.Equal(t, "new", find(t, c, "k", unneeded).Value)
	})
}

// Guard: the answer of a loader that returns late, and before it is given up, is kept.
func TestALoaderThatReturnsLateFillsTheTiers(t *testing.T) {
	inTiers(t, func(t *testing.T, f *fleet, options ...tier.CacheOption) {
		s := f.process()
		c := view[string](t, s, "docs", append(options, tier.WithDetachedLoads(), tier.WithLoadTimeout(10*time.Second))...)
		_, err := c.Get(t.Context(), "k", func(context.Context, *tier.Entry) (string, error) {
			time.Sleep(15 * time.Second)
			return "late", nil
		})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		time.Sleep(6 * time.Second)
		assert.Equal(t, "late", find(t, c, "k", unneeded).Value)
		time.Sleep(time.Minute)
		assert.Zero(t, s.Stats().GivenUp)
	})
}

// Guard: a source that never returns gets no more than some loaders of a view.
func TestThereAreFewStuckLoadersOfAView(t *testing.T) {
	inTiers(t, func(t *testing.T, f *fleet, options ...tier.CacheOption) {
		s := f.process()
		c := view[string](t, s, "docs", append(options, tier.WithDetachedLoads(), tier.WithLoadTimeout(time.Second), tier.WithTTL(time.Minute), tier.WithStaleOnError(time.Hour))...)
		other := view[string](t, s, "others", append(options, tier.WithDetachedLoads())...)
		require.NoError(t, c.Set(t.Context(), "old", "v"))
		time.Sleep(2 * time.Minute)
		release := make(chan struct{})
		var ran busy
		stuck := func(context.Context, *tier.Entry) (string, error) {
			ran.while(func() { <-release })
			return "", errOrigin
		}
		for i := range 20 {
			_, err := c.Get(t.Context(), fmt.Sprint(i), stuck)
			if i < 8 {
				assert.ErrorIs(t, err, context.DeadlineExceeded)
			} else {
				assert.ErrorIs(t, err, tier.ErrOverloaded)
			}
			time.Sleep(2 * time.Second)
		}
		assert.Equal(t, int64(8), ran.all.Load())
		assert.True(t, find(t, c, "old", stuck).Stale)
		assert.Equal(t, "v", find(t, other, "k", is("v")).Value)
		synctest.Wait()
		assert.Empty(t, leases(f), "what is not loaded holds up no other process")
		close(release)
		synctest.Wait()
		assert.Equal(t, "v", find(t, c, "0", is("v")).Value)
	})
}

// leases are the names of the leases in the remote tier.
func leases(f *fleet) (out []string) {
	for _, k := range f.keys() {
		if len(k) > 0 && k[len(k)-1] != '}' {
			out = append(out, k)
		}
	}
	return out
}

// Guard: no more loads run at once than allowed, some wait, and the rest is answered at once.
func TestLoadsAreBounded(t *testing.T) {
	inTiers(t, func(t *testing.T, f *fleet, options ...tier.CacheOption) {
		s := f.process(tier.WithMaxLoads(3))
		c := view[string](t, s, "docs", append(options, tier.WithTTL(time.Minute), tier.WithStaleOnError(time.Hour))...)
		require.NoError(t, c.Set(t.Context(), "old", "v"))
		time.Sleep(2 * time.Minute)
		var ran busy
		load := func(context.Context, *tier.Entry) (string, error) {
			ran.while(func() { time.Sleep(time.Second) })
			return "new", nil
		}
		begun := time.Now()
		var all sync.WaitGroup
		var loaded, refused atomic.Int64
		for i := range 40 {
			all.Go(func() {
				if _, err := c.Get(t.Context(), fmt.Sprint(i), load); err == nil {
					loaded.Add(1)
				} else if assert.ErrorIs(t, err, tier.ErrOverloaded) {
					refused.Add(1)
					assert.Zero(t, time.Since(begun))
				}
			})
		}
		synctest.Wait()
		r := find(t, c, "old", load)
		assert.True(t, r.Stale)
		assert.Zero(t, time.Since(begun))
		all.Wait()
		assert.Equal(t, int64(15), loaded.Load())
		assert.Equal(t, int64(25), refused.Load())
		assert.Equal(t, int64(26), s.Stats().Refused)
		assert.Equal(t, int64(41), s.Stats().Reads())
		assert.Equal(t, int64(3), ran.most.Load())
		assert.Equal(t, 5*time.Second, time.Since(begun))
		assert.Equal(t, "new", find(t, c, "old", load).Value, "a refusal begins no pause")
	})
}

// Guard: a load inside a loader uses the place of that, also if another caller had begun to wait for a
// place with it.
func TestANestedLoadUsesItsParentsPlace(t *testing.T) {
	inTiers(t, func(t *testing.T, f *fleet, options ...tier.CacheOption) {
		c := view[string](t, f.process(tier.WithMaxLoads(1)), "docs", append(options, tier.WithLoadTimeout(time.Minute))...)
		begun := time.Now()
		var ran busy
		leaf := func(context.Context, *tier.Entry) (string, error) {
			ran.while(func() { time.Sleep(time.Second) })
			return "leaf", nil
		}
		middle := func(ctx context.Context, _ *tier.Entry) (string, error) {
			got, err := c.GetMany(ctx, []string{"leaf"}, func(ctx context.Context, keys []string, _ tier.Entries) (map[string]string, error) {
				v, err := leaf(ctx, nil)
				return map[string]string{"leaf": v}, err
			})
			return "middle of " + got["leaf"], err
		}
		running, goOn := make(chan struct{}), make(chan struct{})
		var all sync.WaitGroup
		all.Go(func() {
			v, err := c.Get(t.Context(), "root", func(ctx context.Context, _ *tier.Entry) (string, error) {
				close(running)
				<-goOn
				v, err := c.Refresh(ctx, "middle", middle)
				return "root of " + v, err
			})
			assert.NoError(t, err)
			assert.Equal(t, "root of middle of leaf", v)
		})
		<-running
		all.Go(func() { assert.Equal(t, "leaf", find(t, c, "leaf", leaf).Value) }) // waits for root's place
		all.Go(func() { assert.Equal(t, "other", find(t, c, "other", is("other")).Value) })
		synctest.Wait()
		close(goOn)
		all.Wait()
		assert.Equal(t, time.Second, time.Since(begun))
		assert.Equal(t, int64(1), ran.all.Load())
		// And the place is free again.
		assert.Equal(t, "again", find(t, c, "again", is("again")).Value)
	})
}

// Guard: what waits for a place has no lease, which would hold up other processes.
func TestALoadThatWaitsForAPlaceHoldsNoLease(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		a, b := view[string](t, f.process(tier.WithMaxLoads(1)), "docs"), view[string](t, f.process(), "docs")
		goOn := make(chan struct{})
		var all sync.WaitGroup
		all.Go(func() {
			find(t, a, "held", func(context.Context, *tier.Entry) (string, error) {
				<-goOn
				return "v", nil
			})
		})
		synctest.Wait()
		all.Go(func() { assert.Equal(t, "of b", find(t, a, "k", unneeded).Value) })
		synctest.Wait()
		begun := time.Now()
		assert.Equal(t, "of b", find(t, b, "k", is("of b")).Value)
		assert.Zero(t, time.Since(begun))
		close(goOn)
		all.Wait()
	})
}

// Guard: nor do loads of two processes wait for each other's places.
func TestLoadsOfTwoProcessesWithOnePlaceEachEnd(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		begun := time.Now()
		var all sync.WaitGroup
		for p := range 2 {
			c := view[string](t, f.process(tier.WithMaxLoads(1)), "docs")
			slow := func(v string) tier.Loader[string] {
				return func(ctx context.Context, _ *tier.Entry) (string, error) {
					time.Sleep(100 * time.Millisecond)
					return v, nil
				}
			}
			for i := range 4 {
				all.Go(func() {
					key := fmt.Sprint((i + p) % 4)
					v, err := c.Get(t.Context(), key, func(ctx context.Context, _ *tier.Entry) (string, error) {
						return c.Get(ctx, "common", slow("c"))
					})
					assert.NoError(t, err)
					assert.Equal(t, "c", v)
				})
			}
		}
		all.Wait()
		assert.Less(t, time.Since(begun), backend.DefaultLeaseTTL, "no lease is waited for until its end")
	})
}

// Guard: a renewal in the background waits for no place, and takes none from a caller.
func TestRenewalsTakeOnlyFreePlaces(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		c := view[string](t, f.process(tier.WithMaxLoads(2)), "docs", tier.WithTTL(time.Minute), tier.WithStaleWhileRevalidate(time.Hour))
		for i := range 10 {
			require.NoError(t, c.Set(t.Context(), fmt.Sprint(i), "old"))
		}
		time.Sleep(2 * time.Minute)
		var ran busy
		load := func(context.Context, *tier.Entry) (string, error) {
			ran.while(func() { time.Sleep(time.Second) })
			return "new", nil
		}
		for i := range 10 {
			assert.True(t, find(t, c, fmt.Sprint(i), load).Stale)
			synctest.Wait()
		}
		assert.Equal(t, int64(2), ran.all.Load())
		time.Sleep(2 * time.Second)
		for i := range 10 {
			find(t, c, fmt.Sprint(i), load)
			synctest.Wait()
		}
		time.Sleep(2 * time.Second)
		assert.Equal(t, int64(2), ran.most.Load())
		assert.Equal(t, int64(4), ran.all.Load())
	})
}

// Guard: a loader that goes on after its callers have left keeps its place, but not for ever.
func TestALoaderThatGoesOnKeepsItsPlaceForAWhile(t *testing.T) {
	inTiers(t, func(t *testing.T, f *fleet, options ...tier.CacheOption) {
		c := view[string](t, f.process(tier.WithMaxLoads(1)), "docs", append(options, tier.WithLoadTimeout(10*time.Second))...)
		for _, takes := range []time.Duration{5 * time.Second, 5 * time.Minute} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			begun := time.Now()
			_, err := c.Get(ctx, "k", func(context.Context, *tier.Entry) (string, error) {
				time.Sleep(takes)
				return "", errOrigin
			})
			cancel()
			require.ErrorIs(t, err, context.DeadlineExceeded)
			time.Sleep(500 * time.Millisecond) // what waits from here on waits until after the place is free
			assert.Equal(t, "v", find(t, c, fmt.Sprint(takes), is("v")).Value)
			assert.GreaterOrEqual(t, time.Since(begun), min(takes, 11*time.Second), "it has waited")
			assert.LessOrEqual(t, time.Since(begun), min(takes, 12*time.Second))
		}
		time.Sleep(10 * time.Minute)
	})
}

// Guard: loaders that wait for each other's key are told so at once.
func TestLoadersThatWaitForEachOtherGetAnError(t *testing.T) {
	for name, n := range map[string]int{"two": 2, "three": 3} {
		t.Run(name, func(t *testing.T) {
			inTiers(t, func(t *testing.T, f *fleet, options ...tier.CacheOption) {
				s := f.process()
				c := view[string](t, s, "docs", append(options, tier.WithFailFast())...)
				begun := time.Now()
				var gate, all sync.WaitGroup
				gate.Add(n)
				load := make([]tier.Loader[string], n)
				for i := range n {
					load[i] = func(ctx context.Context, _ *tier.Entry) (string, error) {
						gate.Done()
						gate.Wait()
						next := (i + 1) % n
						switch i {
						case 0:
							return c.Get(ctx, fmt.Sprint("k", next), load[next])
						case 1:
							got, err := c.GetMany(ctx, []string{fmt.Sprint("k", next)}, failingMany(new(atomic.Int64)))
							return got["k"], err
						}
						r, err := c.Lookup(ctx, fmt.Sprint("k", next), load[next])
						return r.Value, err
					}
				}
				for i := range n {
					all.Go(func() {
						_, err := c.Get(t.Context(), fmt.Sprint("k", i), load[i])
						assert.ErrorIs(t, err, tier.ErrRecursiveLoad)
						for j := range n {
							assert.ErrorContains(t, err, fmt.Sprintf(`docs "k%d"`, j))
						}
					})
				}
				all.Wait()
				assert.Zero(t, time.Since(begun))
				assert.Equal(t, "v", find(t, c, "k0", is("v")).Value, "it begins no pause, and leaves nothing behind")
			})
		})
	}
}

// Guard: also if one of them is to be refreshed.
func TestALoaderThatRefreshesTheKeyThatWaitsForItGetsAnError(t *testing.T) {
	inTiers(t, func(t *testing.T, f *fleet, options ...tier.CacheOption) {
		c := view[string](t, f.process(), "docs", options...)
		begun := time.Now()
		_, err := c.Get(t.Context(), "a", func(ctx context.Context, _ *tier.Entry) (string, error) {
			return c.Get(ctx, "b", func(context.Context, *tier.Entry) (string, error) {
				time.Sleep(time.Second)
				return c.Refresh(ctx, "a", unneeded) // in the name of a's loader
			})
		})
		assert.ErrorIs(t, err, tier.ErrRecursiveLoad)
		synctest.Wait() // its lease is given up, which is not waited for
		other := make(chan struct{})
		_, err = c.Get(t.Context(), "a", func(ctx context.Context, _ *tier.Entry) (string, error) {
			go func() {
				defer close(other)
				_, err := c.Get(context.Background(), "b", func(ctx context.Context, _ *tier.Entry) (string, error) {
					time.Sleep(time.Second)
					return c.Refresh(ctx, "a", unneeded)
				})
				assert.ErrorIs(t, err, tier.ErrRecursiveLoad)
			}()
			time.Sleep(time.Millisecond)
			return c.Get(ctx, "b", unneeded)
		})
		assert.ErrorIs(t, err, tier.ErrRecursiveLoad)
		<-other
		assert.Equal(t, 2*time.Second, time.Since(begun))
	})
}

// Guard: also if their stores are two.
func TestLoadersOfTwoStoresThatWaitForEachOtherGetAnError(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		a, b := view[string](t, f.process(), "as"), view[string](t, f.process(), "bs")
		var gate, all sync.WaitGroup
		gate.Add(2)
		begun := time.Now()
		all.Go(func() {
			_, err := a.Get(t.Context(), "k", func(ctx context.Context, _ *tier.Entry) (string, error) {
				gate.Done()
				gate.Wait()
				return b.Get(ctx, "k", unneeded)
			})
			assert.ErrorIs(t, err, tier.ErrRecursiveLoad)
		})
		all.Go(func() {
			_, err := b.Get(t.Context(), "k", func(ctx context.Context, _ *tier.Entry) (string, error) {
				gate.Done()
				gate.Wait()
				return a.Get(ctx, "k", unneeded)
			})
			assert.ErrorIs(t, err, tier.ErrRecursiveLoad)
			assert.ErrorContains(t, err, `bs "k"`)
		})
		all.Wait()
		assert.Zero(t, time.Since(begun))
	})
}

// Guard: also if they run in different processes, within two lease periods, and what they load meanwhile does not matter.
func TestLoadersOfAFleetThatWaitForEachOtherGetAnError(t *testing.T) {
	for name, n := range map[string]int{"two": 2, "three": 3} {
		t.Run(name, func(t *testing.T) {
			inBubbles(t, func(t *testing.T, f *fleet) {
				var gate, all sync.WaitGroup
				gate.Add(n)
				begun := time.Now()
				var cycles atomic.Int64
				for i := range n {
					c := view[string](t, f.process(), "docs")
					all.Go(func() {
						_, err := c.Get(t.Context(), fmt.Sprint("k", i), func(ctx context.Context, _ *tier.Entry) (string, error) {
							return c.Get(ctx, fmt.Sprint("inner ", i), func(ctx context.Context, _ *tier.Entry) (string, error) {
								gate.Done()
								gate.Wait()
								_, err := c.Get(ctx, fmt.Sprint("k", (i+1)%n), func(context.Context, *tier.Entry) (string, error) { return "", errOrigin })
								if errors.Is(err, tier.ErrRecursiveLoad) {
									cycles.Add(1)
									for j := range n {
										assert.ErrorContains(t, err, fmt.Sprintf(`docs "k%d"`, j))
									}
								}
								return "", err
							})
						})
						assert.Error(t, err)
					})
				}
				all.Wait()
				assert.Positive(t, cycles.Load())
				assert.LessOrEqual(t, time.Since(begun), 2*backend.DefaultLeaseTTL)
				synctest.Wait()
				assert.Empty(t, f.keys(), "nothing is left behind")
			})
		})
	}
}

// Guard: a loader that waits for a slow one of another process is no cycle, for however long, also if that one has waited
// for a key that the first loads, before.
func TestALoaderThatWaitsForASlowOneElsewhereIsNoCycle(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		a, b := view[string](t, f.process(), "docs"), view[string](t, f.process(), "docs")
		lasts := func(d time.Duration) tier.Loader[string] {
			return func(context.Context, *tier.Entry) (string, error) { time.Sleep(d); return "v", nil }
		}
		var all sync.WaitGroup
		all.Go(func() {
			find(t, a, "x", func(ctx context.Context, _ *tier.Entry) (string, error) {
				time.Sleep(5 * time.Second)
				return a.Get(ctx, "y", lasts(0)) // until B has it
			})
		})
		all.Go(func() {
			find(t, b, "y", func(ctx context.Context, _ *tier.Entry) (string, error) {
				time.Sleep(time.Millisecond) // A has begun
				ctx, cancel := context.WithTimeout(ctx, 7*time.Second)
				defer cancel()
				_, err := b.Get(ctx, "x", lasts(0)) // in vain
				assert.Error(t, err)
				time.Sleep(15 * time.Second)
				return "v", nil
			})
		})
		all.Wait()
	})
}

// Guard: loaders that wait for the same key, one after the other, are no cycle.
func TestLoadersThatShareALoadAreNoCycle(t *testing.T) {
	inTiers(t, func(t *testing.T, f *fleet, options ...tier.CacheOption) {
		c := view[string](t, f.process(tier.WithMaxLoads(2)), "docs", options...)
		var ran busy
		slow := func(context.Context, *tier.Entry) (string, error) {
			ran.while(func() { time.Sleep(time.Second) })
			return "v", nil
		}
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				v, err := c.Get(t.Context(), fmt.Sprint(i), func(ctx context.Context, _ *tier.Entry) (string, error) {
					if _, err := c.Get(ctx, "common", slow); err != nil {
						return "", err
					}
					return c.Get(ctx, "second", slow)
				})
				assert.NoError(t, err)
				assert.Equal(t, "v", v)
			})
		}
		all.Wait()
		assert.Equal(t, int64(2), ran.all.Load())
	})
}
