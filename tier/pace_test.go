package tier_test

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// goroutine names the one that calls it.
func goroutine() string {
	var b [64]byte
	name, _, _ := bytes.Cut(b[:runtime.Stack(b[:], false)], []byte(" ["))
	return string(name)
}

// quick has c believe that its loads are quick, as sixteen of them have it.
func quick[V any](t *testing.T, c *tier.Cache[V]) {
	t.Helper()
	for i := range 16 {
		_, err := c.Get(bg, fmt.Sprint("quick ", i), is(*new(V)))
		require.NoError(t, err)
	}
}

// loadsHere reports whether a caller with ctx runs the loader itself.
func loadsHere(t *testing.T, ctx context.Context, c *tier.Cache[int], key string, load tier.Loader[int]) bool {
	t.Helper()
	by := ""
	_, err := c.Get(ctx, key, func(ctx context.Context, e *tier.Entry) (int, error) {
		by = goroutine()
		return load(ctx, e)
	})
	require.NoError(t, err)
	return by == goroutine()
}

// Guard: each condition of mayRunHere.
func TestWhoCannotLeaveRunsAQuickLoaderItself(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c := view[int](t, s, "docs")
		for i := range 16 {
			require.False(t, loadsHere(t, bg, c, strconv.Itoa(i), is(1)))
		}
		require.True(t, loadsHere(t, bg, c, "16", is(1)))
		require.False(t, loadsHere(t, t.Context(), c, "17", is(1)), "it may leave")
		_, err := c.GetMany(bg, []string{"18", "19"}, func(_ context.Context, keys []string, _ tier.Entries) (map[string]int, error) {
			require.Contains(t, string(stack()), "TestWhoCannotLeave")
			return map[string]int{"18": 1, "19": 2}, nil
		})
		require.NoError(t, err)
		require.False(t, loadsHere(t, bg, view[int](t, s, "others"), "k", is(1)), "of which nothing is known")
	})
}

func TestWhatIsRenewedInTheBackgroundIsLoadedInAGoroutineOfItsOwn(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		c := view[int](t, f.process(), "docs", tier.WithStaleWhileRevalidate(time.Hour))
		quick(t, c)
		find(t, c, "k", is(1))
		time.Sleep(time.Hour + time.Minute)
		by := make(chan []byte, 1)
		r, err := c.Lookup(bg, "k", func(context.Context, *tier.Entry) (int, error) { by <- stack(); return 2, nil })
		require.NoError(t, err)
		require.True(t, r.Stale)
		require.NotContains(t, string(<-by), "flyOne", "Close waits for that goroutine")
	})
}

func TestWhoMayBeServedWhatIsStaleMeanwhileDoesNotLoad(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		c := view[int](t, f.process(), "docs", tier.WithStaleOnError(time.Hour), tier.WithSoftTimeout(time.Second))
		quick(t, c)
		require.False(t, loadsHere(t, bg, c, "k", is(1)))
	})
}

func TestLoadersThatWereSlowOrPanickedAreNotCalledQuick(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		c := view[int](t, f.process(), "docs")
		quick(t, c)
		require.True(t, loadsHere(t, bg, c, "slow", func(context.Context, *tier.Entry) (int, error) {
			time.Sleep(101 * time.Microsecond)
			return 1, nil
		}))
		for i := range 4 {
			require.False(t, loadsHere(t, bg, c, strconv.Itoa(i), is(1)))
		}
		require.True(t, loadsHere(t, bg, c, "k", is(1)))
		_, err := c.Get(bg, "l", func(context.Context, *tier.Entry) (int, error) { panic("boom") })
		var p *tier.LoadPanic
		require.ErrorAs(t, err, &p)
		require.Equal(t, "boom", p.Value)
		require.False(t, loadsHere(t, bg, c, "l", is(1)))
	})
}

func stack() []byte {
	b := make([]byte, 64<<10)
	return b[:runtime.Stack(b, false)]
}

