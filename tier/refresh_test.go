package tier_test

import (
	"context"
	"errors"
	"fmt"
	"io"
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

// failingMany is a source of batches that is down.
func failingMany(n *atomic.Int64) tier.BatchLoader[string] {
	return func(context.Context, []string, tier.Entries) (map[string]string, error) {
		n.Add(1)
		return nil, errOrigin
	}
}

// Guard: whichever way a value past its TTL is served, a source that fails is called once a pause,
// and the pauses double up to a minute.
func TestAFailingSourceIsCalledOnceAPause(t *testing.T) {
	ways := map[string][]tier.CacheOption{
		"while revalidating":              {tier.WithStaleWhileRevalidate(time.Hour)},
		"while revalidating, remote only": {tier.WithStaleWhileRevalidate(time.Hour), tier.WithRemoteOnly()},
		"on error":                        {tier.WithStaleOnError(time.Hour)},
		"on error, remote only":           {tier.WithStaleOnError(time.Hour), tier.WithRemoteOnly()},
		"on error, local only":            {tier.WithStaleOnError(time.Hour), tier.WithLocalOnly()},
		"both, for a soft timeout":        {tier.WithStaleWhileRevalidate(time.Minute), tier.WithStaleOnError(time.Hour), tier.WithSoftTimeout(time.Second)},
	}
	for name, options := range ways {
		t.Run(name, func(t *testing.T) {
			inBubbles(t, func(t *testing.T, f *fleet) {
				c := view[string](t, f.process(), "docs", append(options, tier.WithTTL(time.Minute))...)
				require.NoError(t, c.Set(t.Context(), "k", "v"))
				time.Sleep(61 * time.Second)
				var loads atomic.Int64
				read := func(i int) {
					if i%2 == 0 {
						r := find(t, c, "k", counted(&loads, fails[string](errOrigin)))
						assert.Equal(t, "v", r.Value)
						assert.True(t, r.Stale)
						return
					}
					got, err := c.GetMany(t.Context(), []string{"k"}, failingMany(&loads))
					assert.NoError(t, err)
					assert.Equal(t, map[string]string{"k": "v"}, got)
				}
				for i := range 10_000 { // 1,000 s
					read(i)
					synctest.Wait()
					time.Sleep(100 * time.Millisecond)
				}
				// 1, 2, 4 … 32, 60, 60 … seconds, and up to a quarter more: 6 pauses in the first 64 to 80 s,
				// then 12 to 16 of a minute.
				assert.GreaterOrEqual(t, loads.Load(), int64(18))
				assert.LessOrEqual(t, loads.Load(), int64(24))
				// A load that succeeds ends the pause.
				time.Sleep(2 * time.Minute)
				find(t, c, "k", is("new"))
				synctest.Wait()
				assert.Equal(t, "new", find(t, c, "k", unneeded).Value)
			})
		})
	}
}

// Guard: a pause is no reason to give a caller without a value an error, unless it asked for that.
func TestACallerWithoutAValueLoadsDuringAPause(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		s := f.process()
		var loads atomic.Int64
		for i, options := range [][]tier.CacheOption{nil, {tier.WithRemoteOnly()}, {tier.WithFailFast()}, {tier.WithFailFast(), tier.WithRemoteOnly()}} {
			c := view[string](t, s, fmt.Sprint("docs", i), options...)
			loads.Store(0)
			for range 5 {
				_, err := c.Get(t.Context(), "k", counted(&loads, fails[string](errOrigin)))
				assert.ErrorIs(t, err, errOrigin)
				many, err := c.GetMany(t.Context(), []string{"k"}, failingMany(&loads))
				assert.ErrorIs(t, err, errOrigin)
				assert.Empty(t, many)
			}
			assert.Equal(t, []int64{10, 10, 1, 1}[i], loads.Load())
		}
		c := view[string](t, s, "fast", tier.WithFailFast(), tier.WithRetryAfter(time.Second, time.Second))
		loads.Store(0)
		for range 3 {
			_, err := c.Get(t.Context(), "k", counted(&loads, fails[string](errOrigin)))
			assert.Equal(t, errOrigin, err, "it is the loader's own")
		}
		assert.Equal(t, int64(1), loads.Load())
		require.NoError(t, c.Set(t.Context(), "k", "set"))
		assert.Equal(t, "set", find(t, c, "k", unneeded).Value, "what a tier has is no load")
		require.NoError(t, c.Delete(t.Context(), "k"))
		time.Sleep(2 * time.Second)
		assert.Equal(t, "v", find(t, c, "k", is("v")).Value, "the pause is over")
	})
}

