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
