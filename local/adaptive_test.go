package local

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/tiercache/tiercache/internal/zipf"
)

// TestAnAdaptiveCacheIsAsGoodAsTheBest of LRU and TinyLFU, though neither is good everywhere: on a loop an LRU never
// hits, and TinyLFU does not follow new favourites.
func TestAnAdaptiveCacheIsAsGoodAsTheBest(t *testing.T) {
	if raceEnabled {
		t.Skip("one goroutine: nothing for the race detector to find, and slow with it")
	}
	z := zipf.New(300, 0.8)
	for name, next := range map[string]func(r *rand.Rand, i int) int{
		"loop":           func(_ *rand.Rand, i int) int { return i % 3000 },
		"new favourites": func(r *rand.Rand, i int) int { return i/4 + z.Draw(r) },
	} {
		for _, entries := range []int{100, 1500} {
			rate := func(p Policy) float64 {
				c := newCache(t, Config[int]{MaxEntries: entries, Policy: p})
				r := rand.New(rand.NewPCG(1, 2))
				hits := 0
				const n = 200_000
				for i := range n {
					k := testKey(next(r, i))
					if _, ok := c.Get(k); ok {
						hits++
					} else {
						c.Put(k, 0, 0)
					}
				}
				check(t, c)
				return 100 * float64(hits) / n
			}
			lru, tiny, adaptive := rate(LRU), rate(TinyLFU), rate(Adaptive)
			what := fmt.Sprintf("%s, %d entries: LRU %.1f, TinyLFU %.1f, adaptive %.1f", name, entries, lru, tiny, adaptive)
			t.Log(what)
			if adaptive < max(lru, tiny)-1 {
				t.Error(what)
			}
		}
	}
}

// TestAMiniatureIsSampledFurtherAsItGrows, so that its memory is bounded whatever the cache's is.
func TestAMiniatureIsSampledFurtherAsItGrows(t *testing.T) {
	p := newAdaptive[int](0, 1<<30)
	for i := range 20_000 {
		p.add(&Entry[int]{key: testKey(i), cost: 200})
		for j := range p.trials.minis {
			if n := p.trials.minis[j].policy.len(); n > mostSampled+1 {
				t.Fatalf("%d entries in miniature %d after %d", n, j, i)
			}
		}
	}
	checkPolicy(t, policy[int](p))
	if share := float64(p.trials.below) / (1 << 32); share != p.trials.maxBytes/(1<<30) || share > 1./16 {
		t.Errorf("sampled %v, bytes %v", share, p.trials.maxBytes/(1<<30))
	}
}

// TestAWindowFollowsItsShareWithoutALongPause: one eviction moves a few entries, not all.
func TestAWindowFollowsItsShareWithoutALongPause(t *testing.T) {
	p := newTinyLFU[int](&frequency{}, 1)
	for i := range 1000 {
		p.add(&Entry[int]{key: testKey(i)})
	}
	p.window = 0.01
	for i := range 1000 {
		before := p.sizes[window]
		p.add(&Entry[int]{key: testKey(1000 + i)})
		p.evict(p.victim(noAge))
		if moved := before - p.sizes[window]; moved > 3 {
			t.Fatalf("%d entries left the window at once", moved)
		}
	}
	if n := p.sizes[window]; n > 11 {
		t.Errorf("%d entries are still in the window", n)
	}
	checkQueues(t, &p.queues)
}