// Guard: a view that serves nothing past its TTL loads, though another view of its namespace is given
// the remembered error with a value.
func TestAPauseIsNotOfOtherViews(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		s := f.process()
		patient := view[string](t, s, "docs", tier.WithTTL(time.Minute), tier.WithStaleOnError(time.Hour))
		strict := view[string](t, s, "docs", tier.WithTTL(time.Minute))
		require.NoError(t, patient.Set(t.Context(), "k", "v"))
		time.Sleep(time.Minute)
		assert.True(t, find(t, patient, "k", fails[string](errOrigin)).Stale)
		var loads atomic.Int64
		_, err := strict.Get(t.Context(), "k", counted(&loads, fails[string](errOrigin)))
		assert.ErrorIs(t, err, errOrigin)
		assert.Equal(t, int64(1), loads.Load())
		assert.True(t, find(t, patient, "k", unneeded).Stale)
		assert.Equal(t, "new", find(t, strict, "k", is("new")).Value)
		assert.Equal(t, "new", find(t, patient, "k", unneeded).Value)
	})
}

// Guard: nor is a view that joins the other's call given its remembered error.
func TestARememberedErrorIsNotOfTheViewsThatJoin(t *testing.T) {
	eachRemote(t, func(t *testing.T, w *world) {
		a, hooks := w.open()
		patient := cacheOf[int64](t, a, tier.WithRemoteOnly(), tier.WithTTL(time.Millisecond), tier.WithStaleOnError(time.Hour), tier.WithRetryAfter(time.Hour, time.Hour))
		strict := cacheOf[int64](t, a, tier.WithRemoteOnly())
		require.NoError(t, patient.Set(t.Context(), "k", 1))
		within(t, "it is past its TTL, and its source fails", func() bool {
			r, err := patient.Lookup(t.Context(), "k", fails[int64](errOrigin))
			return err == nil && r.Stale
		})
		reached, goOn := stopAt(hooks.Before, interpose.Get, 1)
		var all sync.WaitGroup
		all.Go(func() { assert.True(t, lookup(t, patient, none).Stale) })
		<-reached
		all.Go(func() {
			assert.Equal(t, int64(2), lookup(t, strict, func(context.Context, *tier.Entry) (int64, error) { return 2, nil }).Value)
		})
		within(t, "the other view joins", func() bool { return tier.Waiters(strict, "k") == 2 })
		close(goOn)
		all.Wait()
	})
}

// Guard: an answer that is there is given, though the caller's context has ended meanwhile.
func TestAnAnswerComesBeforeTheEndOfTheContext(t *testing.T) {
	eachRemote(t, func(t *testing.T, w *world) {
		a, hooks := w.open()
		c := cacheOf[int64](t, a)
		require.NoError(t, c.Set(t.Context(), "k", 1))
		for range 30 { // without the guard, half of them fail
			ctx, cancel := context.WithCancel(t.Context())
			hooks.After(func(op interpose.Op) error {
				if op == interpose.Get {
					cancel()
				}
				return nil
			})
			v, err := c.Get(ctx, "k", none, tier.NoLocal())
			cancel()
			require.NoError(t, err)
			require.Equal(t, int64(1), v)
		}
	})
}

// Guard: what says nothing of the source begins no pause.
func TestNotFoundAndGivenUpLoadsBeginNoPause(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		c := view[string](t, f.process(), "docs", tier.WithFailFast(), tier.WithNegativeTTL(0))
		for range 2 {
			var loads atomic.Int64
			_, err := c.Get(t.Context(), "k", counted(&loads, fails[string](tier.ErrNotFound)))
			assert.ErrorIs(t, err, tier.ErrNotFound)
			assert.Equal(t, int64(1), loads.Load())
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Get(ctx, "k", func(ctx context.Context, _ *tier.Entry) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		})
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		synctest.Wait()
		assert.Equal(t, "v", find(t, c, "k", is("v")).Value)
	})
}

