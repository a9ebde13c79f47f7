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
				c := view[string](t, f.process(forHours...), "docs", append(options, tier.WithTTL(time.Minute))...)
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
				for i := range 4_000 { // 1,000 s
					read(i)
					synctest.Wait()
					time.Sleep(250 * time.Millisecond)
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

// Guard: a call that a pause ends, since its caller has a value past its TTL, gives no error if that value changes before the caller is
// given it. The caller loads, as one without a value does.
//
//	A: GetMany(other, k): k is in a pause, and there is a value past its TTL; other is loaded
//	B: changes the source of that value
//	A: other is there; the value of k may not be served any more
func TestAValueThatChangesAfterAPauseEndedItsCallIsLoaded(t *testing.T) {
	for name, elsewhere := range map[string]bool{"a pause of its own": false, "a pause of another process": true} {
		t.Run(name, func(t *testing.T) {
			inBubbles(t, func(t *testing.T, f *fleet) {
				a, b := f.process(), f.process()
				options := []tier.CacheOption{tier.WithTTL(time.Minute), tier.WithStaleOnError(time.Hour), tier.WithRemoteOnly()}
				ca, cb := view[string](t, a, "docs", options...), view[string](t, b, "docs", options...)
				find(t, cb, "k", is("old", "doc"))
				find(t, ca, "k", unneeded)
				time.Sleep(61 * time.Second)
				failed := ca
				if elsewhere {
					failed = cb
				}
				assert.True(t, find(t, failed, "k", fails[string](errOrigin)).Stale)
				synctest.Wait()
				if elsewhere { // which this process hears when it would load
					assert.True(t, find(t, ca, "k", unneeded).Stale)
				}
				load := func(ctx context.Context, keys []string, es tier.Entries) (map[string]string, error) {
					got := make(map[string]string)
					for _, key := range keys {
						if key == "other" {
							_, err := b.InvalidateSource(ctx, "doc")
							assert.NoError(t, err)
							assert.NoError(t, a.Sync(ctx))
						}
						got[key] = "new"
					}
					return got, nil
				}
				got, err := ca.GetMany(t.Context(), []string{"other", "k"}, load)
				assert.NoError(t, err)
				assert.Equal(t, map[string]string{"k": "new", "other": "new"}, got)
			})
		})
	}
}

// Guard: likewise if it changes while the fleet is asked whether the key is in a pause.
func TestAValueThatChangesWhileAPauseIsHeardOfIsLoaded(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		hooks := &interpose.Backend{Inner: f.hub}
		options := []tier.Option{tier.WithPrefix(f.prefix), tier.WithRemote(hooks)}
		if !f.tracked {
			options = append(options, tier.WithoutTracking())
		}
		a, err := tier.Open(t.Context(), options...)
		require.NoError(t, err)
		defer a.Close()
		b := f.process()
		how := []tier.CacheOption{tier.WithTTL(time.Minute), tier.WithStaleOnError(time.Hour)}
		ca, cb := view[string](t, a, "docs", how...), view[string](t, b, "docs", how...)
		find(t, cb, "k", is("old", "doc"))
		time.Sleep(61 * time.Second)
		assert.True(t, find(t, cb, "k", fails[string](errOrigin)).Stale)
		synctest.Wait()
		asked := 0
		hooks.After(func(op interpose.Op) error {
			if op != interpose.Lease {
				return nil
			}
			if asked++; asked == 2 { // the lease, and the right
				_, err := a.InvalidateSource(t.Context(), "doc")
				assert.NoError(t, err)
			}
			return nil
		})
		assert.Equal(t, "new", find(t, ca, "k", is("new", "doc")).Value)
		assert.GreaterOrEqual(t, asked, 2)
	})
}

// Guard: a value past its TTL is given during a pause without asking the fleet for the right to renew it, on every read.
func TestAReadDuringAPauseAsksForNoLease(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		for name, o := range map[string]tier.CacheOption{"local": tier.WithStaleOnError(time.Hour), "remote": tier.WithRemoteOnly()} {
			hooks := &interpose.Backend{Inner: f.hub}
			s := f.behind(hooks, forHours...)
			c := view[string](t, s, name, o, tier.WithTTL(time.Minute), tier.WithStaleWhileRevalidate(time.Hour), tier.WithRetryAfter(time.Minute, time.Minute))
			require.NoError(t, c.Set(t.Context(), "k", "v"))
			time.Sleep(61 * time.Second)
			find(t, c, "k", fails[string](errOrigin))
			synctest.Wait()
			var leases atomic.Int64
			hooks.Before(func(op interpose.Op) error {
				if op == interpose.Lease {
					leases.Add(1)
				}
				return nil
			})
			for range 20 {
				assert.True(t, find(t, c, "k", unneeded).Stale)
				synctest.Wait()
			}
			assert.Zero(t, leases.Load(), name)
		}
	})
}

