package tier_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
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

func TestALoadersErrorReachesEveryCallerAndIsNotRemembered(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c := view[string](t, s, "docs")
		var loads atomic.Int64
		goOn := make(chan struct{})
		load := counted(&loads, func(context.Context, *tier.Entry) (string, error) {
			<-goOn
			return "not to be seen", fmt.Errorf("searching: %w", errOrigin)
		})
		for range 10 {
			go func() {
				v, err := c.Get(t.Context(), "k", load)
				assert.ErrorIs(t, err, errOrigin)
				assert.Empty(t, v)
			}()
		}
		synctest.Wait()
		close(goOn)
		synctest.Wait()
		assert.Equal(t, int64(1), loads.Load())
		assert.Equal(t, int64(1), s.Stats().LoadErrors)
		assert.Equal(t, "v", find(t, c, "k", is("v")).Value, "an error is not remembered")
		synctest.Wait()
		assert.Len(t, f.keys(), 1, "the value; no lease is left")
	})
}

// Regression: for a moment after a load had failed, its error was given to
// callers that came afterwards.
func TestACallerThatTriesAgainAfterAnErrorIsGivenANewLoad(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		c := view[string](t, f.process(), "docs")
		var loads atomic.Int64
		for i := range 500 {
			_, err := c.Get(t.Context(), "k", counted(&loads, fails[string](errOrigin)))
			require.ErrorIs(t, err, errOrigin)
			require.Equal(t, int64(i+1), loads.Load())
		}
	})
}

func TestNotFoundIsRememberedInBothTiers(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		sa, sb := f.process(), f.process()
		a, b := view[string](t, sa, "docs"), view[string](t, sb, "docs")
		_, err := a.Get(t.Context(), "k", func(_ context.Context, e *tier.Entry) (string, error) {
			e.DependsOn("doc")
			return "", fmt.Errorf("no such page: %w", tier.ErrNotFound)
		})
		require.ErrorIs(t, err, tier.ErrNotFound)
		filled(t, sa, 1)
		for _, c := range []*tier.Cache[string]{a, b, b} {
			_, err := c.Get(t.Context(), "k", unneeded)
			require.ErrorIs(t, err, tier.ErrNotFound)
			require.NotErrorIs(t, err, errUnneeded)
		}
		assert.Equal(t, int64(1), sa.Stats().NotFound)
		assert.Equal(t, int64(1), sb.Stats().RemoteHits)
		assert.Equal(t, int64(1), sb.Stats().LocalHits)
		// It depends on its sources as a value does: now the page may exist.
		_, err = sa.InvalidateSource(t.Context(), "doc")
		require.NoError(t, err)
		f.sync()
		assert.Equal(t, "v", find(t, b, "k", is("v")).Value)
		f.sync()
		assert.Equal(t, "v", find(t, a, "k", unneeded).Value)
	})
}

func TestNotFoundIsForgottenAfterTheNegativeTTL(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		for _, c := range []struct {
			options []tier.CacheOption
			own     time.Duration // the loader's
			want    time.Duration
		}{
			{nil, 0, tier.DefaultNegativeTTL},
			{[]tier.CacheOption{tier.WithTTL(5 * time.Second)}, 0, 5 * time.Second},
			{[]tier.CacheOption{tier.WithNegativeTTL(2 * time.Second)}, 0, 2 * time.Second},
			{[]tier.CacheOption{tier.WithNegativeTTL(2 * time.Second)}, time.Minute, time.Minute},
			// What was asked for is not silently changed.
			{[]tier.CacheOption{tier.WithTTL(5 * time.Second), tier.WithNegativeTTL(time.Minute)}, 0, time.Minute},
		} {
			s := f.process()
			cache := view[string](t, s, "docs", c.options...)
			var loads atomic.Int64
			load := counted(&loads, func(_ context.Context, e *tier.Entry) (string, error) {
				if c.own != 0 {
					e.SetTTL(c.own)
				}
				return "", tier.ErrNotFound
			})
			key := fmt.Sprint(c)
			_, err := cache.Get(t.Context(), key, load)
			require.ErrorIs(t, err, tier.ErrNotFound)
			time.Sleep(c.want - time.Millisecond)
			_, err = cache.Get(t.Context(), key, load)
			require.ErrorIs(t, err, tier.ErrNotFound)
			assert.Equal(t, int64(1), loads.Load(), "%v: remembered for too short a time", c)
			time.Sleep(time.Millisecond)
			_, err = cache.Get(t.Context(), key, load)
			require.ErrorIs(t, err, tier.ErrNotFound)
			assert.Equal(t, int64(2), loads.Load(), "%v: remembered for too long", c)
		}
	})
}

