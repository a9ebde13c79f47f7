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

	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/tier"
)

func TestAReadIsAnsweredByTheFirstTierThatHasTheValue(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		s := f.process()
		a, b := view[string](t, s, "docs"), view[string](t, f.process(), "docs")
		r := find(t, a, "k", is("v", "doc-1", "doc-2"))
		assert.Equal(t, tier.Loaded, r.Origin)
		assert.Equal(t, tier.Local, find(t, a, "k", unneeded).Origin, "before it is stored remotely, too")
		filled(t, s, 1) // a value read while its write is being announced is not kept
		for i, c := range []*tier.Cache[string]{a, b, b} {
			r := find(t, c, "k", unneeded)
			assert.Equal(t, "v", r.Value)
			assert.Equal(t, []tier.Origin{tier.Local, tier.Remote, tier.Local}[i], r.Origin)
			assert.Equal(t, []string{"doc-1", "doc-2"}, r.Sources)
			assert.False(t, r.Stale)
			assert.False(t, r.AsOf.IsZero())
			assert.InDelta(t, tier.UserData, r.TTL, float64(time.Minute))
			assert.GreaterOrEqual(t, r.Age, time.Duration(0))
		}
		v, err := b.Get(t.Context(), "k", unneeded)
		require.NoError(t, err)
		assert.Equal(t, "v", v)
	})
}

// The callers are let in before the loader is let out.
func TestAThousandCallersOfAProcessShareOneLoad(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) { crowd(t, f, 1, 1000) })
}

func TestAThousandCallersOfAFleetShareOneLoad(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) { crowd(t, f, 4, 250) })
}

func crowd(t *testing.T, f *fleet, processes, callers int) {
	var loads atomic.Int64
	var arrived, done sync.WaitGroup
	arrived.Add(processes * callers)
	for range processes {
		c := view[string](t, f.process(), "docs")
		for range callers {
			done.Go(func() {
				arrived.Done()
				v, err := c.Get(t.Context(), "k", counted(&loads, func(context.Context, *tier.Entry) (string, error) {
					arrived.Wait()
					return "v", nil
				}))
				assert.NoError(t, err)
				assert.Equal(t, "v", v)
			})
		}
	}
	done.Wait()
	assert.Equal(t, int64(1), loads.Load())
}

// In a bubble all callers are known to wait, and the dead owner's lease to expire.
func TestAProcessThatDiesWhileLoadingBlocksTheOthersForSecondsOnly(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		a, b := view[string](t, f.process(), "docs"), view[string](t, f.process(), "docs")
		// What is left of a process that died: its lease.
		find(t, a, "k", is("old"))
		synctest.Wait()
		name := explain(t, a, "k").RemoteKey
		require.NoError(t, a.Delete(t.Context(), "k"))
		hung := make(chan struct{})
		go a.Get(t.Context(), "k", func(ctx context.Context, e *tier.Entry) (string, error) {
			<-hung
			return "late", nil
		})
		synctest.Wait()
		require.NotEmpty(t, f.read(name+"!"), "a holds the lease")
		f.put(name+"!", "of a process that died") // without an expiry even
		began := time.Now()
		assert.Equal(t, tier.Loaded, find(t, b, "k", is("new")).Origin)
		assert.LessOrEqual(t, time.Since(began), 4*time.Second)
		close(hung)
		synctest.Wait()
		assert.Equal(t, "new", find(t, b, "k", unneeded).Value, "the late load must not overwrite it")
	})
}

func TestACallersCancellationFailsNoOther(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		c := view[string](t, f.process(), "docs")
		first, cancel := context.WithCancel(t.Context())
		goOn := make(chan struct{})
		var loadEnded atomic.Bool
		load := func(ctx context.Context, _ *tier.Entry) (string, error) {
			context.AfterFunc(ctx, func() { loadEnded.Store(true) })
			<-goOn
			return "v", ctx.Err()
		}
		errs := make(chan error, 1)
		go func() { _, err := c.Get(first, "k", load); errs <- err }()
		synctest.Wait()
		value := make(chan string)
		go func() {
			v, err := c.Get(t.Context(), "k", unneeded)
			assert.NoError(t, err)
			value <- v
		}()
		synctest.Wait()
		cancel()
		assert.ErrorIs(t, <-errs, context.Canceled, "the leader leaves at once")
		synctest.Wait()
		assert.False(t, loadEnded.Load(), "the other still waits for the load")
		close(goOn)
		assert.Equal(t, "v", <-value)
	})
}

