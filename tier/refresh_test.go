package tier_test

import (
	"context"
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

// Guard: a remembered "not found" is renewed early like a value.
func TestNotFoundIsRenewedEarly(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		c := view[string](t, f.process(), "docs", tier.WithNegativeTTL(time.Minute), tier.WithEarlyRefresh(0.5))
		_, err := c.Get(t.Context(), "k", fails[string](tier.ErrNotFound))
		assert.ErrorIs(t, err, tier.ErrNotFound)
		time.Sleep(40 * time.Second)
		_, err = c.Get(t.Context(), "k", is("v"))
		assert.ErrorIs(t, err, tier.ErrNotFound, "nothing is waited for")
		synctest.Wait()
		assert.Equal(t, "v", find(t, c, "k", unneeded).Value)
	})
}

// Guard: the keys of a batch that are due are renewed by one call of its loader.
func TestABatchIsRenewedByOneLoad(t *testing.T) {
	keys := make([]string, 200)
	for i := range keys {
		keys[i] = fmt.Sprint("k", i)
	}
	for name, options := range map[string][]tier.CacheOption{
		"stale":              {tier.WithTTL(time.Minute), tier.WithStaleWhileRevalidate(time.Hour)},
		"stale, remote only": {tier.WithTTL(time.Minute), tier.WithStaleWhileRevalidate(time.Hour), tier.WithRemoteOnly()},
		"early":              {tier.WithTTL(2 * time.Minute), tier.WithEarlyRefresh(0.5)},
		"early, remote only": {tier.WithTTL(2 * time.Minute), tier.WithEarlyRefresh(0.5), tier.WithRemoteOnly()},
	} {
		t.Run(name, func(t *testing.T) {
			inBubbles(t, func(t *testing.T, f *fleet) {
				c := view[string](t, f.process(), "docs", options...)
				var b batches
				for range 2 {
					got, err := c.GetMany(t.Context(), keys, b.load)
					require.NoError(t, err)
					assert.Len(t, got, 200)
					synctest.Wait()
					time.Sleep(61 * time.Second)
				}
				require.Len(t, b.asked, 2)
				assert.Len(t, b.asked[0], 200)
				assert.Len(t, b.asked[1], 200)
			})
		})
	}
}

// Guard: callers that wait for a batch whose holder has failed load what it left with one call.
func TestABatchWhoseHolderFailedIsLoadedAtOnce(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		a, b := view[string](t, f.process(), "docs"), view[string](t, f.process(), "docs")
		keys := make([]string, 50)
		for i := range keys {
			keys[i] = fmt.Sprint("k", i)
		}
		begun, fail := make(chan struct{}), make(chan struct{})
		var done sync.WaitGroup
		done.Go(func() {
			_, err := a.GetMany(t.Context(), keys, func(context.Context, []string, tier.Entries) (map[string]string, error) {
				close(begun)
				<-fail
				return nil, errOrigin
			})
			assert.ErrorIs(t, err, errOrigin)
		})
		<-begun
		var loads batches
		done.Go(func() {
			got, err := b.GetMany(t.Context(), append([]string{"other"}, keys...), loads.load)
			assert.NoError(t, err)
			assert.Len(t, got, 51)
		})
		eventually(t, "b loads what no other process does", func() bool {
			loads.mu.Lock()
			defer loads.mu.Unlock()
			return len(loads.asked) == 1
		})
		close(fail)
		done.Wait()
		assert.Equal(t, []string{"other"}, loads.asked[0])
		assert.LessOrEqual(t, len(loads.asked), 4, "the leases are released at once, and may be seen released in parts")
	})
}

// Guard: however many refresh a key at once, a load that began after they asked is shared.
func TestRefreshesAtOnceMakeTwoLoads(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		c := view[string](t, f.process(), "docs")
		var loads atomic.Int64
		load := counted(&loads, func(context.Context, *tier.Entry) (string, error) {
			time.Sleep(50 * time.Millisecond)
			return fmt.Sprint("v", loads.Load()), nil
		})
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				_, err := c.Refresh(t.Context(), "k", load)
				assert.NoError(t, err)
			})
		}
		all.Wait()
		assert.LessOrEqual(t, loads.Load(), int64(2))
		// One that asks later gets a load of its own.
		n := loads.Load()
		v, err := c.Refresh(t.Context(), "k", load)
		require.NoError(t, err)
		assert.Equal(t, fmt.Sprint("v", n+1), v)
	})
}

