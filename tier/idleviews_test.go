package tier_test

import (
	"context"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/tier"
)

// idleAfter is by when a view that nothing is read through takes little memory.
const idleAfter = 32 * time.Second

// idleBytes is the most heap that a namespace takes that was used and is idle, with one view of it, its path, and all else.
const idleBytes = 256

// usedInManyWays has c count in a dozen of its figures.
func usedInManyWays(t *testing.T, c *tier.Cache[int]) {
	find(t, c, "k", is(1))
	find(t, c, "k", unneeded)
	find(t, c, "k", unneeded, tier.NoLocal())
	_, _, err := c.Peek(t.Context(), "absent")
	require.NoError(t, err)
	_, err = c.Get(t.Context(), "missing", func(context.Context, *tier.Entry) (int, error) { return 0, tier.ErrNotFound })
	require.ErrorIs(t, err, tier.ErrNotFound)
	_, err = c.Get(t.Context(), "failing", func(context.Context, *tier.Entry) (int, error) { return 0, errOrigin })
	require.ErrorIs(t, err, errOrigin)
}

// A service may have a view for each of very many tenants, of which few are active.
func TestAnIdleNamespaceTakesFewBytes(t *testing.T) {
	n := 20_000
	switch {
	case raceEnabled: // it has each piece of memory take more, and takes a minute for so many
		n = 500
	case testing.Short():
		n = 4000
	}
	synctest.Test(t, func(t *testing.T) {
		f := embeddedFleet(t, nil)
		s := f.process()
		heap := func() int64 {
			var m runtime.MemStats
			for range 6 { // what cleanups refer to is free one collection later
				runtime.GC()
				time.Sleep(time.Second)
			}
			runtime.ReadMemStats(&m)
			return int64(m.HeapAlloc)
		}
		all := make([]*tier.Cache[int], n)
		before := heap()
		for i := range all {
			all[i] = view[int](t, s, fmt.Sprintf("tenant:%d", i), tier.WithTTL(time.Second))
		}
		unused := heap()
		for _, c := range all {
			usedInManyWays(t, c)
		}
		synctest.Wait() // until all is stored
		used := s.Stats()
		time.Sleep(idleAfter)
		idle := heap()
		require.Equal(t, used.Counts, s.Stats().Counts)
		require.Equal(t, n, len(s.Stats().Namespaces)+s.Stats().Unlisted)
		clear(all)
		for range 100 {
			if len(s.Stats().Namespaces) == 0 {
				break
			}
			heap()
		}
		require.Empty(t, s.Stats().Namespaces)
		gone := heap()
		require.Equal(t, used.Counts, s.Stats().Counts)
		t.Logf("each of %d takes %d bytes before it is used, and %d after that", n, (unused-before)/int64(n), (idle-gone)/int64(n))
		if !raceEnabled {
			require.LessOrEqual(t, (idle-gone)/int64(n), int64(idleBytes))
		}
		runtime.KeepAlive(all)
	})
}

func TestAnIdleViewGoesOnAsIfItHadNotBeen(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c := view[int](t, s, "docs", tier.WithTTL(time.Hour), tier.WithLocalTTL(time.Second))
		usedInManyWays(t, c)
		synctest.Wait()
		before := s.Stats().Namespaces["docs"]
		for range 3 {
			for range 10 {
				time.Sleep(idleAfter / 2)
				runtime.GC()
			}
			require.Equal(t, before, s.Stats().Namespaces["docs"], "it is held")
			_, err := tier.New[string](s, "docs")
			require.ErrorContains(t, err, "must agree", "an idle view is a view")
			require.Equal(t, tier.Remote, find(t, c, "k", unneeded).Origin)
			require.Equal(t, tier.Local, find(t, c, "k", unneeded).Origin)
			after := s.Stats().Namespaces["docs"]
			require.Equal(t, before.Reads()+2, after.Reads())
			require.Equal(t, before.LocalHits+1, after.LocalHits)
			require.NoError(t, c.Set(t.Context(), "k", 1))
			synctest.Wait()
			before = s.Stats().Namespaces["docs"]
		}
		runtime.KeepAlive(c)
	})
}

// What a view warns of is not forgotten while it is idle.
func TestAnIdleViewKeepsWhatItWarnsOf(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c := view[any](t, s, "docs", tier.WithCodec(failingCodec{}))
		_ = c.Set(t.Context(), "k", 1)
		warned := func() bool {
			for _, w := range s.Health(t.Context()).Warnings {
				if strings.Contains(w, "could not be encoded") {
					return true
				}
			}
			return false
		}
		require.True(t, warned())
		for range 10 {
			time.Sleep(idleAfter / 2)
			runtime.GC()
		}
		require.True(t, warned())
		runtime.KeepAlive(c)
	})
}

type failingCodec struct{}

func (failingCodec) Marshal(any) ([]byte, error) { return nil, errOrigin }
func (failingCodec) Unmarshal([]byte, any) error { return errOrigin }
func (failingCodec) Schema(reflect.Type) string  { return "any" }

// A view of another kind is refused as long as one of them is in use, whichever it is.
func TestTheFirstViewOfANamespaceMayBeDropped(t *testing.T) {
	f := embeddedFleet(t, nil)
	s := f.process()
	used(func() { view[int](t, s, "docs") })
	second := view[int](t, s, "docs", tier.WithTTL(time.Minute))
	for range 5 {
		runtime.GC()
		_, err := tier.New[string](s, "docs")
		require.ErrorContains(t, err, "must agree")
	}
	find(t, second, "k", is(1))
	runtime.KeepAlive(second)

	require.NoError(t, view[int](t, s, "docs").Delete(t.Context(), "k"))
	admitted[string](t, s, "docs")
}

// Views are made, used, dropped and idle at the same time: no count is lost.
func TestViewsComeAndGo(t *testing.T) {
	f := embeddedFleet(t, nil)
	s := f.process()
	const goroutines, rounds = 8, 300
	kept := view[int](t, s, "docs:0", tier.WithRemoteOnly())
	find(t, kept, "k", is(1))
	eventually(t, "it is stored", func() bool { return s.Stats().Fills == 1 })
	before := s.Stats().Reads()
	var all sync.WaitGroup
	for range goroutines {
		all.Go(func() {
			for i := range rounds {
				c, err := tier.New[int](s, fmt.Sprint("docs:", i%3), tier.WithRemoteOnly())
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := c.Get(t.Context(), "k", is(1)); err != nil {
					t.Error(err)
				}
				if _, err := kept.Get(t.Context(), "k", is(1)); err != nil {
					t.Error(err)
				}
				if i%20 == 0 {
					tier.CloseIdleViews(s)
					runtime.GC()
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { defer close(done); all.Wait() }()
	for last, running := int64(0), true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		reads := s.Stats().Reads()
		require.GreaterOrEqual(t, reads, last)
		last = reads
	}
	require.Equal(t, before+2*goroutines*rounds, s.Stats().Reads())
	collected(t, "one is left", func() bool { return len(s.Stats().Namespaces) == 1 })
	runtime.KeepAlive(kept)
}
