package coherence

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/internal/zipf"
	"github.com/tiercache/tiercache/tier"
)

// What a process that joins a fleet has of its local tier, with and without a warm start, in figures: see TestReconnectFigures.
const (
	warmFleet   = 4
	warmKeys    = 20_000
	warmEntries = 5_000 // in each local tier
	warmReads   = 2_000 // a second, of each process
)

var warmValue = string(make([]byte, 1<<10))

func TestWarmStartFigures(t *testing.T) {
	if os.Getenv("TIERCACHE_RECONNECT") == "" {
		t.Skip("prints figures; TIERCACHE_RECONNECT=folder runs it (make reconnect)")
	}
	s := valkeytest.Start(t)
	fillWarm(t, s.URL())
	var fleet []*warmRun
	for range warmFleet {
		fleet = append(fleet, newWarmRun(t, s.URL(), tier.WithWarmStart(warmEntries)))
	}
	var left bool
	require.Eventually(t, func() bool {
		n, err := s.Do(t, "EXISTS", "p:{p}:warm").AsInt64()
		left = err == nil && n == 1
		return left
	}, patience, 100*time.Millisecond)
	steady := fleet[0].rate(5 * time.Second)
	fmt.Println("| a process joins a fleet of 4 | local hits, in each half second after Open | steady | loads of what the fleet has |")
	fmt.Println("|---|---|---|---|")
	for _, kind := range []struct {
		name    string
		options []tier.Option
	}{{"as it is", nil}, {"`WithWarmStart(5000)`", []tier.Option{tier.WithWarmStart(warmEntries)}}} {
		r := newWarmRun(t, s.URL(), kind.options...)
		line := ""
		for range 6 {
			line += fmt.Sprintf("%.0f %%, ", r.rate(500*time.Millisecond))
		}
		fmt.Printf("| %s | %s | %.0f %% | %d |\n", kind.name, line[:len(line)-2], steady, r.loads.Load())
	}
}

// fillWarm has all keys loaded and stored, so that each later load is of what the fleet has.
func fillWarm(t *testing.T, url string) {
	s, c := openWarm(t, url, tier.WithLocalEntries(1))
	defer s.Close()
	keys := make([]string, warmKeys)
	for i := range keys {
		keys[i] = strconv.Itoa(i)
	}
	load := func(_ context.Context, keys []string, _ tier.Entries) (map[string]string, error) {
		all := make(map[string]string, len(keys))
		for _, k := range keys {
			all[k] = warmValue
		}
		return all, nil
	}
	_, err := c.GetMany(t.Context(), keys, load)
	require.NoError(t, err)
	require.NoError(t, s.Drain(t.Context()))
	require.Equal(t, int64(warmKeys), s.Stats().Fills)
}

func openWarm(t *testing.T, url string, options ...tier.Option) (*tier.Store, *tier.Cache[string]) {
	s, err := tier.Open(t.Context(), append([]tier.Option{tier.WithValkey(url), tier.WithPrefix("p"), tier.WithLocalEntries(warmEntries),
		tier.WithRemoteTimeout(2 * time.Second), tier.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil)))}, options...)...)
	require.NoError(t, err)
	c, err := tier.New[string](s, "docs")
	require.NoError(t, err)
	return s, c
}

// warmRun is a process that reads until the test ends.
type warmRun struct {
	store *tier.Store
	reads atomic.Int64
	loads atomic.Int64
}

func newWarmRun(t *testing.T, url string, options ...tier.Option) *warmRun {
	s, c := openWarm(t, url, options...)
	r := &warmRun{store: s}
	ctx, cancel := context.WithCancel(context.Background())
	law := zipf.New(warmKeys, 1)
	var reading sync.WaitGroup
	for i := range 2 {
		reading.Go(func() {
			rng := rand.New(rand.NewPCG(rand.Uint64(), uint64(i)))
			pace := time.NewTicker(10 * time.Millisecond)
			defer pace.Stop()
			for ctx.Err() == nil {
				for range warmReads / 2 / 100 {
					_, _ = c.Get(ctx, strconv.Itoa(law.Draw(rng)), func(context.Context, *tier.Entry) (string, error) {
						r.loads.Add(1)
						return warmValue, nil
					})
					r.reads.Add(1)
				}
				<-pace.C
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		reading.Wait()
		s.Close()
	})
	return r
}

// rate is the share of local hits for some time, in percent.
func (r *warmRun) rate(d time.Duration) float64 {
	hits, reads := r.store.Stats().LocalHits, r.reads.Load()
	timer := time.NewTimer(d)
	<-timer.C
	return 100 * float64(r.store.Stats().LocalHits-hits) / float64(max(r.reads.Load()-reads, 1))
}
