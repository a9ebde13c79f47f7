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

func TestStaleWhileRevalidateServesTheOldValueWhileOneLoadRenewsIt(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		sa, sb := f.process(), f.process()
		options := []tier.CacheOption{tier.WithTTL(time.Minute), tier.WithStaleWhileRevalidate(30 * time.Second)}
		a, b := view[string](t, sa, "docs", options...), view[string](t, sb, "docs", options...)
		find(t, a, "k", is("v1"))
		synctest.Wait()
		find(t, b, "k", unneeded)
		time.Sleep(time.Minute)
		var loads atomic.Int64
		goOn := make(chan struct{})
		load := counted(&loads, func(context.Context, *tier.Entry) (string, error) {
			<-goOn
			return "v2", nil
		})
		for range 10 {
			r := find(t, a, "k", load)
			assert.Equal(t, "v1", r.Value)
			assert.True(t, r.Stale)
			assert.LessOrEqual(t, r.TTL, time.Duration(0))
			synctest.Wait() // a is the one that loads
			assert.True(t, find(t, b, "k", load).Stale)
			synctest.Wait()
		}
		assert.Equal(t, int64(1), loads.Load(), "one renews it, for both processes")
		close(goOn)
		synctest.Wait()
		if !f.tracked {
			find(t, b, "k", unneeded) // finds the newer version by itself
			synctest.Wait()
		}
		for _, c := range []*tier.Cache[string]{a, b} {
			r := find(t, c, "k", unneeded)
			assert.Equal(t, "v2", r.Value)
			assert.False(t, r.Stale)
		}
		assert.Equal(t, int64(10), sa.Stats().Stale)
		// Past the window it is not served any more.
		time.Sleep(90 * time.Second)
		r := find(t, a, "k", is("v3"))
		assert.Equal(t, "v3", r.Value)
		assert.False(t, r.Stale)
		synctest.Wait()
	})
}

func TestAStaleRemoteCopyIsServedToAProcessThatHasNone(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		options := []tier.CacheOption{tier.WithTTL(time.Minute), tier.WithStaleWhileRevalidate(30 * time.Second)}
		a, b := view[string](t, f.process(), "docs", options...), view[string](t, f.process(), "docs", options...)
		find(t, a, "k", is("v1"))
		time.Sleep(70 * time.Second)
		r := find(t, b, "k", is("v2"))
		assert.Equal(t, "v1", r.Value)
		assert.True(t, r.Stale)
		assert.Equal(t, tier.Remote, r.Origin)
		synctest.Wait()
		assert.Equal(t, "v2", find(t, b, "k", unneeded).Value)
		if !f.tracked {
			find(t, a, "k", unneeded)
			synctest.Wait()
		}
		assert.Equal(t, "v2", find(t, a, "k", unneeded).Value)
	})
}

func TestStaleOnErrorServesTheOldValueInsteadOfALoadersError(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		for _, how := range [][]tier.CacheOption{nil, {tier.WithRemoteOnly()}} {
			s := f.process()
			c := view[string](t, s, "docs", append(how, tier.WithTTL(time.Minute), tier.WithStaleOnError(30*time.Second))...)
			find(t, c, "k", is("v"))
			time.Sleep(time.Minute)
			for range 3 {
				r, err := c.Lookup(t.Context(), "k", fails[string](errOrigin))
				require.NoError(t, err)
				assert.Equal(t, "v", r.Value)
				assert.True(t, r.Stale)
				many, err := c.GetMany(t.Context(), []string{"k"}, func(context.Context, []string, tier.Entries) (map[string]string, error) {
					return nil, errOrigin
				})
				require.NoError(t, err)
				assert.Equal(t, map[string]string{"k": "v"}, many)
			}
			assert.Equal(t, int64(1), s.Stats().LoadErrors, "the source is left alone for a while")
			assert.Equal(t, int64(6), s.Stats().Stale)
			_, err := c.Get(t.Context(), "k", func(context.Context, *tier.Entry) (string, error) { panic("boom") })
			require.NoError(t, err)
			time.Sleep(30 * time.Second)
			_, err = c.Get(t.Context(), "k", fails[string](errOrigin))
			assert.ErrorIs(t, err, errOrigin, "past the window")
			require.NoError(t, c.Delete(t.Context(), "k"))
		}
	})
}

