package tier_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier"
)

// leavers notes what WithOnEvict tells of.
type leavers struct {
	mu  sync.Mutex
	all []string
}

func (l *leavers) option() tier.CacheOption {
	return tier.WithOnEvict(func(key, v string, why local.Reason) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.all = append(l.all, key+" "+v+" "+why.String())
	})
}

// told returns what was told since it was called before.
func (l *leavers) told() []string {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.all
	l.all = nil
	return all
}

func TestValuesThatLeaveALocalOnlyViewAreToldOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := embeddedFleet(t, nil)
		s, other := f.process(tier.WithLocalEntries(2)), f.process()
		var l leavers
		ctx, only := t.Context(), tier.WithLocalOnly()
		c := view[string](t, s, "docs", only, l.option(), tier.WithTTL(time.Minute))
		quiet := view[string](t, s, "quiet", only)

		find(t, c, "k", is("1", "doc"))
		find(t, c, "k", unneeded)
		require.Empty(t, l.told())
		require.NoError(t, c.Set(ctx, "k", "2", tier.WithSources("doc")))
		require.Equal(t, []string{"k 1 replaced"}, l.told())
		_, err := c.Refresh(ctx, "k", is("3", "doc"))
		require.NoError(t, err)
		require.Equal(t, []string{"k 2 replaced"}, l.told())
		require.NoError(t, c.Delete(ctx, "k", "absent"))
		require.Equal(t, []string{"k 3 removed"}, l.told())

		find(t, c, "k", is("4", "doc"))
		_, err = other.InvalidateSource(ctx, "doc")
		require.NoError(t, err)
		f.sync()
		find(t, c, "k", is("5", "doc"))
		require.Equal(t, []string{"k 4 invalidated"}, l.told())
		_, err = other.InvalidateNamespace(ctx, "docs")
		require.NoError(t, err)
		time.Sleep(swept)
		require.Equal(t, []string{"k 5 invalidated"}, l.told())

		find(t, c, "k", is("6"))
		time.Sleep(time.Minute + swept)
		require.Equal(t, []string{"k 6 expired"}, l.told())
		find(t, c, "k", is("7"))
		time.Sleep(time.Minute)
		find(t, c, "k", is("8"))
		require.Equal(t, []string{"k 7 replaced"}, l.told())

		find(t, quiet, "a", is("x"))
		find(t, quiet, "b", is("x"))
		require.Equal(t, []string{"k 8 evicted"}, l.told())

		// What was never kept belongs to its callers.
		find(t, c, "k", func(_ context.Context, e *tier.Entry) (string, error) { e.DoNotStore(); return "9", nil })
		find(t, c, "k", func(_ context.Context, e *tier.Entry) (string, error) { e.SetCost(1 << 40); return "10", nil })
		_, err = c.Get(ctx, "none", fails[string](tier.ErrNotFound))
		require.ErrorIs(t, err, tier.ErrNotFound)
		require.Empty(t, l.told())
		require.NoError(t, c.Set(ctx, "k", "11"))
		require.NoError(t, c.Delete(ctx, "none"))
		require.NoError(t, s.Close())
		require.Equal(t, []string{"k 11 cleared"}, l.told(), "not of what is not found")
		require.ErrorIs(t, c.Set(ctx, "k", "12"), tier.ErrClosed)
	})
}

// A caller's own value past its TTL, which is given instead of an error, may leave while the load runs.
func TestAValueThatHasLeftIsServedOnNoError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l leavers
		c := view[string](t, embeddedFleet(t, nil).process(), "docs", tier.WithLocalOnly(), l.option(), tier.WithTTL(time.Second), tier.WithStaleOnError(time.Hour))
		find(t, c, "k", is("1"))
		time.Sleep(2 * time.Second)
		goOn, read := make(chan struct{}), make(chan error)
		get := func() {
			_, err := c.Get(t.Context(), "k", func(context.Context, *tier.Entry) (string, error) { <-goOn; return "", errOrigin })
			read <- err
		}
		go get()
		synctest.Wait()
		goOn <- struct{}{}
		require.NoError(t, <-read)
		time.Sleep(time.Minute) // the pause after the failure is over
		go get()
		synctest.Wait()
		require.NoError(t, c.Delete(t.Context(), "k"))
		require.Equal(t, []string{"k 1 removed"}, l.told())
		close(goOn)
		require.ErrorIs(t, <-read, errOrigin)
	})
}