// All but the caller who runs it are freed of a loader that hangs.
func TestALoaderThatItsCallerRunsHoldsUpNobodyElse(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		s := f.process()
		c := view[int](t, s, "docs", tier.WithLoadTimeout(time.Second))
		quick(t, c)
		begun, goOn, ended := make(chan struct{}), make(chan struct{}), make(chan error)
		go func() {
			_, err := c.Get(bg, "k", func(context.Context, *tier.Entry) (int, error) { close(begun); <-goOn; return 1, nil })
			ended <- err
		}()
		<-begun
		brief, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err := c.Get(brief, "k", is(2))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		at := time.Now()
		_, err = c.Get(bg, "k", is(2))
		require.ErrorIs(t, err, context.DeadlineExceeded, "that of the load")
		require.Equal(t, 999*time.Millisecond, time.Since(at))
		require.Equal(t, 3, find(t, c, "k", is(3)).Value, "nor is its lease left")
		require.False(t, loadsHere(t, bg, c, "l", is(1)), "it is not called quick any more")
		at = time.Now()
		require.NoError(t, s.Close())
		require.Equal(t, 5*time.Second, time.Since(at), "which is for how long loaders are waited for")
		close(goOn)
		require.ErrorIs(t, <-ended, context.DeadlineExceeded)
	})
}

// A loader that calls Goexit ends who runs it, and the others are told.
func TestACallerWhoseLoaderCallsGoexitLeavesNobodyWaiting(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		c := view[int](t, f.process(), "docs")
		quick(t, c)
		begun, goOn, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = c.Get(bg, "k", func(context.Context, *tier.Entry) (int, error) { close(begun); <-goOn; runtime.Goexit(); return 0, nil })
			t.Error("it was to be ended")
		}()
		<-begun
		told := make(chan error)
		go func() { _, err := c.Get(bg, "k", is(2)); told <- err }()
		synctest.Wait()
		close(goOn)
		var p *tier.LoadPanic
		require.ErrorAs(t, <-told, &p)
		<-ended
		synctest.Wait() // until the lease has been given up
		at := time.Now()
		require.Equal(t, 3, find(t, c, "k", is(3)).Value)
		require.Zero(t, time.Since(at), "no lease is left")
	})
}

// Who runs a loader has his answer before the lease is given up for which there is
// nothing to store.
func TestWhoRunsALoaderDoesNotWaitForTheLeasesRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hooks := &interpose.Backend{Inner: remote.NewEmbedded(0)}
		s, err := tier.Open(t.Context(), tier.WithRemote(hooks))
		require.NoError(t, err)
		c := view[int](t, s, "docs", tier.WithNegativeTTL(0))
		quick(t, c)
		released, goOn := false, make(chan struct{})
		hooks.Before(func(op interpose.Op) error {
			if op == interpose.Release {
				<-goOn
				released = true
			}
			return nil
		})
		_, err = c.Get(bg, "k", fails[int](tier.ErrNotFound))
		require.ErrorIs(t, err, tier.ErrNotFound)
		require.False(t, released)
		close(goOn)
		require.NoError(t, s.Close())
		require.True(t, released)
	})
}

// Nor those who wait for a load that he shared beside it.
func TestAGetManyWhoseLoaderCallsGoexitLeavesWhatItShares(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		c := view[int](t, f.process(), "docs")
		quick(t, c)
		ctx, cancel := context.WithCancel(bg)
		told := make(chan error, 1)
		go func() {
			_, _ = c.Get(ctx, "k", func(ctx context.Context, _ *tier.Entry) (int, error) {
				<-ctx.Done()
				told <- context.Cause(ctx)
				return 0, ctx.Err()
			})
		}()
		synctest.Wait()
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			_, _ = c.GetMany(bg, []string{"k", "l"}, func(context.Context, []string, tier.Entries) (map[string]int, error) {
				runtime.Goexit()
				return nil, nil
			})
		}()
		<-gone
		cancel()
		synctest.Wait()
		require.Len(t, told, 1, "the last who waited has left")
	})
}
