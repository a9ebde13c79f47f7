package tier_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/tier"
)

// batches loads every key as "v of key", and remembers what it was asked.
type batches struct {
	mu    sync.Mutex
	asked [][]string
}

func (b *batches) load(_ context.Context, keys []string, e tier.Entries) (map[string]string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = append(b.asked, slices.Sorted(slices.Values(keys)))
	out := make(map[string]string)
	for _, k := range keys {
		e.For(k).DependsOn("of " + k)
		out[k] = "v of " + k
	}
	return out, nil
}

func many(keys ...string) map[string]string {
	out := make(map[string]string)
	for _, k := range keys {
		out[k] = "v of " + k
	}
	return out
}

func TestGetManyLoadsOnlyWhatNoTierHasAndInOneRun(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		sa, sb := f.process(), f.process()
		a, b := view[string](t, sa, "docs"), view[string](t, sb, "docs")
		require.NoError(t, a.Set(t.Context(), "remote", "v of remote"))
		f.sync()
		require.NoError(t, b.Set(t.Context(), "local", "v of local"))
		f.sync()
		var origin batches
		got, err := b.GetMany(t.Context(), []string{"x", "local", "y", "remote", "x", "local"}, origin.load)
		require.NoError(t, err)
		assert.Equal(t, many("local", "remote", "x", "y"), got)
		assert.Equal(t, [][]string{{"x", "y"}}, origin.asked)
		got, err = b.GetMany(t.Context(), []string{"y", "remote", "x", "local"}, noStrings)
		require.NoError(t, err)
		assert.Equal(t, many("local", "remote", "x", "y"), got)
		filled(t, sb, 2)
		got, err = a.GetMany(t.Context(), []string{"y", "remote", "x", "local"}, noStrings)
		require.NoError(t, err)
		assert.Equal(t, many("local", "remote", "x", "y"), got)
		// Each has its own sources.
		_, err = sa.InvalidateSource(t.Context(), "of x")
		require.NoError(t, err)
		f.sync()
		got, err = b.GetMany(t.Context(), slices.Collect(maps.Keys(got)), origin.load)
		require.NoError(t, err)
		assert.Equal(t, many("local", "remote", "x", "y"), got)
		assert.Equal(t, [][]string{{"x", "y"}, {"x"}}, origin.asked)
	})
}

func TestGetManyOfNothingIsNothing(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		got, err := view[string](t, f.process(), "docs").GetMany(t.Context(), nil, noStrings)
		require.NoError(t, err)
		assert.Equal(t, map[string]string{}, got)
	})
}

func TestAKeyThatABatchLoaderLeavesOutIsNotFound(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c := view[string](t, s, "docs")
		load := func(_ context.Context, keys []string, _ tier.Entries) (map[string]string, error) {
			out := many(keys...)
			delete(out, "none")
			out["not asked for"] = "ignored"
			return out, nil
		}
		got, err := c.GetMany(t.Context(), []string{"a", "none", "b"}, load)
		require.NoError(t, err)
		assert.Equal(t, many("a", "b"), got)
		got, err = c.GetMany(t.Context(), []string{"none", "a"}, noStrings)
		require.NoError(t, err, "and is remembered")
		assert.Equal(t, many("a"), got)
		_, err = c.Get(t.Context(), "none", unneeded)
		assert.ErrorIs(t, err, tier.ErrNotFound)
		assert.Equal(t, int64(1), s.Stats().NotFound)
		_, ok, err := c.Peek(t.Context(), "not asked for")
		require.NoError(t, err)
		assert.False(t, ok)
	})
}

func TestGetManyReturnsWhatItFoundBesideTheErrors(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c := view[string](t, s, "docs")
		require.NoError(t, c.Set(t.Context(), "there", "v of there"))
		other := errors.New("of another kind")
		got, err := c.GetMany(t.Context(), []string{"there", "", "good", "bad1", "bad2", "wrong"},
			func(_ context.Context, keys []string, e tier.Entries) (map[string]string, error) {
				e.For("wrong").SetTTL(1000 * 24 * time.Hour)
				e.For("who knows").SetTTL(1000 * 24 * time.Hour) // not used
				return map[string]string{"good": "v of good", "wrong": "v"}, fmt.Errorf("%w, %w", errOrigin, other)
			})
		assert.Equal(t, many("there", "good"), got)
		assert.ErrorIs(t, err, errOrigin)
		assert.ErrorIs(t, err, other)
		assert.ErrorContains(t, err, "2 keys")
		assert.ErrorContains(t, err, "bad")
		assert.ErrorContains(t, err, `"wrong"`)
		assert.ErrorContains(t, err, "TTL 24000h")
		assert.ErrorContains(t, err, "key must not be empty")
		// What was found has been stored, what failed has not.
		assert.Equal(t, "v of good", find(t, c, "good", unneeded).Value)
		got, err = c.GetMany(t.Context(), []string{"bad1", "wrong"}, new(batches).load)
		require.NoError(t, err)
		assert.Equal(t, many("bad1", "wrong"), got)
	})
}

