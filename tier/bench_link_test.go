package tier_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
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
		}{{"8MiB", 1, 8 << 20}, {"60MiB", 1, 60 << 20}, {"1000x10kB", 1000, 10_000}, {"50000keys", 50_000, 100}} {
			b.Run(link.name+"/"+kind.name, func(b *testing.B) { overLink(b, link.rate, kind.keys, kind.bytes) })
		}
	}
}

// linkTurns is how often the small reads run alone and then beside the large ones, and linkTurn for how long each: other work on the
// machine is that of both then.
const (
	linkTurns = 4
	linkTurn  = time.Second
)

func overLink(b *testing.B, rate, keys, bytes int) {
	const readers, small = 8, 256
	server := valkeytest.Start(b)
	link := startLink(b, server.Addr, rate)
	ctx := b.Context()
	s, err := tier.Open(ctx, tier.WithValkey("valkey://"+link), tier.WithLogger(slog.New(slog.DiscardHandler)), tier.WithObserver(func(e tier.Event) {
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
	read() // loaded, and stored as far as it can be
	awaitQuiet(b, s)
	b.ResetTimer()
	for b.Loop() {
		loads = 0
		var alone, beside smallReads
		n, took := 0, time.Duration(0)
		for range linkTurns {
			r := startReaders(ctx, b, ones, readers, small)
			select {
			case <-ctx.Done():
			case <-time.After(linkTurn):
			}
			r.end(&alone)
			r = startReaders(ctx, b, ones, readers, small)
			begun := time.Now()
			for more := true; more; more = time.Since(begun) < linkTurn {
				read()
				n++
			}
			took += time.Since(begun)
			r.end(&beside)
		}
		b.ReportMetric(beside.hits(), "hits")
		b.ReportMetric(alone.percentile(50), "alone-p50-ms")
		b.ReportMetric(alone.percentile(99), "alone-p99-ms")
		b.ReportMetric(beside.percentile(50), "p50-ms")
		b.ReportMetric(beside.percentile(99), "p99-ms")
		b.ReportMetric(beside.percentile(99)/alone.percentile(99), "times")
		b.ReportMetric(float64(loads), "loads")
		b.ReportMetric(took.Seconds()/float64(n), "seconds")
		b.ReportMetric(float64(s.Stats().Outages), "outages")
	}
}

// linkVariable, if it is set, has this program be the link that [startLink] starts: its target and rate.
const linkVariable = "TIERCACHE_LINK"

// startLink starts a process that forwards connections to target, each at that many bytes a second, until the benchmark ends, and
// returns its address. In this process it would have what the readers are to have, and wait for the garbage collector.
func startLink(b *testing.B, target string, rate int) string {
	path, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(path)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", linkVariable, target, rate))
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	var address string
	if _, err := fmt.Fscanln(out, &address); err != nil {
		b.Fatal(err)
	}
	return address
}

// beLink is the process of startLink, until its input ends.
func beLink(arguments string) error {
	var target string
	var rate int
	if _, err := fmt.Sscan(arguments, &target, &rate); err != nil {
		return err
	}
	runtime.GOMAXPROCS(8) // most of them sleep
	proxy, err := faultproxy.StartRaw(target, 1)
	if err != nil {
		return err
	}
	defer proxy.Close()
	proxy.Throttle(faultproxy.ToClient, rate)
	proxy.Throttle(faultproxy.ToServer, rate)
	fmt.Println(proxy.Addr())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
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

// end stops the readers, and adds what they have noted to all.
func (r *smallReads) end(all *smallReads) {
	r.stop()
	r.running.Wait()
	all.misses.Add(r.misses.Load())
	all.took = append(all.took, r.took...)
}

func (r *smallReads) hits() float64 {
	return 100 - 100*float64(r.misses.Load())/float64(len(r.took))
}

// percentile is in ms.
func (r *smallReads) percentile(p int) float64 {
	slices.Sort(r.took)
	return float64(r.took[len(r.took)*p/100].Microseconds()) / 1000
}
