package tier_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tiercache/tiercache/internal/faultproxy"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/tier"
)

// BenchmarkLink reads large values and large batches over a slow link, while eight readers read small values that are there.
// Run it once, since an iteration takes seconds:
//
//	go test -run '^$' -bench Link -benchtime 1x ./tier
//
// "hits" is the share of small reads that the remote tier answered, in percent, "p99" is theirs, and "outages" says how
// often the store was away. "loads" is of the large ones, after they were stored; "seconds" is what one read of them took.
func BenchmarkLink(b *testing.B) {
	for _, link := range []struct {
		name string
		rate int
	}{{"500Mbit", 500_000_000 / 8}, {"50MB", 50_000_000}} {
		for _, kind := range []struct {
			name  string
			keys  int
			bytes int
		}{{"alone", 0, 0}, {"8MiB", 1, 8 << 20}, {"60MiB", 1, 60 << 20}, {"1000x10kB", 1000, 10_000}, {"50000keys", 50_000, 100}} {
			b.Run(link.name+"/"+kind.name, func(b *testing.B) { overLink(b, link.rate, kind.keys, kind.bytes) })
		}
	}
}

func overLink(b *testing.B, rate, keys, bytes int) {
	const readers, small = 8, 256
	server := valkeytest.Start(b)
	proxy, err := faultproxy.Start(server.Addr, 1)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(proxy.Close)
	ctx := b.Context()
	s, err := tier.Open(ctx, tier.WithValkey("valkey://"+proxy.Addr()), tier.WithLogger(slog.New(slog.DiscardHandler)), tier.WithObserver(func(e tier.Event) {
		if e.Err != nil && testing.Verbose() {
			b.Log(e.Kind, e.Took, e.Err)
		}
	}))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	ones, many := benchView[string](b, s, "small"), benchView[string](b, s, "large")
	beside := openBench(b, "tiercache", tier.WithValkey(server.URL()))
	fillWith(b, benchView[string](b, beside, "small"), benchKeys(small), func(i int) string { return blob(i, 200) })
	names := make([]string, keys)
	for i := range names {
		names[i] = fmt.Sprint("large-", i)
	}
	loads, value := 0, strings.Repeat("v", bytes)
	read := func() {
		switch keys {
		case 0:
			select {
			case <-ctx.Done():
			case <-time.After(3 * time.Second):
			}
		case 1:
			v, err := many.Get(ctx, names[0], func(context.Context, *tier.Entry) (string, error) {
				loads++
				return value, nil
			}, tier.NoLocal())
			if err != nil || len(v) != bytes {
				b.Error(err, len(v))
			}
		default:
			found, err := many.GetMany(ctx, names, func(_ context.Context, keys []string, _ tier.Entries) (map[string]string, error) {
				loads += len(keys)
				all := make(map[string]string, len(keys))
				for _, k := range keys {
					all[k] = value
				}
				return all, nil
			}, tier.NoLocal())
			if err != nil || len(found) != keys {
				b.Error(err, len(found))
			}
		}
	}
	proxy.Throttle(faultproxy.ToClient, rate)
	proxy.Throttle(faultproxy.ToServer, rate)
	if keys > 0 { // loaded, and stored as far as it can be
		read()
		awaitQuiet(b, s)
	}
	b.ResetTimer()
	for b.Loop() {
		r := startReaders(ctx, b, ones, readers, small)
		loads = 0
		n := 0
		begun := time.Now()
		for ; n == 0 || time.Since(begun) < 3*time.Second; n++ {
			read()
		}
		took := time.Since(begun)
		r.report(b)
		b.ReportMetric(float64(loads), "loads")
		b.ReportMetric(took.Seconds()/float64(n), "seconds")
		b.ReportMetric(float64(s.Stats().Outages), "outages")
	}
}

// awaitQuiet returns when no fill has ended for a while, or after a minute.
func awaitQuiet(b *testing.B, s *tier.Store) {
	fills := func() int64 { all := s.Stats().Counts; return all.Fills + all.FillErrors + all.Fenced }
	last, since := fills(), time.Now()
	for begun := time.Now(); time.Since(begun) < time.Minute && time.Since(since) < 3*time.Second; {
		<-time.After(50 * time.Millisecond)
		if n := fills(); n != last {
			last, since = n, time.Now()
		}
	}
}

// smallReads are reads of small values that are there.
type smallReads struct {
	stop    context.CancelFunc
	running sync.WaitGroup
	misses  atomic.Int64

	mu   sync.Mutex // guards took
	took []time.Duration
}

func startReaders(ctx context.Context, b *testing.B, c *tier.Cache[string], readers, keys int) *smallReads {
	ctx, stop := context.WithCancel(ctx)
	r, names := &smallReads{stop: stop}, benchKeys(keys)
	for reader := range readers {
		r.running.Go(func() {
			pause := time.NewTicker(2 * time.Millisecond)
			defer pause.Stop()
			var took []time.Duration
			for i := reader; ctx.Err() == nil; i++ {
				begun := time.Now()
				_, err := c.Get(context.Background(), names[i%keys], func(context.Context, *tier.Entry) (string, error) {
					r.misses.Add(1)
					return blob(i%keys, 200), nil
				}, tier.NoLocal())
				took = append(took, time.Since(begun))
				if err != nil {
					b.Error(err)
				}
				select {
				case <-pause.C:
				case <-ctx.Done():
				}
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.took = append(r.took, took...)
		})
	}
	return r
}

func (r *smallReads) report(b *testing.B) {
	r.stop()
	r.running.Wait()
	slices.Sort(r.took)
	n := len(r.took)
	b.ReportMetric(100-100*float64(r.misses.Load())/float64(n), "hits")
	b.ReportMetric(float64(r.took[n*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(float64(r.took[n/2].Microseconds())/1000, "p50-ms")
}