// Guard: a reader without a local copy reads the remote one, and does not wait for its renewal.
func TestARenewalHoldsUpNoReader(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c := view[string](t, s, "docs", tier.WithTTL(time.Minute), tier.WithStaleWhileRevalidate(time.Hour))
		remoteOnly := view[string](t, s, "docs", tier.WithTTL(time.Minute), tier.WithStaleWhileRevalidate(time.Hour), tier.WithRemoteOnly())
		slow := func(context.Context, *tier.Entry) (string, error) {
			time.Sleep(10 * time.Second)
			return "v2", nil
		}
		at := func(within time.Duration, value string, read func() tier.Result[string]) {
			t.Helper()
			begun := time.Now()
			r := read()
			assert.Equal(t, value, r.Value)
			assert.LessOrEqual(t, time.Since(begun), within)
		}
		find(t, c, "k", is("v1"))
		synctest.Wait()
		time.Sleep(61 * time.Second)
		assert.True(t, find(t, c, "k", slow).Stale, "which begins a renewal")
		synctest.Wait()
		for range 3 {
			at(time.Second, "v1", func() tier.Result[string] { return find(t, remoteOnly, "k", unneeded) })
			at(time.Second, "v1", func() tier.Result[string] { return find(t, c, "k", unneeded, tier.NoLocal()) })
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		assert.Equal(t, "v2", find(t, remoteOnly, "k", unneeded).Value)
		// Nor for a Refresh.
		refreshed := make(chan struct{})
		go func() {
			defer close(refreshed)
			v, err := c.Refresh(t.Context(), "k", func(ctx context.Context, e *tier.Entry) (string, error) {
				time.Sleep(10 * time.Second)
				return "v3", nil
			})
			assert.NoError(t, err)
			assert.Equal(t, "v3", v)
		}()
		synctest.Wait()
		at(time.Second, "v2", func() tier.Result[string] { return find(t, remoteOnly, "k", unneeded) })
		at(time.Second, "v2", func() tier.Result[string] { return find(t, c, "k", unneeded, tier.Fresh()) })
		<-refreshed
		synctest.Wait()
		assert.Equal(t, "v3", find(t, remoteOnly, "k", unneeded).Value)
	})
}

// Guard: what a renewal has given out is stored before a reader beside it is given what was there.
func TestI10ARenewalThatHasAnsweredIsNotReadBehind(t *testing.T) {
	eachRemote(t, func(t *testing.T, w *world) {
		a, hooks := w.open()
		c, remoteOnly := cacheOf[int64](t, a), cacheOf[int64](t, a, tier.WithRemoteOnly())
		lookup(t, c, func(context.Context, *tier.Entry) (int64, error) { return 1, nil })
		filled(t, a, 1)
		reached, goOn := stopAt(hooks.Before, interpose.Write, 1)
		refreshed := make(chan struct{})
		go func() {
			defer close(refreshed)
			v, err := c.Refresh(t.Context(), "k", func(context.Context, *tier.Entry) (int64, error) { return 2, nil })
			assert.NoError(t, err)
			assert.Equal(t, int64(2), v)
		}()
		<-reached
		require.Equal(t, int64(2), lookup(t, c, none).Value, "it is in the local tier before it is stored")
		var read atomic.Bool
		value := make(chan int64, 1)
		go func() {
			value <- lookup(t, remoteOnly, none).Value
			read.Store(true)
		}()
		within(t, "the reader waits, or has read", func() bool { return tier.Waits(remoteOnly, "k") || read.Load() })
		close(goOn)
		require.Equal(t, int64(2), <-value)
		<-refreshed
	})
}

// Guard: however many keys are due, no more loads run in the background than the bound; the rest is
// renewed when it is read again.
func TestRefreshesInTheBackgroundAreBounded(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		c := view[string](t, f.process(), "docs", tier.WithTTL(time.Minute), tier.WithStaleWhileRevalidate(time.Hour))
		const keys = 200
		for i := range keys {
			require.NoError(t, c.Set(t.Context(), fmt.Sprint(i), "old"))
		}
		time.Sleep(2 * time.Minute)
		var running, most atomic.Int64
		load := func(context.Context, *tier.Entry) (string, error) {
			n := running.Add(1)
			defer running.Add(-1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			time.Sleep(time.Second)
			return "new", nil
		}
		for range 4 {
			for i := range keys {
				find(t, c, fmt.Sprint(i), load)
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
		}
		assert.LessOrEqual(t, most.Load(), int64(64))
		for i := range keys {
			assert.Equal(t, "new", find(t, c, fmt.Sprint(i), load).Value)
		}
	})
}