// Guard: an early refresh that fails is tried again after the pause; also one that another process
// was about to do, and did not.
func TestAnEarlyRefreshThatFailedIsTriedAgain(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		c := view[string](t, f.process(), "docs", tier.WithTTL(time.Hour), tier.WithEarlyRefresh(0.5))
		find(t, c, "k", is("v1"))
		time.Sleep(31 * time.Minute)
		var loads atomic.Int64
		for range 20 { // within the first pause
			find(t, c, "k", counted(&loads, fails[string](errOrigin)))
			synctest.Wait()
			time.Sleep(10 * time.Millisecond)
		}
		assert.Equal(t, int64(1), loads.Load())
		time.Sleep(2 * time.Second)
		find(t, c, "k", is("v2"))
		synctest.Wait()
		assert.Equal(t, "v2", find(t, c, "k", unneeded).Value)
	})
}

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

// Guard: the soft timeout is one for all keys of a batch, and every caller of a key is given the
// stale value that one of them has found.
func TestTheSoftTimeoutIsOneForACall(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		keys := make([]string, 40)
		values := make(map[string]string)
		for i := range keys {
			keys[i] = fmt.Sprint("k", i)
			values[keys[i]] = "old"
		}
		for _, how := range [][]tier.CacheOption{nil, {tier.WithRemoteOnly()}} {
			options := append(how, tier.WithTTL(time.Minute), tier.WithStaleOnError(time.Hour), tier.WithSoftTimeout(50*time.Millisecond))
			c := view[string](t, f.process(), fmt.Sprint("docs", len(how)), options...)
			require.NoError(t, c.SetMany(t.Context(), values))
			time.Sleep(2 * time.Minute)
			release := make(chan struct{})
			load := func(ctx context.Context, keys []string, _ tier.Entries) (map[string]string, error) {
				<-release
				return nil, errOrigin
			}
			var all sync.WaitGroup
			for range 3 {
				all.Go(func() {
					begun := time.Now()
					got, err := c.GetMany(t.Context(), keys, load)
					assert.NoError(t, err)
					assert.Equal(t, values, got)
					assert.LessOrEqual(t, time.Since(begun), 120*time.Millisecond)
				})
				all.Go(func() {
					begun := time.Now()
					r := find(t, c, "k7", unneeded)
					assert.True(t, r.Stale)
					assert.LessOrEqual(t, time.Since(begun), 120*time.Millisecond)
				})
			}
			all.Wait()
			close(release)
			synctest.Wait()
		}
	})
}

// Guard: a stale value that a call has found is not given to a caller that begins after the key was
// set.
func TestR10AStaleValueFoundBeforeAChangeIsNotShared(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		a, b := f.process(), f.process()
		options := []tier.CacheOption{tier.WithTTL(time.Minute), tier.WithStaleOnError(time.Hour), tier.WithSoftTimeout(time.Second), tier.WithRemoteOnly()}
		ca, cb := view[string](t, a, "docs", options...), view[string](t, b, "docs", options...)
		require.NoError(t, ca.Set(t.Context(), "k", "old"))
		time.Sleep(2 * time.Minute)
		release := make(chan struct{})
		leads := make(chan struct{})
		go func() {
			defer close(leads)
			assert.NotEqual(t, "new", find(t, ca, "k", func(context.Context, *tier.Entry) (string, error) {
				<-release
				return "loaded", nil
			}).Value, "it began before the change")
		}()
		synctest.Wait()
		require.NoError(t, cb.Set(t.Context(), "k", "new"))
		f.sync()
		_, err := a.InvalidateSource(t.Context(), "nothing") // a has applied what came before
		require.NoError(t, err)
		joins := make(chan struct{})
		go func() {
			defer close(joins)
			assert.NotEqual(t, "old", find(t, ca, "k", is("new")).Value)
		}()
		time.Sleep(3 * time.Second)
		close(release)
		<-leads
		<-joins
	})
}