func TestNotFoundIsAnAnswerAndNoErrorToServeStaleFor(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		for _, ttl := range []time.Duration{0, time.Second} {
			c := view[string](t, f.process(), "docs", tier.WithTTL(time.Minute), tier.WithStaleOnError(time.Hour), tier.WithNegativeTTL(ttl))
			require.NoError(t, c.Set(t.Context(), "k", "v"))
			time.Sleep(time.Minute)
			_, err := c.Get(t.Context(), "k", fails[string](tier.ErrNotFound))
			assert.ErrorIs(t, err, tier.ErrNotFound)
			time.Sleep(ttl)
			_, err = c.Get(t.Context(), "k", fails[string](errOrigin))
			assert.ErrorIs(t, err, errOrigin, "the value has been found gone")
		}
	})
}

func TestAValueThatChangedIsNeverServedStale(t *testing.T) {
	change := map[string]func(t *testing.T, s *tier.Store, c *tier.Cache[string]) error{
		"source": func(t *testing.T, s *tier.Store, _ *tier.Cache[string]) error {
			_, err := s.InvalidateSource(t.Context(), "doc")
			return err
		},
		"namespace": func(t *testing.T, s *tier.Store, _ *tier.Cache[string]) error {
			_, err := s.InvalidateNamespace(t.Context(), "docs")
			return err
		},
		"version": func(t *testing.T, s *tier.Store, _ *tier.Cache[string]) error {
			_, err := s.InvalidateAll(t.Context())
			return err
		},
		"key": func(t *testing.T, _ *tier.Store, c *tier.Cache[string]) error { return c.Delete(t.Context(), "k") },
	}
	for what, change := range change {
		t.Run(what, func(t *testing.T) {
			inBubbles(t, func(t *testing.T, f *fleet) {
				sa, sb := f.process(), f.process()
				options := []tier.CacheOption{tier.WithTTL(time.Minute), tier.WithStaleWhileRevalidate(time.Hour),
					tier.WithStaleOnError(time.Hour), tier.WithSoftTimeout(time.Second)}
				a, b := view[string](t, sa, "docs:technical", options...), view[string](t, sb, "docs:technical", options...)
				find(t, a, "k", is("v1", "doc"))
				synctest.Wait()
				find(t, b, "k", unneeded)
				time.Sleep(2 * time.Minute)
				require.NoError(t, change(t, sa, a))
				synctest.Wait()
				for _, c := range []*tier.Cache[string]{a, b} {
					_, err := c.Get(t.Context(), "k", fails[string](errOrigin))
					assert.ErrorIs(t, err, errOrigin)
					r := find(t, c, "k", func(context.Context, *tier.Entry) (string, error) {
						time.Sleep(5 * time.Second) // longer than the soft timeout
						return "v2", nil
					})
					assert.Equal(t, "v2", r.Value)
					require.NoError(t, c.Delete(t.Context(), "k"))
				}
			})
		})
	}
}

// The change comes while the callers wait.
func TestAValueThatChangesDuringTheLoadIsNotServedStaleAfterIt(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c := view[string](t, s, "docs", tier.WithTTL(time.Minute), tier.WithStaleOnError(time.Hour), tier.WithSoftTimeout(time.Second))
		find(t, c, "k", is("v1", "doc"))
		time.Sleep(time.Minute)
		_, err := c.Get(t.Context(), "k", func(ctx context.Context, _ *tier.Entry) (string, error) {
			_, err := s.InvalidateSource(ctx, "doc")
			assert.NoError(t, err)
			time.Sleep(2 * time.Second)
			return "", errOrigin
		})
		assert.ErrorIs(t, err, errOrigin)
	})
}