func TestTheFunctionOfWithOnEvictMayDoAnything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		s := embeddedFleet(t, nil).process(tier.WithLogger(j.logger()))
		var c *tier.Cache[string]
		var told []string
		c = view[string](t, s, "docs", tier.WithLocalOnly(), tier.WithOnEvict(func(key, v string, _ local.Reason) {
			told = append(told, v)
			switch v {
			case "panics":
				panic(key)
			case "exits":
				runtime.Goexit()
			case "reads":
				found := find(t, c, key, unneeded)
				assert.Contains(t, []string{"closes", "last"}, found.Value, "what was set meanwhile")
				assert.NoError(t, c.Set(context.Background(), "other", "v"))
			case "closes":
				assert.ErrorContains(t, s.Close(), "call it in another goroutine")
			}
		}))
		for _, v := range []string{"panics", "exits", "reads", "closes", "last"} {
			require.NoError(t, c.Set(t.Context(), "the key", v))
		}
		synctest.Wait()
		require.Equal(t, []string{"panics", "exits", "reads", "closes"}, told[:4])
		require.Contains(t, j.String(), "the function of WithOnEvict panicked")
		require.NotContains(t, j.String(), "the key")
		require.NoError(t, s.Close())
		require.ElementsMatch(t, []string{"last", "v"}, told[4:])
	})
}

// Close waits until all have been told of, by a function that takes a while.
func TestCloseWaitsForTheFunctionOfWithOnEvict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embeddedFleet(t, nil).process()
		n := 0
		c := view[string](t, s, "docs", tier.WithLocalOnly(), tier.WithOnEvict(func(string, string, local.Reason) { time.Sleep(time.Second); n++ }))
		for i := range 10 {
			find(t, c, strconv.Itoa(i), is("v"))
		}
		require.NoError(t, s.Close())
		require.Equal(t, 10, n)
	})
}

func TestWithOnEvictIsForLocalOnlyViewsOfOneType(t *testing.T) {
	s := embeddedFleet(t, nil).process()
	only := tier.WithLocalOnly()
	refused := func(message string, options ...tier.CacheOption) {
		t.Helper()
		_, err := tier.New[string](s, "docs", options...)
		require.ErrorContains(t, err, message)
	}
	refused("WithOnEvict has a func(string, []uint8, local.Reason), which is not told of values of type string",
		only, tier.WithOnEvict(func(string, []byte, local.Reason) {}))
	refused("WithOnEvict: the function is nil", only, tier.WithOnEvict[string](nil))
	refused("WithOnEvict without WithLocalOnly", tier.WithOnEvict(func(string, string, local.Reason) {}))

	var first, second leavers
	a := view[string](t, s, "docs", only, first.option())
	refused("they must agree in type, codec, WithSchema, WithLocalOnly and WithOnEvict: one with values of type string, WithLocalOnly and WithOnEvict is in use, this one has values of type string, WithLocalOnly;", only)
	find(t, a, "k", is("v"))
	b := view[string](t, s, "docs", only, second.option())
	find(t, b, "k", unneeded)
	runtime.KeepAlive(a)
	require.NoError(t, s.Close())
	require.Empty(t, first.all)
	require.Equal(t, []string{"k v cleared"}, second.all, "the function of the latest view is called")
}