func TestANegativeTTLOfZeroRemembersNothing(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		c := view[string](t, f.process(), "docs", tier.WithNegativeTTL(0))
		var loads atomic.Int64
		for range 3 {
			_, err := c.Get(t.Context(), "k", counted(&loads, fails[string](tier.ErrNotFound)))
			require.Equal(t, tier.ErrNotFound, err, "and nothing else")
		}
		assert.Equal(t, int64(3), loads.Load())
		assert.Equal(t, "v", find(t, c, "k", is("v")).Value)
	})
}

// Regression: the older value stayed in the remote tier and was served again.
func TestAfterARefreshThatStoresNothingTheOlderValueIsGone(t *testing.T) {
	for name, load := range map[string]tier.Loader[string]{
		"not found, not remembered": fails[string](tier.ErrNotFound),
		"do not store": func(_ context.Context, e *tier.Entry) (string, error) {
			e.DoNotStore()
			return "new", nil
		},
		"not encodable": is("bad"),
	} {
		t.Run(name, func(t *testing.T) {
			onEachRemote(t, func(t *testing.T, f *fleet) {
				sa, sb := f.process(), f.process()
				options := []tier.CacheOption{tier.WithNegativeTTL(0), tier.WithCodec(picky{})}
				a, b := view[string](t, sa, "docs", options...), view[string](t, sb, "docs", options...)
				find(t, a, "k", is("old"))
				find(t, b, "k", unneeded)
				if _, err := a.Refresh(t.Context(), "k", load); err != nil {
					require.ErrorIs(t, err, tier.ErrNotFound)
				}
				f.sync()
				assert.Equal(t, "newest", find(t, a, "k", is("newest")).Value)
				f.sync()
				if f.tracked { // else a copy elsewhere lives on: it is still true, and nothing was written
					assert.Equal(t, "newest", find(t, b, "k", unneeded).Value)
				}
			})
		})
	}
}

func TestDoNotStoreGivesTheValueToCallersThatWaitAndKeepsItNowhere(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c := view[int64](t, s, "docs")
		var loads atomic.Int64
		goOn := make(chan struct{})
		load := func(_ context.Context, e *tier.Entry) (int64, error) {
			n := loads.Add(1)
			e.DoNotStore()
			<-goOn
			return n, nil
		}
		for range 10 {
			go func() {
				v, err := c.Get(t.Context(), "k", load)
				assert.NoError(t, err)
				assert.Equal(t, int64(1), v)
			}()
		}
		synctest.Wait()
		close(goOn)
		synctest.Wait()
		assert.Empty(t, f.keys())
		assert.Zero(t, s.Stats().LocalEntries)
		assert.Equal(t, int64(2), find(t, c, "k", load).Value)
		local := view[int64](t, s, "mine", tier.WithLocalOnly())
		assert.Equal(t, int64(3), find(t, local, "k", load).Value)
		assert.Equal(t, int64(4), find(t, local, "k", load).Value)
	})
}

func TestALoaderThatPanicsOrExitsFailsItsCallersAndNothingElse(t *testing.T) {
	boom := errors.New("boom")
	for name, load := range map[string]tier.Loader[string]{
		"panic":  func(context.Context, *tier.Entry) (string, error) { panic(boom) },
		"nil":    func(context.Context, *tier.Entry) (string, error) { panic(nil) },
		"goexit": func(context.Context, *tier.Entry) (string, error) { runtime.Goexit(); return "", nil },
	} {
		t.Run(name, func(t *testing.T) {
			onEachRemote(t, func(t *testing.T, f *fleet) {
				s := f.process()
				c := view[string](t, s, "docs")
				var done sync.WaitGroup
				for range 10 {
					done.Go(func() {
						_, err := c.Get(t.Context(), "k", load)
						var p *tier.LoadPanic
						if !assert.ErrorAs(t, err, &p) {
							return
						}
						switch name {
						case "panic":
							assert.Equal(t, boom, p.Value)
							assert.ErrorIs(t, err, boom)
							assert.Contains(t, string(p.Stack), "loader_test.go")
						case "goexit":
							assert.Nil(t, p.Value)
							assert.Contains(t, err.Error(), "Goexit")
						}
					})
				}
				done.Wait()
				_, err := c.GetMany(t.Context(), []string{"a", "b"}, func(ctx context.Context, _ []string, e tier.Entries) (map[string]string, error) {
					_, err := load(ctx, e.For("a"))
					return nil, err
				})
				var p *tier.LoadPanic
				assert.ErrorAs(t, err, &p)
				_, err = c.Refresh(t.Context(), "k", load)
				assert.ErrorAs(t, err, &p)
				assert.Equal(t, "v", find(t, c, "k", is("v")).Value)
			})
		})
	}
}