// Guard: a renewal ahead of the TTL that fails keeps to the same pauses as any other, and asks the fleet for no more than its attempts
// need: whether the value is kept here or read remotely each time. (That the value itself is still there says nothing about the source.)
func TestAnEarlyRefreshThatFailsKeepsToThePauses(t *testing.T) {
	for name, way := range map[string]struct {
		view []tier.CacheOption
		call []tier.CallOption
	}{
		"local":       {},
		"local only":  {view: []tier.CacheOption{tier.WithLocalOnly()}},
		"remote only": {view: []tier.CacheOption{tier.WithRemoteOnly()}},
		"NoLocal":     {call: []tier.CallOption{tier.NoLocal()}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubbles(t, func(t *testing.T, f *fleet) {
				hooks := &interpose.Backend{Inner: f.hub}
				c := view[string](t, f.behind(hooks, forHours...), "docs", append(way.view, tier.WithTTL(10*time.Hour), tier.WithEarlyRefresh(0.5))...)
				require.NoError(t, c.Set(t.Context(), "k", "v"))
				time.Sleep(6 * time.Hour)
				var loads, leases atomic.Int64
				hooks.Before(func(op interpose.Op) error {
					if op == interpose.Lease {
						leases.Add(1)
					}
					return nil
				})
				for range 1_000 { // 1,000 s
					assert.Equal(t, "v", find(t, c, "k", counted(&loads, fails[string](errOrigin)), way.call...).Value)
					synctest.Wait()
					time.Sleep(time.Second)
				}
				// 1, 2, 4 … 32, 60, 60 … seconds, and up to a quarter more, until the next read.
				assert.GreaterOrEqual(t, loads.Load(), int64(17))
				assert.LessOrEqual(t, loads.Load(), int64(24))
				assert.LessOrEqual(t, leases.Load(), 2*loads.Load(), "of the load, and of the right to it")
				time.Sleep(2 * time.Minute)
				find(t, c, "k", is("new"), way.call...)
				synctest.Wait()
				assert.Equal(t, "new", find(t, c, "k", unneeded, way.call...).Value)
			})
		})
	}
}

// Guard: what a process takes for another's pause is no more than that: not the time for which that one had the right to load.
func TestThePauseOfAnotherProcessIsNoLongerThanThat(t *testing.T) {
	for name, outcome := range map[string]func(*tier.Entry) error{
		"fails":          func(*tier.Entry) error { return errOrigin },
		"DoNotStore":     func(e *tier.Entry) error { e.DoNotStore(); return nil },
		"is not there":   func(*tier.Entry) error { return tier.ErrNotFound },
		"takes too long": func(*tier.Entry) error { <-time.After(time.Second); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			inBubbles(t, func(t *testing.T, f *fleet) {
				var caches []*tier.Cache[string]
				for range 3 {
					hooks := &interpose.Backend{Inner: f.hub}
					hooks.Before(func(op interpose.Op) error {
						if op == interpose.Extend { // of the right, to the pause
							time.Sleep(100 * time.Millisecond)
						}
						return nil
					})
					caches = append(caches, view[string](t, f.behind(hooks, forHours...), "docs", tier.WithTTL(time.Second), tier.WithStaleWhileRevalidate(time.Hour),
						tier.WithLoadTimeout(200*time.Millisecond), tier.WithNegativeTTL(0)))
				}
				require.NoError(t, caches[0].Set(t.Context(), "k", "old"))
				f.sync()
				for _, c := range caches {
					find(t, c, "k", unneeded)
				}
				time.Sleep(2 * time.Second)
				var well atomic.Bool
				load := func(_ context.Context, e *tier.Entry) (string, error) {
					time.Sleep(30 * time.Millisecond)
					if !well.Load() {
						return "odd", outcome(e)
					}
					return "new", nil
				}
				read := func(c *tier.Cache[string]) string {
					v, err := c.Get(context.Background(), "k", load)
					if err != nil {
						return err.Error()
					}
					return v
				}
				var all sync.WaitGroup
				for i, c := range caches {
					all.Go(func() {
						for range 200 {
							time.Sleep(time.Duration(10+i) * time.Millisecond)
							read(c)
						}
					})
				}
				all.Wait()
				well.Store(true)
				for end := time.Now().Add(6 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) { // 1, and 2 s, and a quarter
					for _, c := range caches {
						read(c)
					}
				}
				for _, c := range caches {
					assert.Equal(t, "new", read(c))
				}
			})
		})
	}
}
