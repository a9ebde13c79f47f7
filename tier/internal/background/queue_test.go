package background

import (
	"io"
	"log/slog"
	"runtime"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/recovery"
)

func newGroup() *Group {
	return NewGroup(recovery.New(slog.New(slog.NewTextHandler(io.Discard, nil))), func() {})
}

func TestAQueueCallsFunctionsInTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup()
		q := g.NewQueue()
		var got []int
		for i := range 100 {
			require.True(t, q.Add(func() { got = append(got, i) }))
		}
		synctest.Wait()
		require.Len(t, got, 100)
		require.IsIncreasing(t, got)
		g.Close()
		g.Wait() // its goroutine has ended
		require.False(t, q.Add(func() { t.Error("called") }))
	})
}

func TestAQueueGoesOnAfterAFunctionThatEndsItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup()
		q := g.NewQueue()
		n := 0
		q.Add(func() { runtime.Goexit() })
		q.Add(func() { n++ })
		synctest.Wait()
		q.Add(func() { runtime.Goexit() })
		synctest.Wait()
		q.Add(func() { n++ })
		synctest.Wait()
		require.Equal(t, 2, n)
		g.Close()
		g.Wait()
	})
}

func TestAQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup()
		q := g.NewQueue()
		release := make(chan struct{})
		q.Add(func() { <-release })
		synctest.Wait()
		for range mostWaiting {
			require.True(t, q.Add(func() {}))
		}
		require.False(t, q.Add(func() {}))
		close(release)
		synctest.Wait()
		require.True(t, q.Add(func() {}))
		g.Close()
		g.Wait()
	})
}
