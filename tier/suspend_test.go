package tier

import (
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/mono"
)

// Guard: plan looks again.
//
//	A: serves a copy whose write is under way, and plans anew as it refreshes it early
//	the notice of a change suspends the copy, between A's look and its store
func TestASuspensionIsNotUndone(t *testing.T) {
	const rounds = 100_000
	items := make([]*item, rounds)
	for i := range items {
		items[i] = newItemOf("")
		items[i].fresh, items[i].expires = mono.Now().Add(time.Hour), mono.Now().Add(time.Hour)
		items[i].provisional.Store(int64(items[i].fresh))
	}
	var both sync.WaitGroup
	var ready atomic.Int64
	inStep := func(i int) {
		for ready.Add(1); ready.Load() < 2*int64(i+1); {
			runtime.Gosched()
		}
	}
	both.Go(func() {
		for i, it := range items {
			inStep(i)
			it.plan(&cacheConfig{})
		}
	})
	both.Go(func() {
		for i, it := range items {
			inStep(i)
			it.suspend()
		}
	})
	both.Wait()
	for _, it := range items {
		require.Equal(t, int64(math.MinInt64), it.check.Load())
	}
}
