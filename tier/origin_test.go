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

	"github.com/tiercache/tiercache/tier"
)

// Guard: a source fails for 60 s. Every read is given its stale value within the soft timeout, and the source is
// tried once a pause in the fleet.
func TestASourceThatFailsForAMinute(t *testing.T) {
	const soft = 50 * time.Millisecond
	for name, options := range map[string][]tier.CacheOption{
		"while revalidating":              {tier.WithStaleWhileRevalidate(time.Hour)},
		"while revalidating, remote only": {tier.WithStaleWhileRevalidate(time.Hour), tier.WithRemoteOnly()},
		"on error":                        {tier.WithStaleOnError(time.Hour)},
		"on error, remote only":           {tier.WithStaleOnError(time.Hour), tier.WithRemoteOnly()},
	} {
		t.Run(name, func(t *testing.T) {
			inBubbles(t, func(t *testing.T, f *fleet) {
				options := append(options, tier.WithTTL(time.Minute), tier.WithSoftTimeout(soft))
				var caches []*tier.Cache[string]
				for range 4 {
					caches = append(caches, view[string](t, f.process(forHours...), "docs", options...))
				}
				require.NoError(t, caches[0].SetMany(t.Context(), map[string]string{"one": "old", "many": "old"}))
				f.sync()
				for _, c := range caches { // each has a copy, if it keeps any
					find(t, c, "one", unneeded)
					find(t, c, "many", unneeded)
				}
				time.Sleep(time.Minute)
				var mu sync.Mutex
				tries := make(map[string][]time.Time)
				var failing atomic.Bool
				failing.Store(true)
				load := func(key string) error {
					mu.Lock()
					tries[key] = append(tries[key], time.Now())
					mu.Unlock()
					time.Sleep(2 * soft)
					if failing.Load() {
						return errOrigin
					}
					return nil
				}
				one := func(context.Context, *tier.Entry) (string, error) { return "new", load("one") }
				many := func(context.Context, []string, tier.Entries) (map[string]string, error) {
					if err := load("many"); err != nil {
						return nil, err
					}
					return map[string]string{"many": "new"}, nil
				}
				end := time.Now().Add(time.Minute)
				var all sync.WaitGroup
				for _, c := range caches {
					for range 2 {
						all.Go(func() {
							for time.Now().Before(end) {
								begun := time.Now()
								r := find(t, c, "one", one)
								assert.True(t, r.Stale)
								assert.LessOrEqual(t, time.Since(begun), 2*soft)
								begun = time.Now()
								got, err := c.GetMany(context.Background(), []string{"many"}, many)
								assert.NoError(t, err)
								assert.Equal(t, "old", got["many"])
								assert.LessOrEqual(t, time.Since(begun), 2*soft)
								time.Sleep(200 * time.Millisecond)
							}
						})
					}
				}
				all.Wait()
				for key, at := range tries {
					for i := 1; i < len(at); i++ {
						// 1, 2, 4 … s, as each process reckons it.
						assert.GreaterOrEqual(t, at[i].Sub(at[i-1]), time.Second<<(i-1), key)
					}
					assert.LessOrEqual(t, len(at), 6, key)
					assert.GreaterOrEqual(t, len(at), 5, key)
				}
				failing.Store(false)
				time.Sleep(2 * time.Minute)
				for _, c := range caches {
					find(t, c, "one", one)
					_, err := c.GetMany(context.Background(), []string{"many"}, many)
					assert.NoError(t, err)
				}
				time.Sleep(time.Second)
				for _, c := range caches { // without tracking, what the others keep is renewed when it is read again
					find(t, c, "one", one)
					find(t, c, "many", unneeded)
				}
				synctest.Wait()
				for _, c := range caches {
					assert.Equal(t, "new", find(t, c, "one", unneeded).Value)
					assert.Equal(t, "new", find(t, c, "many", unneeded).Value)
				}
			})
		})
	}
}

// What another process has tried in vain is no error for callers without a value, also where views fail fast.
func TestAPauseOfAnotherProcessIsNoErrorOfThisOne(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		patience := []tier.CacheOption{tier.WithTTL(time.Minute), tier.WithRetryAfter(20*time.Second, 20*time.Second)}
		stale := append(patience[:2:2], tier.WithStaleOnError(time.Hour))
		here := f.process()
		a, b := view[string](t, f.process(), "docs", stale...), view[string](t, here, "docs", stale...)
		hasty := view[string](t, here, "docs", append(patience[:2:2], tier.WithFailFast())...)
		require.NoError(t, a.Set(t.Context(), "k", "old"))
		f.sync()
		time.Sleep(2 * time.Minute)
		require.True(t, find(t, a, "k", fails[string](errOrigin)).Stale)
		synctest.Wait()
		require.True(t, find(t, b, "k", unneeded).Stale, "a tries")
		synctest.Wait()
		require.Equal(t, "new", find(t, hasty, "k", is("new")).Value, "it may try once")
	})
}

// Guard: a process without a value does not honour the pause of another, and is never given its error.
func TestAPauseOfAnotherProcessIsOfStaleValues(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		options := []tier.CacheOption{tier.WithTTL(time.Minute)}
		patient := func() *tier.Cache[string] {
			return view[string](t, f.process(), "docs", append(options, tier.WithStaleOnError(time.Hour), tier.WithRetryAfter(20*time.Second, 20*time.Second))...)
		}
		a, b := patient(), patient()
		strict := view[string](t, f.process(), "docs", append(options, tier.WithFailFast(), tier.WithRetryAfter(20*time.Second, 20*time.Second))...)
		require.NoError(t, a.Set(t.Context(), "k", "old"))
		f.sync()
		time.Sleep(2 * time.Minute)
		assert.True(t, find(t, a, "k", fails[string](errOrigin)).Stale)
		synctest.Wait()
		assert.True(t, find(t, b, "k", unneeded).Stale)
		assert.True(t, find(t, b, "k", unneeded).Stale)
		synctest.Wait() // b has given its lease back
		var loads atomic.Int64
		errOwn := errors.New("its own")
		for range 3 {
			begun := time.Now()
			_, err := strict.Get(t.Context(), "k", counted(&loads, fails[string](errOwn)))
			assert.Equal(t, errOwn, err)
			assert.Zero(t, time.Since(begun))
		}
		assert.Equal(t, int64(1), loads.Load())
		time.Sleep(26 * time.Second)
		// The pause is over for all, and one of them tries.
		assert.True(t, find(t, b, "k", counted(&loads, fails[string](errOrigin))).Stale)
		synctest.Wait()
		assert.True(t, find(t, a, "k", counted(&loads, fails[string](errOrigin))).Stale)
		assert.Equal(t, int64(2), loads.Load())
		time.Sleep(26 * time.Second)
		assert.Equal(t, "new", find(t, a, "k", is("new")).Value)
		synctest.Wait()
		assert.Equal(t, "new", find(t, b, "k", unneeded).Value)
		assert.Equal(t, "new", find(t, strict, "k", unneeded).Value)
		// Nothing is left that would hold up the next renewal.
		time.Sleep(2 * time.Minute)
		assert.Equal(t, "newest", find(t, b, "k", is("newest")).Value)
		synctest.Wait()
		for _, k := range f.keys() {
			assert.NotContains(t, k, "?", fmt.Sprint(f.keys()))
		}
	})
}
