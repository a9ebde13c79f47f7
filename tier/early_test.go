package tier_test

import (
	"context"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/tier"
)

// Guard: early refreshes keep readers from waiting, for little more than one load a TTL, though a load takes
// up to 5 % of that: 100 readers in a fleet of 4, for 100 TTLs.
func TestEarlyRefreshesCostLittleMoreThanOneLoadATTL(t *testing.T) {
	const ttl, periods, readers = 100 * time.Second, 100, 100
	every := 10 * time.Second // a reader's
	if os.Getenv("TIERCACHE_SOAK") != "" {
		every = time.Second
	}
	for name, share := range map[string]float64{"by the load time": 0.99, "by share": 0.9} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := embeddedFleet(t, nil)
				var loads, reads, foreground atomic.Int64
				load := counted(&loads, func(context.Context, *tier.Entry) (string, error) {
					time.Sleep(ttl / 100 * time.Duration(1+rand.N(5)))
					return "v", nil
				})
				var caches []*tier.Cache[string]
				for range 4 {
					s := f.process(tier.WithHeartbeat(time.Hour), tier.WithMaxStaleness(2*time.Hour))
					caches = append(caches, view[string](t, s, "docs", tier.WithTTL(ttl), tier.WithEarlyRefresh(share)))
				}
				find(t, caches[0], "k", load)
				end := time.Now().Add(periods * ttl)
				var all sync.WaitGroup
				for i := range readers {
					c := caches[i%4]
					all.Go(func() {
						for time.Sleep(rand.N(every)); time.Now().Before(end); time.Sleep(every/2 + rand.N(every)) {
							r, err := c.Lookup(context.Background(), "k", load)
							assert.NoError(t, err)
							reads.Add(1)
							if r.Origin == tier.Loaded {
								foreground.Add(1)
							}
						}
					})
				}
				all.Wait()
				t.Logf("%d reads, %d of them waited for a load; %d loads in %d TTLs", reads.Load(), foreground.Load(), loads.Load(), periods)
				require.LessOrEqual(t, 1000*foreground.Load(), reads.Load())
				require.LessOrEqual(t, 10*loads.Load(), int64(12*periods))
			})
		})
	}
}
