package tier_test

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/tier"
)

// Guard: a source changes and is invalidated again and again while a value made from it is read, by each way in which a
// value is loaded or renewed. No read that begins after an invalidation has returned is answered from before it.
// TIERCACHE_SOAK=1 has 100,000 invalidations race with each.
func TestI5InvalidationsRaceWithEveryWayToLoad(t *testing.T) {
	rounds := int64(100)
	if os.Getenv("TIERCACHE_SOAK") != "" {
		rounds = 100_000
	}
	short := tier.WithTTL(time.Millisecond)
	hour := time.Hour
	for name, w := range map[string]struct {
		options       []tier.CacheOption
		fails, leaves bool
		batch, forces bool
		discards      bool
	}{
		"a miss":                          {},
		"a batch":                         {batch: true},
		"Refresh":                         {forces: true},
		"an early refresh":                {options: []tier.CacheOption{tier.WithEarlyRefresh(1e-9)}},
		"an early refresh of a batch":     {options: []tier.CacheOption{tier.WithEarlyRefresh(1e-9)}, batch: true},
		"while revalidating":              {options: []tier.CacheOption{short, tier.WithStaleWhileRevalidate(hour)}},
		"while revalidating, remote only": {options: []tier.CacheOption{short, tier.WithStaleWhileRevalidate(hour), tier.WithRemoteOnly()}, batch: true},
		"on error":                        {options: []tier.CacheOption{short, tier.WithStaleOnError(hour), tier.WithRetryAfter(time.Millisecond, time.Millisecond)}, fails: true},
		"soft timeout":                    {options: []tier.CacheOption{short, tier.WithStaleOnError(hour), tier.WithSoftTimeout(time.Millisecond)}},
		"detached":                        {options: []tier.CacheOption{tier.WithDetachedLoads()}, leaves: true},
		"local only":                      {options: []tier.CacheOption{short, tier.WithStaleWhileRevalidate(hour), tier.WithLocalOnly()}},
		"not stored":                      {options: []tier.CacheOption{short, tier.WithStaleWhileRevalidate(hour)}, discards: true},
	} {
		t.Run(name, func(t *testing.T) {
			f := embeddedFleet(t, nil)
			s := f.process(tier.WithMaxLoads(4))
			c := view[int64](t, s, "docs", w.options...)
			var source, runs, reads, old atomic.Int64
			load := func(_ context.Context, e *tier.Entry) (int64, error) {
				n := runs.Add(1)
				v := source.Load()
				e.DependsOn("doc")
				if w.fails && n%2 == 0 {
					return 0, errOrigin
				}
				if w.discards && n%2 == 0 {
					e.DoNotStore()
				}
				return v, nil
			}
			many := func(ctx context.Context, _ []string, e tier.Entries) (map[string]int64, error) {
				v, err := load(ctx, e.For("k"))
				return map[string]int64{"k": v}, err
			}
			var invalidated atomic.Int64
			var all sync.WaitGroup
			stop, read := make(chan struct{}), make(chan struct{}, 1)
			for range 4 {
				all.Go(func() {
					for i := 0; ; i++ {
						select {
						case <-stop:
							return
						default:
						}
						ctx, cancel := context.WithCancel(context.Background())
						if w.leaves {
							ctx, cancel = context.WithTimeout(context.Background(), time.Duration(i%20)*10*time.Microsecond)
						}
						from := invalidated.Load()
						var v int64
						var err error
						switch {
						case w.forces && i%3 == 0:
							v, err = c.Refresh(ctx, "k", load)
						case w.batch:
							var got map[string]int64
							got, err = c.GetMany(ctx, []string{"k"}, many)
							v = got["k"]
						default:
							v, err = c.Get(ctx, "k", load)
						}
						cancel()
						reads.Add(1)
						select {
						case read <- struct{}{}:
						default:
						}
						switch {
						case err == nil && v < from:
							old.Add(1)
						case err != nil && !errors.Is(err, errOrigin) && ctx.Err() == nil:
							t.Error(err)
						}
					}
				})
			}
			for range rounds {
				v := source.Add(1)
				_, err := s.InvalidateSource(context.Background(), "doc")
				require.NoError(t, err)
				invalidated.Store(v)
				<-read // each races with a read at least
			}
			close(stop)
			all.Wait()
			t.Logf("%d invalidations, %d reads, %d loads, %d answered from before an invalidation", rounds, reads.Load(), runs.Load(), old.Load())
			require.Zero(t, old.Load())
			require.Positive(t, runs.Load())
		})
	}
}
