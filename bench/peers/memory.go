package main

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/tiercache/tiercache/tier"
)

// memory is what the local tier and others need: the heap of a tier that is bounded by bytes, in percent of the bound; the
// heap of an entry beyond its key and value; and what a garbage collection costs with 1,000,000 entries.
//
// Everything is made anew in each round and measured between two collections, so a few rounds are enough.
func memory() []work {
	var all []work
	for _, size := range []int{16, 256, 4 << 10, 64 << 10, 1 << 20} {
		all = append(all, work{name: fmt.Sprintf("LocalBytes/value=%dB", size), unit: "%of-bound", once: true, rounds: 3,
			contestants: []contestant{{ours, func(p *pitch) func(*testing.B) {
				return func(b *testing.B) { bytesOfBound(b, p, size) }
			}}}})
	}
	kinds := []struct {
		name string
		open func(n int) (put func(key string, v record), kept any, leave func())
	}{
		{ours, func(n int) (func(string, record), any, func()) {
			s, c := openLocal[record](tier.WithLocalEntries(n), tier.WithLocalBytes(0))
			return func(key string, v record) { must(c.Set(context.Background(), key, v)) }, c, func() { must(s.Close()) }
		}},
		{"otter_with_expiry", func(n int) (func(string, record), any, func()) {
			c := newOtter(n)
			return func(key string, v record) { c.Set(key, v) }, c, func() { c.StopAllGoroutines() }
		}},
		{"golang-lru", func(n int) (func(string, record), any, func()) {
			c := newLRU(n)
			return func(key string, v record) { c.Add(key, v) }, c, func() {}
		}},
	}
	overhead := work{name: "Overhead/entries=100000", unit: "B/entry", once: true, rounds: 3}
	collect := work{name: "Collection/entries=1000000", unit: "cycle-ms", once: true, rounds: 3}
	for _, k := range kinds {
		overhead.contestants = append(overhead.contestants, contestant{k.name, func(p *pitch) func(*testing.B) {
			return func(b *testing.B) {
				n := p.size(100_000)
				before, keys := uint64(0), p.keys(n)
				before = heap()
				put, kept, leave := k.open(n)
				// The name, the only part of a record outside of it, is one for all, so that what is left is the record in
				// its entry, and the entry.
				for _, key := range keys {
					put(key, record{Name: "record"})
				}
				b.ReportMetric(float64(heap()-before)/float64(n), "B/entry")
				runtime.KeepAlive(kept)
				runtime.KeepAlive(keys)
				leave()
			}
		}})
		collect.contestants = append(collect.contestants, contestant{k.name, func(p *pitch) func(*testing.B) {
			return func(b *testing.B) {
				n := p.size(1_000_000)
				put, kept, leave := k.open(n)
				for i, key := range p.keys(n) {
					put(key, recordOf(i))
				}
				collections(b)
				runtime.KeepAlive(kept)
				leave()
			}
		}})
	}
	return append(all, overhead, collect)
}

func openLocal[V any](options ...tier.Option) (*tier.Store, *tier.Cache[V]) {
	s, err := tier.Open(context.Background(), options...)
	must(err)
	return s, view[V](s, "local", tier.WithLocalOnly())
}

// bytesOfBound stores twice as many bytes as the bound allows.
func bytesOfBound(b *testing.B, p *pitch, size int) {
	bound := int64(p.size(64 << 20))
	before := heap()
	s, c := openLocal[[]byte](tier.WithLocalBytes(bound))
	for i := range 2 * int(bound) / (size + 200) {
		must(c.Set(context.Background(), fmt.Sprintf("record:%07d", i), make([]byte, size)))
	}
	b.ReportMetric(100*float64(heap()-before)/float64(bound), "%of-bound")
	b.ReportMetric(100*float64(s.Stats().LocalBytes)/float64(bound), "%accounted")
	runtime.KeepAlive(c)
	must(s.Close())
}

// heap is what is reachable.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // what finalizers and pools let go of
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// collections reports the time of one collection from beginning to end, the processor time that marking took, and the
// longest stop.
func collections(b *testing.B) {
	const n = 5
	heap()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begun := time.Now()
	for range n {
		runtime.GC()
	}
	took := time.Since(begun)
	runtime.ReadMemStats(&after)
	var longest uint64
	for i := after.NumGC - n; i < after.NumGC; i++ {
		longest = max(longest, after.PauseNs[i%uint32(len(after.PauseNs))])
	}
	b.ReportMetric(took.Seconds()*1000/n, "cycle-ms")
	b.ReportMetric(float64(after.PauseTotalNs-before.PauseTotalNs)/n/1000, "stopped-µs")
	b.ReportMetric(float64(longest)/1000, "longest-stop-µs")
}
