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
	"github.com/tiercache/tiercache/invalidation"
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
// "p99-ms" are what one took it. "messages" is how many the server sent in a second, "out-B" and "in-B" what it sent and received for each
// store and second. "heard-p50-ms" and "heard-p99-ms" are from when a change was recorded to when another store had heard of it.
//
// One store records the changes, or all in turns ("from-all"); or one does, one after another, as fast as it can ("alone").
func BenchmarkFleet(b *testing.B) {
	for _, stores := range []int{1, 50, 200} {
		b.Run(fmt.Sprintf("stores=%d", stores), func(b *testing.B) {
			for _, bound := range []time.Duration{time.Second, 250 * time.Millisecond} {
				b.Run(fmt.Sprint("idle/", bound), func(b *testing.B) {
					f := startFleet(b, stores, bound)
					b.ResetTimer()
					for b.Loop() {
						idle := f.idle(b)
						b.ReportMetric(idle.cpu.Seconds()*1e6/float64(stores), "idle-µs")
						f.report(b, idle)
					}
				})
			}
			for _, load := range []fleetLoad{{rate: 100}, {rate: 1000}, {rate: 1000, fromAll: true}, {alone: true}} {
				b.Run(load.String(), func(b *testing.B) {
					f := startFleet(b, stores, time.Second)
					b.ResetTimer()
					for b.Loop() {
						f.change(b, load)
					}
				})
			}
		})
	}
}

type fleetLoad struct {
	rate           int
	fromAll, alone bool
}

func (l fleetLoad) String() string {
	switch {
	case l.alone:
		return "alone"
	case l.fromAll:
		return fmt.Sprint("changes=", l.rate, "/from-all")
	}
	return fmt.Sprint("changes=", l.rate)
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

// counts are what the server counts.
type counts struct {
	cpu               time.Duration
	messages, out, in float64
}

// since returns what was counted for so long since, in a second.
func (c counts) since(was counts, lasted time.Duration) counts {
	s := lasted.Seconds()
	return counts{time.Duration(float64(c.cpu-was.cpu) / s), (c.messages - was.messages) / s, (c.out - was.out) / s, (c.in - was.in) / s}
}

func (f *openFleet) report(b *testing.B, c counts) {
	n := float64(len(f.stores))
	b.ReportMetric(c.messages*n, "messages")
	b.ReportMetric(c.out/n, "out-B")
	b.ReportMetric(c.in/n, "in-B")
}

// idle returns what the fleet takes the server in a second without changes.
func (f *openFleet) idle(b *testing.B) counts {
	begun, before := time.Now(), f.counts(b)
	<-time.After(fleetRuns)
	return f.counts(b).since(before, time.Since(begun))
}

func (f *openFleet) change(b *testing.B, load fleetLoad) {
	idle := f.idle(b)
	writers := 16
	if load.alone {
		writers = 1
	}
	heard := f.hear()
	begun, before := time.Now(), f.counts(b)
	var mu sync.Mutex
	var took, late []time.Duration
	failed := 0
	var running sync.WaitGroup
	for w := range writers {
		running.Go(func() {
			var pace *time.Ticker
			if !load.alone {
				pace = time.NewTicker(time.Duration(writers) * time.Second / time.Duration(load.rate))
				defer pace.Stop()
			}
			for i := 0; time.Since(begun) < fleetRuns; i++ {
				if pace != nil {
					<-pace.C
				}
				s := f.stores[0]
				if load.fromAll {
					s = f.stores[(i*writers+w)%len(f.stores)]
				}
				sent := time.Now()
				asOf, err := s.InvalidateSource(context.Background(), fmt.Sprint("source-", w, "-", i%100))
				d := time.Since(sent)
				mu.Lock()
				if took = append(took, d); err != nil {
					failed++
				}
				mu.Unlock()
				heard.recorded(asOf, sent.Add(d))
			}
		})
	}
	running.Wait()
	lasted := time.Since(begun)
	spent := f.counts(b).since(before, lasted)
	late = heard.end()
	slices.Sort(took)
	slices.Sort(late)
	n := len(took)
	ms := func(of []time.Duration, part int) float64 {
		if len(of) == 0 {
			return 0
		}
		return float64(of[len(of)*part/100].Microseconds()) / 1000
	}
	b.ReportMetric(float64(failed), "failed")
	b.ReportMetric((spent.cpu-idle.cpu).Seconds()*lasted.Seconds()*1e6/float64(n), "server-µs")
	b.ReportMetric(float64(n)/lasted.Seconds(), "changes")
	b.ReportMetric(ms(took, 50), "p50-ms")
	b.ReportMetric(ms(took, 99), "p99-ms")
	b.ReportMetric(ms(late, 50), "heard-p50-ms")
	b.ReportMetric(ms(late, 99), "heard-p99-ms")
	f.report(b, spent)
}

// hearing notes when the last store of the fleet has heard of changes, to a millisecond.
type hearing struct {
	mu      sync.Mutex // guards what follows
	waiting map[invalidation.Tick]time.Time
	late    []time.Duration
	ended   chan struct{}
	done    chan struct{}
}

func (f *openFleet) hear() *hearing {
	h := &hearing{waiting: make(map[invalidation.Tick]time.Time), ended: make(chan struct{}), done: make(chan struct{})}
	last := f.stores[len(f.stores)-1]
	go func() {
		defer close(h.done)
		look := time.NewTicker(time.Millisecond)
		defer look.Stop()
		for {
			select {
			case <-h.ended:
				return
			case now := <-look.C:
				heard := last.AsOf().Tick
				h.mu.Lock()
				for tick, since := range h.waiting {
					if tick <= heard {
						h.late = append(h.late, max(0, now.Sub(since)))
						delete(h.waiting, tick)
					}
				}
				h.mu.Unlock()
			}
		}
	}()
	return h
}

func (h *hearing) recorded(a invalidation.AsOf, at time.Time) {
	h.mu.Lock()
	h.waiting[a.Tick] = at
	h.mu.Unlock()
}

func (h *hearing) end() []time.Duration {
	close(h.ended)
	<-h.done
	return h.late
}

// counts reads what the server counts.
func (f *openFleet) counts(b *testing.B) (c counts) {
	info, err := f.server.Do(b.Context(), f.server.B().Info().Section("cpu", "stats", "commandstats").Build()).ToString()
	if err != nil {
		b.Fatal(err)
	}
	for _, line := range strings.Split(info, "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		var n float64
		switch name {
		case "used_cpu_sys", "used_cpu_user":
			fmt.Sscan(value, &n)
			c.cpu += time.Duration(n * float64(time.Second))
		case "cmdstat_publish":
			fmt.Sscanf(value, "calls=%f", &n)
			c.messages = n
		case "total_net_output_bytes":
			fmt.Sscan(value, &c.out)
		case "total_net_input_bytes":
			fmt.Sscan(value, &c.in)
		}
	}
	return c
}