func TestASoftTimeoutAnswersWithTheStaleValueWhileTheLoadGoesOn(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c := view[string](t, s, "docs", tier.WithTTL(time.Minute), tier.WithStaleOnError(time.Hour), tier.WithSoftTimeout(time.Second))
		slow := func(ctx context.Context, _ *tier.Entry) (string, error) {
			time.Sleep(10 * time.Second)
			return "v2", ctx.Err()
		}
		find(t, c, "k", is("v1"))
		time.Sleep(time.Minute)
		began := time.Now()
		r := find(t, c, "k", slow)
		assert.Equal(t, "v1", r.Value)
		assert.True(t, r.Stale)
		assert.Equal(t, time.Second, time.Since(began))
		r = find(t, c, "k", unneeded) // another waits as long for the same load
		assert.Equal(t, "v1", r.Value)
		assert.Equal(t, 2*time.Second, time.Since(began))
		many, err := c.GetMany(t.Context(), []string{"k"}, noStrings)
		require.NoError(t, err)
		assert.Equal(t, "v1", many["k"])
		time.Sleep(10 * time.Second)
		assert.Equal(t, "v2", find(t, c, "k", unneeded).Value, "no caller waited, the load went on")
		// A load that is quick enough is waited for.
		time.Sleep(time.Minute)
		r = find(t, c, "k", func(context.Context, *tier.Entry) (string, error) {
			time.Sleep(time.Second / 2)
			return "v3", nil
		})
		assert.Equal(t, "v3", r.Value)
		assert.False(t, r.Stale)
		// Without a stale value there is nothing but to wait.
		assert.Equal(t, "v2", find(t, c, "new", slow).Value)
	})
}

func TestEarlyRefreshRenewsAnEntryBeforeItExpires(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		sa, sb := f.process(), f.process()
		options := []tier.CacheOption{tier.WithTTL(100 * time.Second), tier.WithEarlyRefresh(0.8)}
		a, b := view[string](t, sa, "docs", options...), view[string](t, sb, "docs", options...)
		find(t, a, "k", is("v1"))
		synctest.Wait()
		find(t, b, "k", unneeded)
		time.Sleep(79 * time.Second)
		find(t, a, "k", unneeded)
		synctest.Wait()
		assert.Equal(t, int64(1), sa.Stats().Loads, "not yet")
		time.Sleep(2 * time.Second)
		var loads atomic.Int64
		goOn := make(chan struct{})
		load := counted(&loads, func(context.Context, *tier.Entry) (string, error) { <-goOn; return "v2", nil })
		for range 5 {
			r := find(t, a, "k", load)
			assert.Equal(t, "v1", r.Value)
			assert.False(t, r.Stale, "within its TTL")
			synctest.Wait() // a is the one that loads
			find(t, b, "k", load)
			synctest.Wait()
		}
		assert.Equal(t, int64(1), loads.Load(), "one renews it, for both processes")
		close(goOn)
		synctest.Wait()
		assert.Equal(t, "v2", find(t, a, "k", unneeded).Value)
		if f.tracked { // else b has its copy, which is true, for as long as it lives
			assert.Equal(t, "v2", find(t, b, "k", unneeded).Value)
		}
		time.Sleep(79 * time.Second) // of the new entry's life
		find(t, a, "k", load)
		synctest.Wait()
		assert.Equal(t, int64(1), loads.Load())
	})
}

func TestAnEarlyRefreshThatFailsCostsNothing(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c := view[string](t, s, "docs", tier.WithTTL(100*time.Second), tier.WithEarlyRefresh(0.5))
		find(t, c, "k", is("v1"))
		time.Sleep(60 * time.Second)
		for range 5 {
			assert.Equal(t, "v1", find(t, c, "k", fails[string](errOrigin)).Value)
			synctest.Wait()
		}
		assert.Equal(t, int64(1), s.Stats().LoadErrors, "tried once")
		time.Sleep(40 * time.Second)
		assert.Equal(t, "v2", find(t, c, "k", is("v2")).Value)
	})
}

// Regression: a refresh ahead of the TTL that found the value gone left it there.
func TestARefreshInTheBackgroundThatFindsNothingEndsTheValue(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		for _, negative := range []time.Duration{0, time.Minute} {
			for at, option := range map[time.Duration]tier.CacheOption{
				60 * time.Second: tier.WithEarlyRefresh(0.5), 110 * time.Second: tier.WithStaleWhileRevalidate(time.Hour),
			} {
				c := view[string](t, f.process(), "docs", tier.WithTTL(100*time.Second), tier.WithNegativeTTL(negative), option)
				require.NoError(t, c.Set(t.Context(), "k", "v1"))
				time.Sleep(at)
				assert.Equal(t, "v1", find(t, c, "k", fails[string](tier.ErrNotFound)).Value)
				synctest.Wait()
				_, err := c.Get(t.Context(), "k", fails[string](tier.ErrNotFound))
				assert.ErrorIs(t, err, tier.ErrNotFound)
			}
		}
	})
}