// Guard: each read is one in Reads, however it ends, and no other run of a loader is.
func TestReadsAreCountedOnce(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c := view[string](t, s, "docs", tier.WithTTL(time.Minute), tier.WithStaleWhileRevalidate(time.Hour))
		var readers sync.WaitGroup
		reads := 0
		several := func(n int, read func()) {
			for range n {
				reads++
				readers.Go(read)
			}
			readers.Wait()
			synctest.Wait()
			assert.Equal(t, int64(reads), s.Stats().Reads())
		}
		slow := func(v string, err error) tier.Loader[string] {
			return func(context.Context, *tier.Entry) (string, error) {
				time.Sleep(time.Second)
				return v, err
			}
		}
		several(10, func() {
			_, err := c.Get(t.Context(), "k", slow("", errOrigin))
			assert.ErrorIs(t, err, errOrigin)
		})
		several(10, func() { find(t, c, "k", slow("v", nil)) })
		time.Sleep(2 * time.Minute)
		for range 5 {
			several(1, func() { assert.True(t, find(t, c, "k", fails[string](errOrigin)).Stale) })
			time.Sleep(time.Minute)
		}
		assert.Positive(t, s.Stats().Refreshes)
		several(10, func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			_, err := c.Get(ctx, "slow", slow("v", nil))
			assert.ErrorIs(t, err, context.DeadlineExceeded)
		})
		several(3, func() {
			_, err := c.GetMany(t.Context(), []string{"k"}, func(context.Context, []string, tier.Entries) (map[string]string, error) {
				return nil, errOrigin
			})
			assert.NoError(t, err)
		})
	})
}

