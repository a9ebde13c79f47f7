package evict

import (
	"bytes"
	"log/slog"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier/internal/record"
)

// told returns a queue and items of a kind whose function is f.
func told(t *testing.T, f func(v int, why local.Reason)) (q *Queue, item func(v int) *record.Item, log *bytes.Buffer) {
	t.Helper()
	log = &bytes.Buffer{}
	q = &Queue{Logger: slog.New(slog.NewTextHandler(log, nil))}
	kind := record.NewKind[int]("docs")
	kind.Left = new(atomic.Pointer[record.LeftFunc])
	left := func(it *record.Item, why local.Reason) { f(*record.ValueIn[int](it), why) }
	kind.Left.Store(&left)
	return q, func(v int) *record.Item { return record.NewItemOf(kind, v) }, log
}

func TestEachValueIsToldOfOnceInItsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []int
		q, item, _ := told(t, func(v int, why local.Reason) {
			require.Equal(t, local.Expired, why)
			got = append(got, v)
		})
		q.Wait() // for nothing
		for round := range 3 {
			for i := range 1000 {
				q.Add(item(1000*round+i), local.Expired)
			}
			q.Wait()
			require.Len(t, got, 1000*(round+1))
			require.IsIncreasing(t, got)
		}
	})
}

func TestAFunctionThatPanicsOrExitsEndsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		q, item, log := told(t, func(v int, _ local.Reason) {
			switch n++; v {
			case 0:
				panic("the value")
			case 1:
				runtime.Goexit()
			}
		})
		for i := range 30 {
			q.Add(item(i%3), local.Evicted)
		}
		q.Wait()
		require.Equal(t, 30, n)
		require.Contains(t, log.String(), "the function of WithOnEvict panicked")
		require.NotContains(t, log.String(), "the value")
	})
}

// A function may wait for what adds to the queue: that waits for no function.
func TestAddWaitsForNoFunction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		goOn, n := make(chan struct{}), 0
		q, item, _ := told(t, func(int, local.Reason) { <-goOn; n++ })
		for i := range 100 {
			q.Add(item(i), local.Replaced)
		}
		synctest.Wait()
		require.Zero(t, n)
		close(goOn)
		q.Wait()
		require.Equal(t, 100, n)
	})
}