// A thousand keys of a closed store are one error, not a thousand lines.
func TestWhatFailsForManyKeysIsSaidOnce(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c := view[string](t, s, "docs")
		keys := make([]string, 1000)
		for i := range keys {
			keys[i] = fmt.Sprint(i)
		}
		_, err := c.GetMany(t.Context(), keys, func(context.Context, []string, tier.Entries) (map[string]string, error) {
			return nil, errOrigin
		})
		assert.ErrorIs(t, err, errOrigin)
		assert.Less(t, len(err.Error()), 500)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = c.GetMany(ctx, keys, noStrings)
		assert.ErrorIs(t, err, context.Canceled)
		assert.Less(t, len(err.Error()), 500)
		require.NoError(t, s.Close())
		_, err = c.GetMany(t.Context(), keys, noStrings)
		assert.ErrorIs(t, err, tier.ErrClosed)
		assert.Less(t, len(err.Error()), 500)
	})
}

func TestGetManyAwaitsKeysThatAreLoadedElsewhere(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		a, b := view[string](t, f.process(), "docs"), view[string](t, f.process(), "docs")
		goOn := make(chan struct{})
		slow := func(key string) tier.Loader[string] {
			return func(context.Context, *tier.Entry) (string, error) { <-goOn; return "v of " + key, nil }
		}
		go a.Get(t.Context(), "far", slow("far"))
		go b.Get(t.Context(), "near", slow("near"))
		synctest.Wait()
		var origin batches
		got := make(chan map[string]string)
		go func() {
			m, err := b.GetMany(t.Context(), []string{"near", "mine", "far", "mine too"}, origin.load)
			assert.NoError(t, err)
			got <- m
		}()
		synctest.Wait()
		assert.Equal(t, [][]string{{"mine", "mine too"}}, origin.asked, "these do not wait for the others")
		close(goOn)
		assert.Equal(t, many("near", "mine", "far", "mine too"), <-got)
		assert.Len(t, origin.asked, 1)
	})
}

// If each waited for the other's keys before loading its own, none would end.
func TestGetManysOfTheSameKeysInAnyOrderDoNotBlockEachOther(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		keys := []string{"a", "b", "c", "d", "e", "f"}
		caches := []*tier.Cache[string]{view[string](t, f.process(), "docs"), view[string](t, f.process(), "docs")}
		for round := range 5 {
			var done sync.WaitGroup
			var origin batches
			for i := range 20 {
				own := make([]string, len(keys))
				for j, k := range keys {
					own[j] = fmt.Sprintf("%s%d", k, round)
				}
				slices.Reverse(own[:1+i%6])
				done.Go(func() {
					got, err := caches[i%2].GetMany(t.Context(), own, origin.load)
					assert.NoError(t, err)
					assert.Equal(t, many(own...), got)
				})
			}
			done.Wait()
			loaded := 0
			for _, keys := range origin.asked {
				loaded += len(keys)
			}
			assert.Equal(t, len(keys), loaded, "each key once in the fleet: %v", origin.asked)
		}
	})
}

func TestACallerThatLeavesAGetManyIsAnsweredAtOnce(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		c := view[string](t, f.process(), "docs")
		require.NoError(t, c.Set(t.Context(), "there", "v of there"))
		ctx, cancel := context.WithCancel(t.Context())
		ended, began := make(chan struct{}), time.Now()
		go func() { synctest.Wait(); cancel() }()
		got, err := c.GetMany(ctx, []string{"there", "a", "b", "a", "there"}, func(ctx context.Context, _ []string, _ tier.Entries) (map[string]string, error) {
			<-ctx.Done()
			close(ended)
			return nil, ctx.Err()
		})
		assert.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, many("there"), got)
		<-ended
		assert.Zero(t, time.Since(began), "the loader's context ends too")
	})
}

func TestGetManyTakesTheOptionsOfARead(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		// b learns of changes by its own requests alone.
		sa, sb := f.process(), f.process(tier.WithHeartbeat(time.Hour), tier.WithMaxStaleness(3*time.Hour))
		b := view[string](t, sb, "docs")
		keys := []string{"x", "y"}
		var origin batches
		for i := range 10 {
			_, err := b.GetMany(t.Context(), keys, origin.load)
			require.NoError(t, err)
			_, err = sa.InvalidateSource(t.Context(), "of x")
			require.NoError(t, err)
			_, err = b.GetMany(t.Context(), keys, origin.load, tier.Fresh())
			require.NoError(t, err)
			assert.Len(t, origin.asked, 2+i)
		}
		filled(t, sb, 12)
		hits := sb.Stats().LocalHits
		_, err := b.GetMany(t.Context(), keys, noStrings, tier.NoLocal())
		require.NoError(t, err)
		assert.Equal(t, hits, sb.Stats().LocalHits)
		_, err = b.GetMany(t.Context(), keys, noStrings, nil)
		require.NoError(t, err)
	})
}