// R12: a replica of the source that lags by a minute.
func TestSettleCutsOffWhatWasLoadedFromALaggingReplica(t *testing.T) {
	for name, settle := range map[string]func(*fleet) (*tier.Store, []tier.ChangeOption){
		"store": func(f *fleet) (*tier.Store, []tier.ChangeOption) { return f.process(tier.Settle(time.Minute)), nil },
		"change": func(f *fleet) (*tier.Store, []tier.ChangeOption) {
			return f.process(), []tier.ChangeOption{tier.Settle(time.Minute)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubbles(t, func(t *testing.T, f *fleet) {
				sa, options := settle(f)
				a, b := view[string](t, sa, "docs"), view[string](t, f.process(), "docs")
				_, err := a.Invalidate(t.Context(), options...)
				require.NoError(t, err)
				find(t, a, "k", is("old, of the replica"))
				synctest.Wait()
				time.Sleep(time.Minute - time.Millisecond)
				for _, c := range []*tier.Cache[string]{a, b} {
					assert.Equal(t, "old, of the replica", find(t, c, "k", unneeded).Value)
				}
				time.Sleep(2 * time.Millisecond)
				for _, c := range []*tier.Cache[string]{b, a} {
					assert.Equal(t, "new", find(t, c, "k", is("new")).Value)
				}
			})
		})
	}
}

// R12 on each remote. What is loaded in the first half of the time is old.
func TestASettledChangeReachesEveryProcessTwice(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		const lag = 100 * time.Millisecond
		sa := f.process()
		a, b := view[string](t, sa, "docs"), view[string](t, f.process(), "docs")
		_, err := sa.InvalidateAll(t.Context(), tier.Settle(lag))
		require.NoError(t, err)
		changed := time.Now()
		load := func(context.Context, *tier.Entry) (string, error) {
			if time.Since(changed) < lag/2 {
				return "old, of the replica", nil
			}
			return "new", nil
		}
		find(t, a, "k", load)
		for _, c := range []*tier.Cache[string]{b, a} {
			eventually(t, "what the replica gave is cut off", func() bool { return find(t, c, "k", load).Value == "new" })
		}
	})
}

// A view that serves values past their TTL leads the remote read of a key, and one that does not
// joins it.
func TestAViewWithoutStaleTimeSharesNoStaleValue(t *testing.T) {
	for _, many := range []bool{false, true} {
		inBubbles(t, func(t *testing.T, f *fleet) {
			w := &world{t, f.hub, "test", nil}
			s, hooks := w.open(f.options[1:]...)
			stale := view[string](t, s, "docs", tier.WithTTL(time.Minute), tier.WithStaleWhileRevalidate(time.Hour), tier.WithRemoteOnly())
			fresh := view[string](t, s, "docs", tier.WithTTL(time.Minute), tier.WithRemoteOnly())
			require.NoError(t, stale.Set(t.Context(), "k", "old"))
			time.Sleep(2 * time.Minute)
			goOn := make(chan struct{})
			hooks.Before(func(op interpose.Op) error {
				if op == interpose.Get {
					hooks.Before(nil)
					<-goOn
				}
				return nil
			})
			var running sync.WaitGroup
			running.Go(func() {
				r := find(t, stale, "k", is("new"))
				assert.Equal(t, "old", r.Value)
				assert.True(t, r.Stale)
			})
			synctest.Wait()
			running.Go(func() {
				if many {
					got, err := fresh.GetMany(t.Context(), []string{"k"}, func(context.Context, []string, tier.Entries) (map[string]string, error) {
						return map[string]string{"k": "new"}, nil
					})
					assert.NoError(t, err)
					assert.Equal(t, map[string]string{"k": "new"}, got)
					return
				}
				r := find(t, fresh, "k", is("new"))
				assert.Equal(t, "new", r.Value)
				assert.False(t, r.Stale)
			})
			synctest.Wait()
			close(goOn)
			running.Wait()
			assert.Equal(t, int64(1), s.Stats().Stale)
		})
	}
}