func TestALoaderThatAsksForItsOwnKeyGetsAnError(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c := view[string](t, s, "docs")
		same := view[string](t, s, "docs", tier.WithTTL(time.Minute))
		many := func(ctx context.Context, keys []string, _ tier.Entries) (map[string]string, error) {
			return map[string]string{"other": "o"}, nil
		}
		v, err := c.Get(t.Context(), "k", func(ctx context.Context, _ *tier.Entry) (string, error) {
			_, err := c.Get(ctx, "k", unneeded)
			assert.ErrorIs(t, err, tier.ErrRecursiveLoad)
			_, err = same.Lookup(ctx, "k", unneeded, tier.Fresh())
			assert.ErrorIs(t, err, tier.ErrRecursiveLoad)
			_, err = c.Refresh(ctx, "k", unneeded)
			assert.ErrorIs(t, err, tier.ErrRecursiveLoad)
			found, err := c.GetMany(ctx, []string{"k", "other"}, many)
			assert.ErrorIs(t, err, tier.ErrRecursiveLoad)
			assert.Equal(t, map[string]string{"other": "o"}, found)
			// Through another key's load.
			_, err = c.Get(ctx, "j", func(ctx context.Context, _ *tier.Entry) (string, error) {
				return c.Get(ctx, "k", unneeded)
			})
			assert.ErrorIs(t, err, tier.ErrRecursiveLoad)
			// These wait for nothing.
			_, ok, err := c.Peek(ctx, "k")
			assert.NoError(t, err)
			assert.False(t, ok)
			_, err = c.Explain(ctx, "k")
			assert.NoError(t, err)
			return c.Get(ctx, "l", is("of l"))
		})
		require.NoError(t, err)
		assert.Equal(t, "of l", v)
	})
}

func TestALoaderThatHidesItsContextEndsWithTheLoadTimeout(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		c := view[string](t, f.process(), "docs", tier.WithLoadTimeout(3*time.Second))
		began := time.Now()
		_, err := c.Get(t.Context(), "k", func(context.Context, *tier.Entry) (string, error) {
			return c.Get(context.Background(), "k", unneeded)
		})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 3*time.Second, time.Since(began))
		synctest.Wait()
	})
}

func TestALoaderThatIgnoresItsContextIsLeftBehindWithTheLoadTimeout(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c := view[string](t, s, "docs", tier.WithLoadTimeout(3*time.Second))
		hung := make(chan struct{})
		began := time.Now()
		_, err := c.Get(t.Context(), "k", func(context.Context, *tier.Entry) (string, error) {
			<-hung
			return "too late", nil
		})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorContains(t, err, "3s")
		assert.Equal(t, 3*time.Second, time.Since(began))
		assert.Equal(t, "v", find(t, c, "k", is("v")).Value, "the key is not blocked")
		close(hung)
		synctest.Wait()
		assert.Equal(t, "v", find(t, c, "k", unneeded).Value)
		assert.Equal(t, int64(1), s.Stats().LoadErrors)
	})
}

func TestALoaderThatWritesItsOwnKeyLosesAgainstThatWrite(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		sa, sb := f.process(), f.process()
		a, b := view[string](t, sa, "docs"), view[string](t, sb, "docs")
		v, err := a.Get(t.Context(), "k", func(ctx context.Context, _ *tier.Entry) (string, error) {
			assert.NoError(t, a.Set(ctx, "k", "written"))
			f.sync()
			return "loaded", nil
		})
		require.NoError(t, err)
		assert.Equal(t, "loaded", v)
		for _, c := range []*tier.Cache[string]{a, b} {
			assert.Equal(t, "written", find(t, c, "k", unneeded).Value)
		}
	})
}

func TestWhatALoaderSaysWrongOfItsEntryIsTheLoadsError(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		s := f.process(tier.WithMaxTTL(time.Hour))
		c := view[string](t, s, "docs", tier.WithTTL(time.Minute))
		tooMany := make([]string, 10_001)
		for i := range tooMany {
			tooMany[i] = fmt.Sprint(i)
		}
		for want, say := range map[string]func(e *tier.Entry){
			"source id must not be empty": func(e *tier.Entry) { e.DependsOn("a", "") },
			"source id":                   func(e *tier.Entry) { e.DependsOn(strings.Repeat("x", 1<<20+1)) },
			"at most 10000 sources":       func(e *tier.Entry) { e.DependsOn(tooMany...) },
			"cost -1":                     func(e *tier.Entry) { e.SetCost(-1) },
			"TTL 1h0m0.001s: exceeds the store's max": func(e *tier.Entry) { e.SetTTL(time.Hour + time.Millisecond) },
		} {
			v, err := c.Get(t.Context(), "k", func(_ context.Context, e *tier.Entry) (string, error) {
				say(e)
				return "v", nil
			})
			assert.ErrorContains(t, err, want)
			assert.Empty(t, v)
		}
		assert.Zero(t, s.Stats().Fills)
		_, ok, err := c.Peek(t.Context(), "k")
		require.NoError(t, err)
		assert.False(t, ok)
	})
}

