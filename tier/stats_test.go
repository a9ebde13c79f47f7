package tier_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/tier"
)

// reads is what Counts promises: every read counts once in it.
func reads(c tier.Counts) int64 { return c.LocalHits + c.RemoteHits + c.Shared + c.Loads }

func TestEveryReadCountsOnce(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		sa, sb := f.process(), f.process()
		a, b := view[string](t, sa, "docs"), view[string](t, sb, "docs")
		odd := view[int](t, sb, "odd") // of another type than the other process's
		other := view[string](t, sb, "other")
		require.NoError(t, a.Set(t.Context(), "set", "v"))
		require.NoError(t, view[string](t, sa, "odd").Set(t.Context(), "set", "v"))
		f.sync()
		n := int64(0)
		count := func(calls ...func()) {
			for _, call := range calls {
				call()
				n++
				require.Equal(t, n, reads(sb.Stats().Counts), "%+v", sb.Stats().Counts)
			}
		}
		count(
			func() { find(t, b, "k", is("v")) },
			func() { find(t, b, "k", unneeded) },
			func() { b.Get(t.Context(), "k", unneeded) },
			func() { b.Get(t.Context(), "set", unneeded) },
			func() { b.Get(t.Context(), "set", unneeded) },
			func() { find(t, b, "set", unneeded, tier.NoLocal()) },
			func() { find(t, b, "set", unneeded, tier.Fresh()) },
			func() { b.Get(t.Context(), "bad", fails[string](errOrigin)) },
			func() { b.Get(t.Context(), "none", fails[string](tier.ErrNotFound)) },
			func() { b.Get(t.Context(), "none", unneeded) },
			func() { b.GetMany(t.Context(), []string{"set"}, noStrings) },
			func() { b.GetMany(t.Context(), []string{"set"}, noStrings, tier.NoLocal()) },
			func() { b.GetMany(t.Context(), []string{"set"}, noStrings, tier.Fresh()) },
			func() { odd.Get(t.Context(), "set", is(1)) },
			func() { filled(t, sb, 3); odd.Get(t.Context(), "set", unneeded) },
			func() { b.Get(t.Context(), "set", is("v")) },
			func() { other.Get(t.Context(), "k", is("v")) },
		)
		st := sb.Stats()
		assert.Len(t, st.Namespaces, 3)
		assert.Equal(t, int64(2), reads(st.Namespaces["odd"]))
		assert.Equal(t, int64(1), reads(st.Namespaces["other"]))
		assert.Equal(t, n-3, reads(st.Namespaces["docs"]))
		assert.Equal(t, int64(1), st.LoadErrors)
		assert.Equal(t, int64(1), st.NotFound)
		assert.InDelta(t, float64(st.LocalHits)/float64(n), st.LocalHitRate(), 1e-9)
		assert.InDelta(t, float64(st.RemoteHits+st.Shared)/float64(n-st.LocalHits), st.RemoteHitRate(), 1e-9)
		var misses int64
		for _, m := range st.LocalMisses {
			misses += m
		}
		assert.Positive(t, misses)

		got, err := b.GetMany(t.Context(), []string{"k", "set", "none", "new"}, func(_ context.Context, keys []string, _ tier.Entries) (map[string]string, error) {
			return many(keys...), nil
		})
		require.NoError(t, err)
		assert.Len(t, got, 3)
		assert.Equal(t, n+4, reads(sb.Stats().Counts))
		assert.Zero(t, tier.Counts{}.LocalHitRate())
		assert.Zero(t, tier.Counts{}.RemoteHitRate())
	})
}

func TestChangesAndEvictionsAreCounted(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		s := f.process(tier.WithLocalEntries(2))
		c := view[int](t, s, "docs")
		for i := range 5 {
			find(t, c, fmt.Sprint(i), is(i))
			filled(t, s, int64(i+1))
		}
		_, err := s.InvalidateAll(t.Context())
		require.NoError(t, err)
		_, err = s.InvalidateSource(t.Context(), "a", "b")
		require.NoError(t, err)
		st := s.Stats()
		assert.Equal(t, int64(2), st.Changes)
		assert.Equal(t, int64(3), st.LocalEvictions)
		assert.Equal(t, 2, st.LocalEntries)
		assert.Positive(t, st.LocalBytes)
		find(t, c, "4", is(5))
		assert.Equal(t, int64(1), s.Stats().LocalMisses[tier.Invalidated])
		assert.Equal(t, int64(1), s.Stats().RemoteMisses[tier.Invalidated])
	})
}

