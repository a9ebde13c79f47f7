package bench_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tiercache/tiercache/bench"
	"github.com/tiercache/tiercache/bench/rivals"
)

// Not go test's own -trace, which would write to the file.
var traceFlag = flag.String("trace", "", "replay these traces too, separated by commas (after -args; or set BENCH_TRACE)")

const seed, generated = 1, 100_000 // of requests

// sizes of the caches, in percent of the distinct keys, and at least 64 entries.
var sizes = []float64{0.1, 1, 10}

func entriesFor(percent float64, keys int) int { return max(64, int(percent/100*float64(keys))) }

// traceFiles are those that the caller named. go test runs in bench, so a path may also be relative to the root.
func traceFiles() (files []string) {
	list := *traceFlag
	if list == "" {
		list = os.Getenv("BENCH_TRACE")
	}
	for _, path := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' }) {
		if _, err := os.Stat(path); err != nil {
			path = filepath.Join("..", path)
		}
		files = append(files, path)
	}
	return files
}

func traceName(path string) string {
	name, _, _ := strings.Cut(filepath.Base(path), ".")
	return name
}

// traced is a named sequence of requests, made when it is needed.
type traced struct {
	name string
	make func(tb testing.TB) []bench.Request
}

func allTraces() (all []traced) {
	for _, w := range bench.Workloads() {
		all = append(all, traced{w.Name, func(testing.TB) []bench.Request { return w.Make(seed, generated) }})
	}
	for _, path := range traceFiles() {
		all = append(all, traced{traceName(path), func(tb testing.TB) []bench.Request { return readTrace(tb, path) }})
	}
	return all
}

func readTrace(tb testing.TB, path string) []bench.Request {
	tb.Helper()
	t, err := bench.ReadTraceFile(path, bench.Limits{})
	if err != nil {
		tb.Fatal(err)
	}
	for _, bad := range t.BadLines {
		tb.Logf("%s: %v", path, bad)
	}
	if t.Bad > 0 || t.Cut {
		tb.Logf("%s: %d bad lines in all; cut: %v", path, t.Bad, t.Cut)
	}
	return t.Requests
}

// BenchmarkHitRate replays each workload, and each trace, through each policy and each rival at each size. An operation
// is a request. Figures but those of time are the same in each run.
func BenchmarkHitRate(b *testing.B) {
	for _, trace := range allTraces() {
		b.Run("trace="+trace.name, func(b *testing.B) {
			requests := trace.make(b)
			keys := bench.Distinct(requests)
			for _, percent := range sizes {
				entries := entriesFor(percent, keys)
				for _, c := range append(bench.Ours(), rivals.All()...) {
					name := fmt.Sprintf("size=%v%%/cache=%s", percent, strings.ReplaceAll(c.Name, " ", "-"))
					b.Run(name, func(b *testing.B) { replay(b, c, requests, entries) })
				}
			}
		})
	}
}

// once keeps what a benchmark found, by name: go test calls it again with larger b.N, but a trace is as long as it is.
var once = make(map[string]func(b *testing.B))

func replay(b *testing.B, c bench.Contestant, requests []bench.Request, entries int) {
	report, ok := once[b.Name()]
	if !ok {
		began := time.Now()
		n, err := c.Replay(requests, entries)
		if err != nil {
			b.Fatal(err)
		}
		perRequest := float64(time.Since(began).Nanoseconds()) / float64(len(requests))
		report = func(b *testing.B) {
			b.ReportMetric(n.HitRate(), "hit-%")
			b.ReportMetric(perRequest, "ns/op")
			b.ReportMetric(1000-10*n.HitRate(), "misses/1000")
			if n.Bytes > 0 {
				b.ReportMetric(n.ByteHitRate(), "byte-hit-%")
			}
			if n.Evictions > 0 {
				b.ReportMetric(float64(n.Evictions), "evictions")
			}
		}
		once[b.Name()] = report
	}
	report(b)
}

// BenchmarkHitRateFleet asks questions over changing documents of fleets of several sizes, through both tiers.
func BenchmarkHitRateFleet(b *testing.B) {
	const questions = 20_000
	for _, processes := range []int{1, 4} {
		for _, entries := range []int{200, 2000} {
			b.Run(fmt.Sprintf("processes=%d/entries=%d", processes, entries), func(b *testing.B) {
				f := bench.Fleet{Processes: processes, LocalEntries: entries}
				report, ok := once[b.Name()]
				if !ok {
					var r bench.Report
					began := time.Now()
					inBubble(b, func() {
						var err error
						if r, err = f.Simulate(bench.DefaultDocuments, seed, questions); err != nil {
							b.Error(err)
						}
					})
					perQuestion := float64(time.Since(began).Nanoseconds()) / questions
					report = func(b *testing.B) {
						b.ReportMetric(perQuestion, "ns/op")
						for _, m := range r.Metrics(bench.MeasuredCosts) {
							b.ReportMetric(m.Value, m.Unit)
						}
					}
					once[b.Name()] = report
				}
				report(b)
			})
		}
	}
}
