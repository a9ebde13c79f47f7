package local

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"time"

	"github.com/tiercache/tiercache/internal/eviction"
	"github.com/tiercache/tiercache/internal/zipf"

	lru "github.com/hashicorp/golang-lru/v2"
)

// The workload of all benchmarks: resident keys, drawn by Zipf 1.0 from a prepared list, so that the draw costs
// nothing and every Get is a hit. The hit ratio does not matter here: what is measured is the time of a hit.

type getter interface {
	Get(Key) (*int, bool)
}

type shardedLRU [16]*lru.Cache[Key, *int]

func (s *shardedLRU) Get(k Key) (*int, bool) { return s[k.Hi%16].Get(k) }

func testKey(i int) Key {
	r := rand.NewPCG(uint64(i), 7)
	return Key{r.Uint64(), r.Uint64()}
}

func zipfKeys(n, draws int, s float64) []Key {
	z := zipf.New(n, s)
	r := rand.New(rand.NewPCG(1, 2))
	keys := make([]Key, draws)
	for i := range keys {
		keys[i] = testKey(z.Draw(r))
	}
	return keys
}

func benchGetters(entries int) map[string]getter {
	ours, _ := New(Config[*int]{MaxEntries: entries})
	bare, _ := lru.New[Key, *int](entries)
	sharded := new(shardedLRU)
	for i := range sharded {
		sharded[i], _ = lru.New[Key, *int](entries)
	}
	for i := range entries {
		k, v := testKey(i), new(int)
		ours.Put(k, v, 8)
		bare.Add(k, v)
		sharded[k.Hi%16].Add(k, v)
	}
	all := map[string]getter{"local": ours, "golang-lru": bare, "golang-lru-16": sharded}
	for p := LRU + 1; p < Policy(eviction.Policies); p++ {
		c, _ := New(Config[*int]{MaxEntries: entries, Policy: p})
		for i := range entries {
			c.Put(testKey(i), new(int), 8)
		}
		all["local-"+p.String()] = c
	}
	return all
}

func BenchmarkGet(b *testing.B) {
	for _, entries := range []int{500, 10_000, 500_000} {
		keys := zipfKeys(entries, 1<<18, 1)
		all := benchGetters(entries)
		for _, name := range []string{"local", "local-2Q", "local-TinyLFU", "local-adaptive", "golang-lru", "golang-lru-16"} {
			g := all[name]
			b.Run(fmt.Sprintf("serial/%d/%s", entries, name), func(b *testing.B) {
				b.ReportAllocs()
				for i := range b.N {
					if _, ok := g.Get(keys[i&(len(keys)-1)]); !ok {
						b.Fatal("miss")
					}
				}
			})
			b.Run(fmt.Sprintf("parallel/%d/%s", entries, name), func(b *testing.B) {
				b.ReportAllocs()
				var start atomic.Uint32
				b.RunParallel(func(pb *testing.PB) {
					for i := int(start.Add(1)) * 7919; pb.Next(); i++ {
						g.Get(keys[i&(len(keys)-1)])
					}
				})
			})
		}
	}
}

type rival struct{ *lru.Cache[Key, *int] }

func (r rival) Put(k Key, v *int, _ int64) bool { return r.Add(k, v) }

// BenchmarkHitLatency reports percentiles of single hits while another goroutine stores, evicts and removes all the
// time. They include reading the clock, which is reported as well. ns/op means nothing here.
func BenchmarkHitLatency(b *testing.B) {
	const entries = 10_000
	ours, _ := New(Config[*int]{MaxEntries: entries})
	plain, _ := lru.New[Key, *int](entries)
	adaptive, _ := New(Config[*int]{MaxEntries: entries, Policy: Adaptive})
	b.Run("local", func(b *testing.B) { hitLatency(b, ours, entries) })
	b.Run("local-adaptive", func(b *testing.B) { hitLatency(b, adaptive, entries) })
	b.Run("golang-lru", func(b *testing.B) { hitLatency(b, rival{plain}, entries) })
}

func hitLatency(b *testing.B, c interface {
	getter
	Put(Key, *int, int64) bool
	Remove(Key) bool
}, entries int) {
	keys, v := zipfKeys(entries/2, 1<<18, 1), new(int)
	for _, k := range keys {
		c.Put(k, v, 8)
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := entries; !stop.Load(); i++ {
			c.Put(testKey(i), v, 8)
			if i%4 == 0 {
				c.Remove(testKey(i - 100))
			}
		}
	})
	hits := make([]time.Duration, b.N) // cleared, so that no page is missing
	clock := make([]time.Duration, b.N)
	clear(hits)
	clear(clock)
	n := 0
	for i := range b.N {
		k, start := keys[i&(len(keys)-1)], time.Now()
		_, ok := c.Get(k)
		took := time.Since(start)
		start = time.Now()
		clock[i] = time.Since(start)
		if ok {
			hits[n] = took
			n++
		} else {
			c.Put(k, v, 8)
		}
	}
	stop.Store(true)
	wg.Wait()
	for name, all := range map[string][]time.Duration{"hit": hits[:n], "clock": clock} {
		slices.Sort(all)
		b.ReportMetric(float64(all[len(all)/2]), name+"-p50-ns")
		b.ReportMetric(float64(all[len(all)*999/1000]), name+"-p99.9-ns")
	}
}

// BenchmarkPut replaces and evicts in a full cache.
func BenchmarkPut(b *testing.B) {
	keys := zipfKeys(100_000, 1<<18, 1)
	v := new(int)
	for p := range Policy(eviction.Policies) {
		b.Run("local-"+p.String(), func(b *testing.B) {
			c, _ := New(Config[*int]{MaxEntries: 10_000, Policy: p})
			b.ReportAllocs()
			for i := range b.N {
				c.Put(keys[i&(len(keys)-1)], v, 8)
			}
		})
	}
	b.Run("golang-lru", func(b *testing.B) {
		c, _ := lru.New[Key, *int](10_000)
		b.ReportAllocs()
		for i := range b.N {
			c.Add(keys[i&(len(keys)-1)], v)
		}
	})
}