// What leaves the local tier is counted by cause: by a sweep, by a read that finds it changed, by a write of its key.
func TestWhatLeavesTheLocalTierIsCountedByItsCause(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		s := f.process()
		left := func() [3]int64 {
			st := s.Stats()
			return [3]int64{st.LocalEvictions, st.LocalExpired, st.LocalInvalidated}
		}
		c := view[int](t, s, "docs", tier.WithTTL(time.Hour), tier.WithJitter(0))
		for i := range 6 {
			find(t, c, fmt.Sprint(i), is(i, "source"))
		}
		short := view[int](t, s, "short", tier.WithTTL(time.Second), tier.WithJitter(0))
		find(t, short, "swept", is(1))
		find(t, short, "loaded again", is(1))
		synctest.Wait()
		require.Equal(t, [3]int64{}, left())
		time.Sleep(2 * time.Second)
		find(t, short, "loaded again", is(2))
		synctest.Wait()
		require.Equal(t, [3]int64{0, 1, 0}, left())
		time.Sleep(time.Minute)
		require.Equal(t, [3]int64{0, 3, 0}, left(), "the sweep has taken out the others")
		require.NoError(t, c.Delete(t.Context(), "0"))
		require.Equal(t, [3]int64{0, 3, 1}, left())
		_, err := s.InvalidateSource(t.Context(), "source")
		require.NoError(t, err)
		find(t, c, "1", is(7))
		require.Equal(t, [3]int64{0, 3, 2}, left(), "a read has found it changed")
		time.Sleep(time.Minute)
		require.Equal(t, [3]int64{0, 3, 6}, left(), "the sweep has found the others")
	})
}

func TestTheStatesOfBreakersAreCounted(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		hooks := &interpose.Backend{Inner: f.hub}
		s := f.over(hooks, tier.WithRemoteTimeout(time.Second))
		states := func() [3]int {
			st := s.Stats()
			return [3]int{st.BreakersClosed, st.BreakersSuspect, st.BreakersOpen}
		}
		require.Equal(t, [3]int{1, 0, 0}, states())
		var silent atomic.Bool
		silent.Store(true)
		hooks.Reach(func(ctx context.Context, _ interpose.Op) error {
			if !silent.Load() {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		})
		c := view[int](t, s, "docs")
		seen := make(map[[3]int]bool)
		for i := range 40 {
			find(t, c, fmt.Sprint(i), is(i))
			time.Sleep(100 * time.Millisecond)
			seen[states()] = true
		}
		require.Equal(t, [3]int{0, 0, 1}, states())
		require.Contains(t, seen, [3]int{0, 1, 0})
		silent.Store(false)
		require.NoError(t, s.Sync(t.Context()))
		synctest.Wait()
		require.Equal(t, [3]int{1, 0, 0}, states())
	})
}

func TestCausesOriginsAndKindsHaveNames(t *testing.T) {
	assert.Equal(t, "local remote loaded ?", fmt.Sprint(tier.Local, tier.Remote, tier.Loaded, tier.Origin(9)))
	assert.Equal(t, "cold expired invalidated unproven damaged other type other format ?",
		fmt.Sprint(tier.Cold, tier.Expired, tier.Invalidated, tier.Unproven, tier.Damaged, tier.OtherType, tier.OtherFormat, tier.Cause(99)))
	assert.Equal(t, "load fill write invalidate remote error bad entry ?", fmt.Sprint(tier.EventLoad, tier.EventFill, tier.EventWrite,
		tier.EventInvalidate, tier.EventRemote, tier.EventBadEntry, tier.EventKind(99)))
}

func TestTheObserverIsToldOfAllButHits(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		var seen events
		s := f.process(tier.WithObserver(seen.observe))
		c := view[string](t, s, "docs")
		find(t, c, "k", is("v"))
		eventually(t, "the fill is observed", func() bool { return len(seen.of(tier.EventFill)) == 1 })
		find(t, c, "k", unneeded)
		_, err := c.Get(t.Context(), "bad", fails[string](errOrigin))
		require.ErrorIs(t, err, errOrigin)
		require.NoError(t, c.Set(t.Context(), "k", "w"))
		require.NoError(t, c.Delete(t.Context(), "k"))
		_, err = c.Invalidate(t.Context())
		require.NoError(t, err)
		// A load's observer runs when its callers have been answered.
		eventually(t, "the failed load is observed", func() bool { return len(seen.of(tier.EventLoad)) == 2 })
		loads := seen.of(tier.EventLoad)
		assert.NoError(t, loads[0].Err)
		assert.ErrorIs(t, loads[1].Err, errOrigin)
		assert.Equal(t, "docs", loads[0].Namespace)
		assert.NoError(t, seen.of(tier.EventFill)[0].Err)
		assert.Len(t, seen.of(tier.EventWrite), 2)
		assert.Len(t, seen.of(tier.EventInvalidate), 1)
		assert.Empty(t, seen.of(tier.EventRemote))
		assert.Empty(t, seen.of(tier.EventBadEntry))
	})
}
