package tier_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/tier"
)

// BenchmarkFleet has one store of a fleet record changes at a rate, and tells what that takes a server. Run it
// once, since an iteration takes seconds:
//
//	go test -run '^$' -bench Fleet -benchtime 1x ./tier
//
// "server-µs" is the processor time of the server for one change, without what the same fleet takes it when nothing changes.
// "idle-µs" is that, for each store and second, with the staleness bound that the name says. "changes" is how many a second
// were sent, of those that were to be, "failed" says of how many the caller was told that they will be sent again, and "p50-ms" and
// "p99-ms" are what one took it.
func BenchmarkFleet(b *testing.B) {
	for _, stores := range []int{1, 50, 200} {
		b.Run(fmt.Sprintf("stores=%d", stores), func(b *testing.B) {
			for _, bound := range []time.Duration{time.Second, 250 * time.Millisecond} {
				b.Run(fmt.Sprint("idle/", bound), func(b *testing.B) {
					f := startFleet(b, stores, bound)
					b.ResetTimer()
					for b.Loop() {
						took := f.idle(b)
						b.ReportMetric(took.Seconds()*1e6/float64(stores), "idle-µs")
					}
				})
			}
			for _, rate := range []int{100, 1000} {
				b.Run(fmt.Sprint("changes=", rate), func(b *testing.B) {
					f := startFleet(b, stores, time.Second)
					b.ResetTimer()
					for b.Loop() {
						f.change(b, rate)
					}
				})
			}
		})
	}
}

type openFleet struct {
	server valkey.Client
	stores []*tier.Store
}

func startFleet(b *testing.B, n int, bound time.Duration) *openFleet {
	server := valkeytest.Start(b)
	f := &openFleet{server: server.Client(b)}
	for range n {
		s, err := tier.Open(b.Context(), tier.WithValkey(server.URL()), tier.WithMaxStaleness(bound), tier.WithHeartbeat(min(250*time.Millisecond, bound/2)),
			tier.WithLogger(slog.New(slog.DiscardHandler)))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { s.Close() })
		f.stores = append(f.stores, s)
	}
	return f
}

// fleetRuns is for how long a fleet is watched.
const fleetRuns = 3 * time.Second

// idle returns what the fleet takes the server in a second without changes.
func (f *openFleet) idle(b *testing.B) time.Duration {
	before := f.processor(b)
	<-time.After(fleetRuns)
	return (f.processor(b) - before) / time.Duration(fleetRuns.Seconds())
}

func (f *openFleet) change(b *testing.B, rate int) {
	idle := f.idle(b)
	const writers = 16
	begun, before := time.Now(), f.processor(b)
	var mu sync.Mutex
	var took []time.Duration
	failed := 0
	var running sync.WaitGroup
	for w := range writers {
		running.Go(func() {
			pace := time.NewTicker(writers * time.Second / time.Duration(rate))
			defer pace.Stop()
			for i := 0; time.Since(begun) < fleetRuns; i++ {
				<-pace.C
				sent := time.Now()
				_, err := f.stores[0].InvalidateSource(context.Background(), fmt.Sprint("source-", w, "-", i%100))
				d := time.Since(sent)
				mu.Lock()
				if took = append(took, d); err != nil {
					failed++
				}
				mu.Unlock()
			}
		})
	}
	running.Wait()
	lasted := time.Since(begun)
	spent := f.processor(b) - before - time.Duration(lasted.Seconds()*float64(idle))
	slices.Sort(took)
	n := len(took)
	b.ReportMetric(float64(failed), "failed")
	b.ReportMetric(spent.Seconds()*1e6/float64(n), "server-µs")
	b.ReportMetric(float64(n)/lasted.Seconds(), "changes")
	b.ReportMetric(float64(took[n/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[n*99/100].Microseconds())/1000, "p99-ms")
}

// processor is the processor time that the server has had.
func (f *openFleet) processor(b *testing.B) (sum time.Duration) {
	info, err := f.server.Do(b.Context(), f.server.B().Info().Section("cpu").Build()).ToString()
	if err != nil {
		b.Fatal(err)
	}
	for _, line := range strings.Split(info, "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		if name == "used_cpu_sys" || name == "used_cpu_user" {
			var s float64
			fmt.Sscan(value, &s)
			sum += time.Duration(s * float64(time.Second))
		}
	}
	return sum
}
