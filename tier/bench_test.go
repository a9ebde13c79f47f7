package tier_test

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/tier"
)

// The benchmarks of this package set each path beside the least that could do its work, in the same run: a bare LRU, a
// bare command of the client on the same server. Comparisons with other caches are in bench/peers.
//
// Everything that Open switches on by default is on: TTL, validity, tracking, the staleness bound, statistics.

// record is a value of the size and make that services keep by the million.
type record struct {
	ID     int64
	Name   string
	Score  float64
	Active bool
}

func recordOf(i int) record {
	return record{ID: int64(i), Name: fmt.Sprintf("record %d", i), Score: float64(i) / 3, Active: i%2 == 0}
}

// blob is n bytes that differ from key to key.
func blob(i, n int) string {
	s := fmt.Sprintf("%d ", i)
	return s + strings.Repeat("x", n-len(s))
}

func benchKeys(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("record:%06d", i)
	}
	return keys
}

// openBench opens a store, on the shared server unless an option says else, as another process would. The remote
// timeout is long: on a busy machine a request that is given up would make the work less, and the figure better.
func openBench(b *testing.B, prefix string, options ...tier.Option) *tier.Store {
	b.Helper()
	if len(options) == 0 {
		options = []tier.Option{tier.WithValkey(valkeytest.Shared(b).URL())}
	}
	s, err := tier.Open(context.Background(), append(options, tier.WithPrefix(prefix), tier.WithRemoteTimeout(10*time.Second))...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return s
}

func benchView[V any](b *testing.B, s *tier.Store, path string) *tier.Cache[V] {
	b.Helper()
	c, err := tier.New[V](s, path)
	if err != nil {
		b.Fatal(err)
	}
	return c
}

// fillWith stores the values of keys, in batches.
func fillWith[V any](b *testing.B, c *tier.Cache[V], keys []string, value func(i int) V, options ...tier.EntryOption) {
	b.Helper()
	for at := 0; at < len(keys); at += 1000 {
		batch := make(map[string]V, 1000)
		for i := at; i < min(at+1000, len(keys)); i++ {
			batch[keys[i]] = value(i)
		}
		if err := c.SetMany(context.Background(), batch, options...); err != nil {
			b.Fatal(err)
		}
	}
}

const zipfDraws = 1 << 18

// serially and inParallel run op with ever new i: from 0 on, or by all Ps at once from different places.
func serially(b *testing.B, name string, op func(i int)) {
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			op(i)
		}
	})
}

func inParallel(b *testing.B, name string, op func(i int)) {
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		var start atomic.Uint32
		b.RunParallel(func(pb *testing.PB) {
			for i := int(start.Add(1)) * 7919; pb.Next(); i++ {
				op(i)
			}
		})
	})
}

const callers = 32

// byCallers runs op from 32 goroutines, each with its number.
func byCallers(b *testing.B, name string, op func(caller, i int)) {
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		procs := runtime.GOMAXPROCS(0)
		b.SetParallelism((callers + procs - 1) / procs)
		var number atomic.Int32
		b.RunParallel(func(pb *testing.PB) {
			caller := int(number.Add(1))
			for i := 0; pb.Next(); i++ {
				op(caller, i)
			}
		})
	})
}

// percentiles reports the median and the 99th percentile in microseconds.
func percentiles(b *testing.B, name string, took []time.Duration) {
	slices.Sort(took)
	at := func(share float64) float64 {
		return float64(took[int(math.Ceil(share*float64(len(took))))-1].Nanoseconds()) / 1000
	}
	b.ReportMetric(at(0.50), name+"-p50-µs")
	b.ReportMetric(at(0.99), name+"-p99-µs")
}
