package record

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
//	the invalidation of a change suspends the copy, between A's look and its store
func TestASuspensionIsNotUndone(t *testing.T) {
	const rounds = 100_000
	items, k := make([]*Item, rounds), NewKind[string](nil)
	for i := range items {
		items[i] = NewItemOf(k, "")
		f := items[i].Meta()
		f.Fresh, f.Expires = mono.Now().Add(time.Hour), mono.Now().Add(time.Hour)
		f.Provisional.Store(int64(f.Fresh))
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
			it.Plan(0)
		}
	})
	both.Go(func() {
		var soon atomic.Int64
		for i, it := range items {
			inStep(i)
			for range i % 32 { // now before the look, now after the store, and sometimes between them
				soon.Add(1)
			}
			it.Suspend()
		}
	})
	both.Wait()
	for _, it := range items {
		require.Equal(t, int64(math.MinInt64), it.Check.Load())
	}
}