func TestTheLastCallerThatLeavesEndsTheLoadersContext(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c := view[string](t, s, "docs")
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		for range 3 {
			go c.Get(ctx, "k", func(ctx context.Context, _ *tier.Entry) (string, error) {
				<-ctx.Done()
				ended <- ctx.Err()
				return "", ctx.Err()
			})
		}
		synctest.Wait()
		cancel()
		assert.ErrorIs(t, <-ended, context.Canceled)
		synctest.Wait()
		assert.Zero(t, s.Stats().LoadErrors, "no caller was told of an error")
		// A caller that comes now is not given the abandoned load.
		assert.Equal(t, "v", find(t, c, "k", is("v")).Value)
	})
}

// Regression: the countdown of a batch's calls counted also those that others
// load or that were answered meanwhile, which no caller leaves.
func TestTheLastCallerThatLeavesEndsABatchOfWhichOthersLoadAPart(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		a, b := view[string](t, f.process(), "docs"), view[string](t, f.process(), "docs")
		goOn := make(chan struct{})
		for _, key := range []string{"a1", "a2"} {
			go a.Get(t.Context(), key, func(context.Context, *tier.Entry) (string, error) {
				<-goOn
				return "v", nil
			})
		}
		synctest.Wait() // a holds the leases of a1 and a2
		ctx, cancel := context.WithCancel(t.Context())
		var loadEnded atomic.Bool
		done := make(chan struct{})
		go func() {
			defer close(done)
			b.GetMany(ctx, []string{"a1", "b", "a2"}, func(ctx context.Context, keys []string, _ tier.Entries) (map[string]string, error) {
				assert.Equal(t, []string{"b"}, keys)
				<-ctx.Done()
				loadEnded.Store(true)
				return nil, ctx.Err()
			})
		}()
		synctest.Wait()
		cancel()
		<-done
		synctest.Wait()
		assert.True(t, loadEnded.Load(), "no caller waits for the batch any more")
		close(goOn)
		synctest.Wait()
		if !loadEnded.Load() {
			time.Sleep(time.Minute) // the load timeout, so that the bubble can end
		}
	})
}

// The same for a key that another process stores between the read and the lease.
func TestTheLastCallerThatLeavesEndsABatchOfWhichAPartWasStoredMeanwhile(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		a := view[string](t, f.process(), "docs")
		hooks := &interpose.Backend{Inner: f.hub}
		options := []tier.Option{tier.WithPrefix(f.prefix), tier.WithRemote(hooks)}
		if !f.tracked {
			options = append(options, tier.WithoutTracking())
		}
		s, err := tier.Open(t.Context(), options...)
		require.NoError(t, err)
		defer s.Close()
		var once sync.Once
		hooks.Before(func(op interpose.Op) error {
			if op == interpose.Lease {
				once.Do(func() { find(t, a, "meanwhile", is("v")); synctest.Wait() })
			}
			return nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		go func() { time.Sleep(time.Second); cancel() }()
		began := time.Now()
		ended := make(chan time.Duration, 1)
		got, err := view[string](t, s, "docs").GetMany(ctx, []string{"meanwhile", "mine"}, func(ctx context.Context, keys []string, _ tier.Entries) (map[string]string, error) {
			assert.Equal(t, []string{"mine"}, keys)
			<-ctx.Done()
			ended <- time.Since(began)
			return nil, ctx.Err()
		})
		assert.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, map[string]string{"meanwhile": "v"}, got)
		assert.Equal(t, time.Second, <-ended)
	})
}

func TestALoaderGetsTheCallersValuesAndNotItsDeadline(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		c := view[string](t, f.process(), "docs", tier.WithLoadTimeout(time.Hour))
		type tag struct{}
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), tag{}, "of the caller"), 10*time.Second)
		defer cancel()
		v, err := c.Get(ctx, "k", func(ctx context.Context, _ *tier.Entry) (string, error) {
			deadline, _ := ctx.Deadline()
			assert.Greater(t, time.Until(deadline), 30*time.Minute)
			return ctx.Value(tag{}).(string), nil
		})
		require.NoError(t, err)
		assert.Equal(t, "of the caller", v)
	})
}