// Each value that the local tier has had is told of once, and given to no read that begins afterwards, while values are
// set, loaded, refreshed, deleted, invalidated and evicted, and the store is closed. TIERCACHE_RACES sets how many are made
// (make races: 100,000).
func TestRaceValuesThatLeave(t *testing.T) {
	most := max(5000, rounds(t))
	f := embeddedFleet(t, nil)
	s, other := f.process(tier.WithLocalEntries(60), tier.WithHeartbeat(5*time.Millisecond)), f.process()
	times := make([]atomic.Int32, most+1)
	at := make([]atomic.Int64, most+1) // by clock
	kept := make([]atomic.Bool, most+1)
	var clock, made, told, late atomic.Int64
	reasons := make([]atomic.Int64, local.Invalidated+1)
	c := view[int64](t, s, "docs", tier.WithLocalOnly(), tier.WithTTL(2*time.Millisecond), tier.WithStaleWhileRevalidate(20*time.Millisecond),
		tier.WithStaleOnError(50*time.Millisecond), tier.WithOnEvict(func(_ string, v int64, why local.Reason) {
			times[v].Add(1)
			at[v].Store(clock.Add(1))
			reasons[why].Add(1)
			told.Add(1)
		}))
	load := func(_ context.Context, e *tier.Entry) (int64, error) {
		e.DependsOn("doc " + strconv.Itoa(rand.IntN(20)))
		if rand.IntN(20) == 0 {
			return 0, errOrigin
		}
		return min(made.Add(1), most), nil
	}
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			for made.Load() < most {
				key, ctx := strconv.Itoa(rand.IntN(100)), context.Background()
				var err error
				switch rand.IntN(30) {
				case 0:
					err = c.Delete(ctx, key)
				case 1:
					_, err = other.InvalidateSource(ctx, "doc "+strconv.Itoa(rand.IntN(20)))
				case 2, 3:
					_, _ = c.Refresh(ctx, key, load)
				case 4, 5, 6, 7, 8:
					if v := made.Add(1); v < most {
						err = c.Set(ctx, key, v, tier.WithSources("doc"))
						kept[v].Store(err == nil)
					}
				default:
					began := clock.Load()
					v, err := c.Get(ctx, key, load)
					if err == nil && v < most && at[v].Load() != 0 && at[v].Load() <= began {
						late.Add(1)
					}
				}
				if err != nil && !errors.Is(err, tier.ErrClosed) {
					t.Error(err)
				}
			}
		})
	}
	for made.Load() < most*9/10 {
		runtime.Gosched()
	}
	require.NoError(t, s.Close())
	closed := told.Load()
	all.Wait()
	require.Equal(t, closed, told.Load(), "told after Close")
	twice, never := 0, 0
	for v := range most {
		switch n := times[v].Load(); {
		case n > 1:
			twice++
		case n == 0 && kept[v].Load():
			never++
		}
	}
	counts := ""
	for why := range reasons {
		counts += " " + local.Reason(why).String() + " " + strconv.FormatInt(reasons[why].Load(), 10)
	}
	t.Logf("%d values made, %d told of:%s", made.Load(), told.Load(), counts)
	require.Zero(t, twice, "told of twice")
	require.Equal(t, tier.Stored(s), told.Load(), "what the local tier has had")
	require.Zero(t, never, "set and not told of")
	require.Zero(t, late.Load(), "given to a read that began after they were told of")
}

// A value that is set while the store closes is either among those that Close tells of, or refused.
func TestASetWhileTheStoreCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embeddedFleet(t, nil).process()
		var l leavers
		closed := make(chan struct{})
		c := view[string](t, s, "docs", tier.WithLocalOnly(), l.option(), tier.WithSize(func(string) int64 { <-closed; return 1 }))
		set := make(chan error)
		go func() { set <- c.Set(context.Background(), "k", "v") }()
		synctest.Wait() // it is sizing the value
		require.NoError(t, s.Close())
		close(closed)
		require.ErrorIs(t, <-set, tier.ErrClosed)
		require.Zero(t, tier.Stored(s))
		require.Empty(t, l.told())
	})
}