// Guard: a value that was returned and not stored leaves no older copy to fall back on, though the
// server has not told that the entry is gone.
func TestI10WhatIsNotStoredLeavesNoOlderCopy(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		c := view[string](t, f.process(), "docs", tier.WithTTL(time.Minute), tier.WithStaleOnError(time.Hour), tier.WithNegativeTTL(0))
		for name, load := range map[string]tier.Loader[string]{
			"not to be stored": func(_ context.Context, e *tier.Entry) (string, error) {
				e.DoNotStore()
				return "v2", nil
			},
			"not found": fails[string](tier.ErrNotFound),
		} {
			find(t, c, name, is("v1"))
			synctest.Wait()
			time.Sleep(2 * time.Minute)
			f.remove(f.keys()...)
			_, err := c.Get(t.Context(), name, load, tier.NoLocal())
			if err != nil {
				require.ErrorIs(t, err, tier.ErrNotFound)
			}
			synctest.Wait()
			_, err = c.Get(t.Context(), name, fails[string](errOrigin))
			assert.ErrorIs(t, err, errOrigin, name)
		}
	})
}

// Guard: a renewal in the background whose loader stores nothing leaves the older value where it is; a
// caller that has joined it loads its own, which is newer than what stays.
func TestARenewalThatStoresNothingLeavesTheOlderValue(t *testing.T) {
	for name, options := range map[string][]tier.CacheOption{
		"stale":              {tier.WithTTL(time.Minute), tier.WithStaleWhileRevalidate(time.Hour)},
		"stale, remote only": {tier.WithTTL(time.Minute), tier.WithStaleWhileRevalidate(time.Hour), tier.WithRemoteOnly()},
		"stale, local only":  {tier.WithTTL(time.Minute), tier.WithStaleWhileRevalidate(time.Hour), tier.WithLocalOnly()},
		"early":              {tier.WithTTL(2 * time.Minute), tier.WithEarlyRefresh(0.5)},
	} {
		t.Run(name, func(t *testing.T) {
			inBubbles(t, func(t *testing.T, f *fleet) {
				c := view[string](t, f.process(), "docs", options...)
				require.NoError(t, c.Set(t.Context(), "k", "v1"))
				time.Sleep(61 * time.Second)
				var loads atomic.Int64
				discards := counted(&loads, func(_ context.Context, e *tier.Entry) (string, error) {
					e.DoNotStore()
					return "v2", nil
				})
				for range 3 {
					assert.Equal(t, "v1", find(t, c, "k", discards).Value)
					synctest.Wait()
					assert.Equal(t, "v1", find(t, c, "k", discards).Value)
					synctest.Wait()
				}
				assert.Positive(t, loads.Load())
				n := loads.Load()
				time.Sleep(2 * time.Hour)
				assert.Equal(t, "v2", find(t, c, "k", discards).Value, "it has ended")
				assert.Equal(t, n+1, loads.Load())
			})
		})
	}
}

// Guard: a caller that is given what a renewal in the background has loaded is not given the older value after that.
func TestI10ARenewalThatStoresNothingIsGivenToNoCaller(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		c := view[string](t, f.process(), "docs", tier.WithTTL(time.Minute), tier.WithStaleWhileRevalidate(time.Hour), tier.WithLocalOnly())
		require.NoError(t, c.Set(t.Context(), "k", "v1"))
		time.Sleep(61 * time.Second)
		var loads atomic.Int64
		discards := func(_ context.Context, e *tier.Entry) (string, error) {
			e.DoNotStore()
			time.Sleep(time.Second)
			return fmt.Sprint("v", 1+loads.Add(1)), nil
		}
		assert.Equal(t, "v1", find(t, c, "k", discards).Value)
		synctest.Wait()
		assert.Equal(t, "v3", find(t, c, "k", discards, tier.Fresh()).Value, "it joins, and loads its own")
		synctest.Wait()
		assert.NotEqual(t, "v1", find(t, c, "k", discards).Value)
	})
}

// Guard: nor does a batch wait for the renewal of its keys, or get its error.
func TestARenewalHoldsUpNoBatch(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		options := []tier.CacheOption{tier.WithTTL(time.Minute), tier.WithStaleWhileRevalidate(time.Hour)}
		for _, c := range []*tier.Cache[string]{view[string](t, f.process(), "both", options...), view[string](t, f.process(), "remote", append(options, tier.WithRemoteOnly())...)} {
			require.NoError(t, c.SetMany(t.Context(), many("a", "b", "c")))
			time.Sleep(2 * time.Minute)
			slow := func(context.Context, []string, tier.Entries) (map[string]string, error) {
				time.Sleep(10 * time.Second)
				return nil, errOrigin
			}
			for _, o := range [][]tier.CallOption{nil, {tier.NoLocal()}, {tier.NoLocal()}} {
				begun := time.Now()
				got, err := c.GetMany(t.Context(), []string{"a", "b", "c"}, slow, o...)
				require.NoError(t, err)
				assert.Equal(t, many("a", "b", "c"), got)
				assert.Zero(t, time.Since(begun))
				synctest.Wait()
			}
			time.Sleep(11 * time.Second)
		}
	})
}