// Guard: a request for many keys that fails is one error, and a key that is not found none of the load.
func TestOneFailedRequestIsOneError(t *testing.T) {
	eachRemote(t, func(t *testing.T, w *world) {
		var seen events
		s, hooks := w.open(tier.WithObserver(seen.observe))
		c := cacheOf[int64](t, s)
		var failed atomic.Bool
		hooks.Before(func(op interpose.Op) error {
			if op == interpose.Get && failed.CompareAndSwap(false, true) {
				return errCut
			}
			return nil
		})
		keys := make([]string, 100)
		for i := range keys {
			keys[i] = fmt.Sprint(i)
		}
		got, err := c.GetMany(t.Context(), keys, func(_ context.Context, keys []string, _ tier.Entries) (map[string]int64, error) {
			out := make(map[string]int64)
			for _, k := range keys[1:] {
				out[k] = 1
			}
			return out, nil
		})
		require.NoError(t, err)
		assert.Len(t, got, 99)
		if failed.Load() {
			assert.Equal(t, int64(1), s.Stats().RemoteErrors)
			eventually(t, "it is observed", func() bool { return len(seen.of(tier.EventRemote)) == 1 })
		}
		for _, e := range seen.of(tier.EventLoad) {
			assert.NoError(t, e.Err)
		}
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

// Guard: whether its context has ended or not, a read gives what the local tier has, and else asks nothing.
func TestReadsAgreeOnAContextThatHasEnded(t *testing.T) {
	inTiers(t, func(t *testing.T, f *fleet, options ...tier.CacheOption) {
		s := f.process()
		c := view[string](t, s, "docs", options...)
		require.NoError(t, c.Set(t.Context(), "k", "v"))
		local := s.Stats().LocalEntries > 0
		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(gone)
		many := func(context.Context, []string, tier.Entries) (map[string]string, error) { return nil, errUnneeded }
		reads := map[string]func(key string, o ...tier.CallOption) (string, error){
			"Get": func(key string, o ...tier.CallOption) (string, error) { return c.Get(ctx, key, unneeded, o...) },
			"Lookup": func(key string, o ...tier.CallOption) (string, error) {
				r, err := c.Lookup(ctx, key, unneeded, o...)
				return r.Value, err
			},
			"GetMany": func(key string, o ...tier.CallOption) (string, error) {
				got, err := c.GetMany(ctx, []string{key}, many, o...)
				return got[key], err
			},
		}
		n := int64(0)
		for name, read := range reads {
			v, err := read("k")
			if local {
				assert.NoError(t, err, name)
				assert.Equal(t, "v", v, name)
			} else {
				assert.ErrorIs(t, err, context.Canceled, name)
				assert.ErrorIs(t, err, gone, name)
			}
			for _, o := range [][]tier.CallOption{{tier.Fresh()}, {tier.NoLocal()}} {
				_, err = read("k", o...)
				assert.ErrorIs(t, err, context.Canceled, name)
			}
			_, err = read("other")
			assert.ErrorIs(t, err, context.Canceled, name)
			n += 4
			assert.Equal(t, n, s.Stats().Reads(), name)
		}
		v, ok, err := c.Peek(ctx, "k")
		assert.Equal(t, local, ok)
		if local {
			assert.Equal(t, "v", v)
			assert.NoError(t, err)
		} else {
			assert.ErrorIs(t, err, context.Canceled)
		}
		_, err = c.Refresh(ctx, "k", unneeded)
		assert.ErrorIs(t, err, context.Canceled)
	})
}

// Guard: an end that a loader gives with time.Until is no error, and one that has passed is not stored.
func TestATTLIsRoundedDown(t *testing.T) {
	inTiers(t, func(t *testing.T, f *fleet, options ...tier.CacheOption) {
		c := view[string](t, f.process(), "docs", append(options, tier.WithStaleOnError(time.Hour))...)
		for ttl, want := range map[time.Duration]time.Duration{
			time.Second + 999*time.Microsecond: time.Second, 1500 * time.Microsecond: time.Millisecond,
			999 * time.Microsecond: 0, 0: 0, -time.Nanosecond: 0, -time.Hour: 0,
		} {
			key := ttl.String()
			var loads atomic.Int64
			load := counted(&loads, func(_ context.Context, e *tier.Entry) (string, error) {
				e.SetTTL(ttl)
				return "v", nil
			})
			assert.Equal(t, "v", find(t, c, key, load).Value)
			synctest.Wait()
			if want > 0 {
				time.Sleep(want - 1)
				assert.Equal(t, "v", find(t, c, key, unneeded).Value)
				time.Sleep(time.Nanosecond)
			}
			assert.Equal(t, "v", find(t, c, key, load).Value)
			assert.Equal(t, int64(2), loads.Load(), key)
			synctest.Wait()
		}
		// The last word counts.
		find(t, c, "k", func(_ context.Context, e *tier.Entry) (string, error) {
			e.SetTTL(0)
			e.SetTTL(time.Minute)
			return "v", nil
		})
		synctest.Wait()
		assert.Equal(t, "v", find(t, c, "k", unneeded).Value)
	})
}

// Guard: what a loader returns is its callers' error as it is, also if it says that there is nothing.
func TestALoadersErrorComesBackAsItIs(t *testing.T) {
	missing := fmt.Errorf("row 7: %w", tier.ErrNotFound)
	both := errors.Join(tier.ErrNotFound, io.EOF)
	inTiers(t, func(t *testing.T, f *fleet, options ...tier.CacheOption) {
		for _, options := range [][]tier.CacheOption{options, append(options, tier.WithNegativeTTL(0))} {
			s := f.process()
			c := view[string](t, s, "docs", options...)
			for i, want := range []error{io.EOF, missing, both} {
				key := fmt.Sprint(i, len(options))
				var all sync.WaitGroup
				for range 3 {
					all.Go(func() {
						_, err := c.Get(t.Context(), key, func(context.Context, *tier.Entry) (string, error) {
							time.Sleep(time.Second)
							return "", want
						})
						assert.True(t, err == want, "%v", err)
					})
				}
				all.Wait()
				_, err := c.Lookup(t.Context(), key+"'", fails[string](want))
				assert.True(t, err == want, "%v", err)
				_, err = c.Refresh(t.Context(), key, fails[string](want))
				assert.True(t, err == want, "%v", err)
			}
			_, err := c.GetMany(t.Context(), []string{"a"}, func(context.Context, []string, tier.Entries) (map[string]string, error) {
				return nil, io.EOF
			})
			assert.True(t, errors.Unwrap(err) == io.EOF, "%v", err)
			require.NoError(t, s.Close())
		}
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