func TestAContextThatHasEndedIsTheReadsError(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		c := view[string](t, f.process(), "docs")
		why := errors.New("the user went home")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(why)
		_, get := c.Get(ctx, "k", unneeded)
		_, many := c.GetMany(ctx, []string{"k", "l"}, noStrings)
		_, _, peek := c.Peek(ctx, "k")
		_, refresh := c.Refresh(ctx, "k", unneeded)
		_, explained := c.Explain(ctx, "k")
		for i, err := range []error{get, many, peek, refresh, explained, c.Set(ctx, "k", "v"), c.Delete(ctx, "k")} {
			assert.ErrorIs(t, err, context.Canceled, "call %d", i)
			assert.ErrorIs(t, err, why, "call %d", i)
		}
	})
}

func noStrings(context.Context, []string, tier.Entries) (map[string]string, error) {
	return nil, errUnneeded
}

func TestPeekNeverLoadsWaitsOrFills(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		sa, sb := f.process(), f.process()
		a, b := view[string](t, sa, "docs"), view[string](t, sb, "docs")
		_, ok, err := a.Peek(t.Context(), "k")
		require.NoError(t, err)
		assert.False(t, ok)
		require.NoError(t, a.Set(t.Context(), "k", "v"))
		f.sync()
		for _, c := range []*tier.Cache[string]{a, b, b} {
			v, ok, err := c.Peek(t.Context(), "k")
			require.NoError(t, err)
			assert.True(t, ok)
			assert.Equal(t, "v", v)
		}
		assert.Zero(t, sb.Stats().LocalEntries, "a peek does not fill")
		assert.Equal(t, tier.Remote, find(t, b, "k", unneeded).Origin)

		_, err = sa.InvalidateNamespace(t.Context(), "docs")
		require.NoError(t, err)
		f.sync()
		for _, c := range []*tier.Cache[string]{a, b} {
			_, ok, err := c.Peek(t.Context(), "k")
			require.NoError(t, err)
			assert.False(t, ok, "what is not believed is not there")
		}
		_, err = a.Get(t.Context(), "none", fails[string](tier.ErrNotFound))
		require.ErrorIs(t, err, tier.ErrNotFound)
		_, ok, err = a.Peek(t.Context(), "none")
		require.NoError(t, err)
		assert.False(t, ok, "a remembered \"not found\" is no value")
	})
}

func TestNoLocalNeitherReadsNorFillsTheLocalTier(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c := view[string](t, s, "docs")
		assert.Equal(t, tier.Loaded, find(t, c, "k", is("v"), tier.NoLocal()).Origin)
		filled(t, s, 1)
		assert.Equal(t, tier.Remote, find(t, c, "k", unneeded, tier.NoLocal()).Origin)
		assert.Zero(t, s.Stats().LocalEntries)
		assert.Equal(t, tier.Remote, find(t, c, "k", unneeded).Origin)
		assert.Equal(t, tier.Remote, find(t, c, "k", unneeded, tier.NoLocal()).Origin)
	})
}

func TestAFreshReadSeesEveryChangeAcknowledgedBefore(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		// b learns of changes by its own requests alone.
		sa, sb := f.process(), f.process(tier.WithHeartbeat(time.Hour), tier.WithMaxStaleness(3*time.Hour))
		a, b := view[string](t, sa, "docs"), view[string](t, sb, "docs")
		for i := range 20 {
			load := is(fmt.Sprint(i), "doc")
			_, err := sa.InvalidateSource(t.Context(), "doc")
			require.NoError(t, err)
			assert.Equal(t, fmt.Sprint(i), find(t, b, "k", load, tier.Fresh()).Value)
			assert.Equal(t, fmt.Sprint(i), find(t, b, "k", unneeded).Value)
			require.NoError(t, a.Set(t.Context(), "j", fmt.Sprint(i)))
			assert.Equal(t, fmt.Sprint(i), find(t, b, "j", is(fmt.Sprint(i)), tier.Fresh()).Value)
		}
	})
}

func TestTwoViewsOfANamespaceShareItsEntries(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		s := f.process()
		one, two := view[int](t, s, "docs"), view[int](t, s, "docs", tier.WithTTL(time.Minute))
		find(t, one, "k", is(1))
		r := find(t, two, "k", unneeded)
		assert.Equal(t, tier.Local, r.Origin)
		require.NoError(t, two.Set(t.Context(), "k", 2))
		assert.Equal(t, 2, find(t, one, "k", unneeded).Value)
		require.NoError(t, one.Delete(t.Context(), "k"))
		assert.Equal(t, 3, find(t, two, "k", is(3)).Value)
		other := view[int](t, s, "docs:other")
		assert.Equal(t, 4, find(t, other, "k", is(4)).Value, "another namespace")
		assert.Equal(t, 3, find(t, one, "k", unneeded).Value)
	})
}

