package local

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/tiercache/tiercache/internal/zipf"

	lru "github.com/hashicorp/golang-lru/v2"
)

// TestHitRatioIsThatOfAPlainLRU within half a percentage point, on traces of different nature.
func TestHitRatioIsThatOfAPlainLRU(t *testing.T) {
	if raceEnabled {
		t.Skip("one goroutine: nothing for the race detector to find, and slow with it")
	}
	const n = 120_000
	for _, trace := range []struct {
		name string
		next func(r *rand.Rand) func(i int) int
	}{
		{"zipf 0.8", zipfTrace(50_000, 0.8)},
		{"zipf 1.0", zipfTrace(50_000, 1)},
		{"zipf 1.2", zipfTrace(50_000, 1.2)},
		{"loop that just fits", loopTrace(1990)},
		{"loop that does not fit", loopTrace(2100)},
		{"zipf and scan", func(r *rand.Rand) func(int) int {
			z := zipf.New(20_000, 1)
			return func(i int) int {
				if i%3 == 0 {
					return 1_000_000 + i
				}
				return z.Draw(r)
			}
		}},
		{"reads of a part, then new ones", func(r *rand.Rand) func(int) int {
			return func(i int) int {
				if i/4000%2 == 0 {
					return r.IntN(1200)
				}
				return 10_000 + i/3
			}
		}},
		{"popularity that drifts", func(r *rand.Rand) func(int) int {
			z := zipf.New(20_000, 1)
			return func(i int) int { return z.Draw(r) + i/20 }
		}},
	} {
		for _, config := range []Config[int]{
			{MaxEntries: 500}, {MaxEntries: 500, Shards: 8}, {MaxEntries: 2000}, {MaxEntries: 2000, Shards: 1},
			{MaxEntries: 2000, Shards: 64}, {MaxEntries: 10_000, Shards: 16},
			{MaxEntries: 1 << 20, MaxBytes: 60 << 20}, // 60 values so large that few of them fit
		} {
			cost, size := int64(0), config.MaxEntries
			if config.MaxBytes > 0 {
				cost, size = 1<<20-Overhead, int(config.MaxBytes>>20)
			}
			next := trace.next(rand.New(rand.NewPCG(1, 2)))
			ours, _ := New(config)
			plain, _ := lru.New[Key, int](size)
			hits, want := 0, 0
			for i := range n {
				k := testKey(next(i))
				if _, ok := ours.Get(k); ok {
					hits++
				} else {
					ours.Put(k, 0, cost)
				}
				if _, ok := plain.Get(k); ok {
					want++
				} else {
					plain.Add(k, 0)
				}
			}
			diff := 100 * float64(hits-want) / float64(n)
			name := fmt.Sprintf("%s, %d entries, %d shards", trace.name, size, len(ours.shards))
			t.Logf("%-60s %6.2f %%, plain LRU %+.2f", name, 100*float64(hits)/float64(n), -diff)
			if math.Abs(diff) > 0.5 {
				t.Errorf("%s: off by %.2f points", name, diff)
			}
			if diff != 0 && len(ours.shards) == 1 && config.small() {
				t.Errorf("%s: not exact", name)
			}
			check(t, ours)
		}
	}
}

func zipfTrace(n int, s float64) func(*rand.Rand) func(int) int {
	return func(r *rand.Rand) func(int) int {
		z := zipf.New(n, s)
		return func(int) int { return z.Draw(r) }
	}
}

func loopTrace(n int) func(*rand.Rand) func(int) int {
	return func(*rand.Rand) func(int) int { return func(i int) int { return i % n } }
}
