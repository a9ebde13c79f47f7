package local

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	lru "github.com/hashicorp/golang-lru/v2"
)

// The workload of all benchmarks: resident keys, drawn by Zipf 1.0 from a prepared list, so that the draw costs
// nothing and every Get is a hit. A high hit ratio flatters nobody here: what is measured is the hit.

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
	z := newZipf(n, s)
	r := rand.New(rand.NewPCG(1, 2))
	keys := make([]Key, draws)
	for i := range keys {
		keys[i] = testKey(z.draw(r))
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
	return map[string]getter{"local": ours, "golang-lru": bare, "golang-lru-16": sharded}
}

func BenchmarkGet(b *testing.B) {
	for _, entries := range []int{500, 10_000, 500_000} {
		keys := zipfKeys(entries, 1<<18, 1)
		all := benchGetters(entries)
		for _, name := range []string{"local", "golang-lru", "golang-lru-16"} {
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

// BenchmarkPut replaces and evicts in a full cache.
func BenchmarkPut(b *testing.B) {
	keys := zipfKeys(100_000, 1<<18, 1)
	v := new(int)
	b.Run("local", func(b *testing.B) {
		c, _ := New(Config[*int]{MaxEntries: 10_000})
		b.ReportAllocs()
		for i := range b.N {
			c.Put(keys[i&(len(keys)-1)], v, 8)
		}
	})
	b.Run("golang-lru", func(b *testing.B) {
		c, _ := lru.New[Key, *int](10_000)
		b.ReportAllocs()
		for i := range b.N {
			c.Add(keys[i&(len(keys)-1)], v)
		}
	})
}