// Regression: the write of a load by a view without local copies was treated like one
// by a view that had replaced the local copy itself.
func TestARefreshByAViewWithoutLocalCopiesDropsThoseOfOtherViews(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		s := f.process()
		here, far := view[int](t, s, "docs"), view[int](t, s, "docs", tier.WithRemoteOnly())
		find(t, here, "k", is(1))
		filled(t, s, 1)
		require.Equal(t, 1, find(t, here, "k", unneeded[int]).Value)
		v, err := far.Refresh(t.Context(), "k", is(2))
		require.NoError(t, err)
		require.Equal(t, 2, v)
		assert.Equal(t, 2, find(t, here, "k", unneeded).Value)
	})
}

func TestALocalOnlyViewSendsNothing(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		sa, sb := f.process(), f.process()
		a, b := view[func() int](t, sa, "docs", tier.WithLocalOnly()), view[func() int](t, sb, "docs", tier.WithLocalOnly())
		one := func() int { return 1 } // nothing that could be encoded
		assert.Equal(t, tier.Loaded, find(t, a, "k", is(one, "doc")).Origin)
		assert.Equal(t, 1, find(t, a, "k", unneeded).Value())
		assert.Equal(t, tier.Loaded, find(t, b, "k", is(one, "doc")).Origin, "another process has its own")
		assert.Empty(t, f.keys())

		_, err := sb.InvalidateSource(t.Context(), "doc") // reaches both
		require.NoError(t, err)
		f.sync()
		for _, c := range []*tier.Cache[func() int]{a, b} {
			assert.Equal(t, tier.Loaded, find(t, c, "k", is(one)).Origin)
		}
		require.NoError(t, a.Set(t.Context(), "k", func() int { return 2 }))
		assert.Equal(t, 2, find(t, a, "k", unneeded).Value())
		require.NoError(t, a.Delete(t.Context(), "k"))
		_, ok, err := a.Peek(t.Context(), "k")
		require.NoError(t, err)
		assert.False(t, ok)
		v, err := a.Refresh(t.Context(), "k", is(func() int { return 3 }))
		require.NoError(t, err)
		assert.Equal(t, 3, v())
		assert.Equal(t, 3, find(t, a, "k", unneeded).Value())
		many, err := a.GetMany(t.Context(), []string{"k", "l"}, func(_ context.Context, keys []string, _ tier.Entries) (map[string]func() int, error) {
			assert.Equal(t, []string{"l"}, keys)
			return map[string]func() int{"l": one}, nil
		})
		require.NoError(t, err)
		assert.Len(t, many, 2)
		assert.Empty(t, f.keys())
	})
}

func TestARemoteOnlyViewKeepsNoLocalCopies(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c := view[int](t, s, "docs", tier.WithRemoteOnly())
		find(t, c, "k", is(1))
		filled(t, s, 1)
		assert.Equal(t, tier.Remote, find(t, c, "k", unneeded).Origin)
		require.NoError(t, c.Set(t.Context(), "j", 2))
		assert.Equal(t, tier.Remote, find(t, c, "j", unneeded).Origin)
		_, err := c.GetMany(t.Context(), []string{"k", "j"}, noInts)
		require.NoError(t, err)
		assert.Zero(t, s.Stats().LocalEntries)
		assert.Zero(t, s.Stats().LocalHits)
	})
}

func noInts(context.Context, []string, tier.Entries) (map[string]int, error) {
	return nil, errUnneeded
}

func TestStoresOfDifferentPrefixesShareNothing(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		a := view[int](t, f.process(), "docs")
		other := f.process(tier.WithPrefix(f.prefix + ".other"))
		b := view[int](t, other, "docs")
		find(t, a, "k", is(1))
		assert.Equal(t, 2, find(t, b, "k", is(2)).Value)
		_, err := other.InvalidateAll(t.Context())
		require.NoError(t, err)
		assert.Equal(t, tier.Local, find(t, a, "k", unneeded[int]).Origin)
		assert.Equal(t, 3, find(t, b, "k", is(3)).Value)
		require.NoError(t, b.Delete(t.Context(), "k"))
	})
}