func TestALoaderMayNameItsSourcesFromSeveralGoroutinesUntilItReturns(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c := view[string](t, s, "docs")
		var kept *tier.Entry
		r := find(t, c, "k", func(_ context.Context, e *tier.Entry) (string, error) {
			kept = e
			var done sync.WaitGroup
			for i := range 8 {
				done.Go(func() { e.DependsOn("common", fmt.Sprint(i)) })
			}
			done.Wait()
			return "v", nil
		})
		assert.Len(t, r.Sources, 9)
		kept.DependsOn("late") // of no effect, and no race
		assert.Len(t, find(t, c, "k", unneeded).Sources, 9)
		_, err := s.InvalidateSource(t.Context(), "5")
		require.NoError(t, err)
		assert.Equal(t, "w", find(t, c, "k", is("w")).Value)
	})
}

func TestTheLocalTierKeepsToItsBounds(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		const most = 64 << 10
		s := f.process(tier.WithLocalBytes(most))
		c := view[string](t, s, "docs")
		for i := range 200 {
			find(t, c, fmt.Sprint(i), func(_ context.Context, e *tier.Entry) (string, error) {
				if i == 100 {
					e.SetCost(most)
				}
				return strings.Repeat("x", 1000), nil
			})
			require.LessOrEqual(t, s.Stats().LocalBytes, int64(most))
		}
		filled(t, s, 200)
		st := s.Stats()
		assert.Greater(t, st.LocalEvictions, int64(100))
		assert.Greater(t, st.LocalEntries, 20)
		assert.Equal(t, tier.Local, find(t, c, "199", unneeded).Origin)
		assert.Equal(t, tier.Remote, find(t, c, "0", unneeded).Origin)
		// Too large for the local tier by what its loader says.
		assert.Equal(t, tier.Loaded, find(t, c, "huge", func(_ context.Context, e *tier.Entry) (string, error) {
			e.SetCost(most)
			return "v", nil
		}).Origin)
		assert.Equal(t, st.LocalEntries, s.Stats().LocalEntries)
		require.NoError(t, c.Set(t.Context(), "also", "v", tier.WithCost(most)))
		assert.Equal(t, "v", find(t, c, "also", unneeded, tier.NoLocal()).Value)

		few := f.process(tier.WithLocalEntries(3), tier.WithLocalBytes(0))
		c = view[string](t, few, "docs")
		for i := range 10 {
			find(t, c, fmt.Sprint(i), is("v"))
		}
		assert.Equal(t, 3, few.Stats().LocalEntries)
	})
}

func TestANilLoaderIsAnError(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		c := view[string](t, f.process(), "docs")
		require.NoError(t, c.Set(t.Context(), "k", "v"))
		_, err := c.Get(t.Context(), "k", nil)
		assert.ErrorIs(t, err, tier.ErrNilLoader)
		_, err = c.Lookup(t.Context(), "k", nil)
		assert.ErrorIs(t, err, tier.ErrNilLoader)
		_, err = c.GetMany(t.Context(), []string{"k"}, nil)
		assert.ErrorIs(t, err, tier.ErrNilLoader)
		_, err = c.Refresh(t.Context(), "k", nil)
		assert.ErrorIs(t, err, tier.ErrNilLoader)
	})
}

// picky cannot encode "bad".
type picky struct{}

var errPicky = errors.New("will not encode that")

func (picky) Marshal(v any) ([]byte, error) {
	if v == "bad" {
		return nil, errPicky
	}
	return []byte(v.(string)), nil
}

func (picky) Unmarshal(b []byte, v any) error {
	*v.(*string) = string(b)
	return nil
}

// The lease lasts as long as the load, whichever of the callers that wait has left: a
// lease that ran out would have the fleet load the key twice.
func TestALeaseIsRenewedAfterTheFirstCallerHasLeft(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		a, b := view[string](t, f.process(), "docs"), view[string](t, f.process(), "docs")
		var loads atomic.Int64
		slow := counted(&loads, func(context.Context, *tier.Entry) (string, error) {
			time.Sleep(3*backend.DefaultLeaseTTL + time.Second)
			return "v", nil
		})
		ctx, leave := context.WithCancel(t.Context())
		var callers sync.WaitGroup
		callers.Go(func() {
			_, err := a.Get(ctx, "k", slow)
			assert.ErrorIs(t, err, context.Canceled)
		})
		synctest.Wait()
		callers.Go(func() { assert.Equal(t, "v", find(t, a, "k", slow).Value) })
		synctest.Wait()
		leave()
		callers.Go(func() { assert.Equal(t, "v", find(t, b, "k", slow).Value) })
		callers.Wait()
		assert.Equal(t, int64(1), loads.Load())
	})
}
