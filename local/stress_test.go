package local

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

// life counts how often a value was stored and how often it left.
type life struct{ stored, left atomic.Int32 }

// TestEveryValueLeavesExactlyOnce under everything at the same time.
func TestEveryValueLeavesExactlyOnce(t *testing.T) {
	for _, kind := range kinds {
		var all sync.Map
		config := Config[*life]{MaxEntries: 200, MaxBytes: 150 * (Overhead + 100), Shards: kind.shards, Policy: kind.policy}
		config.OnRemove = func(e *Entry[*life], _ Reason) { e.Value.left.Add(1) }
		c := newCache(t, config)
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(uint64(w), 3))
				for range 10_000 {
					k := testKey(r.IntN(400))
					switch op := r.IntN(1000); {
					case op < 400:
						c.Get(k)
					case op < 800:
						v := new(life)
						all.Store(v, true)
						if c.Put(k, v, r.Int64N(300)) {
							v.stored.Add(1)
						}
					case op < 810:
						v := new(life)
						all.Store(v, true)
						if c.Put(k, v, config.MaxBytes) {
							t.Error("too large, but stored")
						}
					case op < 998:
						c.Remove(k)
					default:
						c.Clear()
					}
				}
			})
		}
		wg.Wait()
		check(t, c)
		c.Clear()
		check(t, c)
		if c.Len() != 0 || c.Bytes() != 0 {
			t.Errorf("%d entries, %d bytes after Clear", c.Len(), c.Bytes())
		}
		all.Range(func(v, _ any) bool {
			if l := v.(*life); l.stored.Load() != l.left.Load() {
				t.Errorf("stored %d times, left %d times", l.stored.Load(), l.left.Load())
			}
			return !t.Failed()
		})
	}
}

// TestNoGetSeesWhatWasGoneBeforeItBegan: a writer notes, after its call returned, the least version that may be seen
// from then on. Strangers keep the slots moving.
func TestNoGetSeesWhatWasGoneBeforeItBegan(t *testing.T) {
	const keys = 8
	for _, kind := range kinds {
		const bound = 300 * Overhead
		c := newCache(t, Config[int]{MaxBytes: bound, Shards: kind.shards, Policy: kind.policy})
		var floor [keys]atomic.Int64
		var writers, others sync.WaitGroup
		var stop atomic.Bool
		for w := range 2 {
			writers.Go(func() {
				r := rand.New(rand.NewPCG(uint64(w), 4))
				for version := 1; version < 15_000; version++ {
					i := 2*r.IntN(keys/2) + w // one writer for each key
					least := version
					switch r.IntN(4) {
					case 0:
						c.Remove(testKey(i))
						least++
					case 1:
						c.Put(testKey(i), version, bound) // too large: only the older one goes
						least++
					default:
						c.Put(testKey(i), version, 0)
					}
					floor[i].Store(int64(least))
				}
			})
			others.Go(func() {
				for i := 0; !stop.Load(); i++ {
					i %= keys
					least := floor[i].Load()
					if v, ok := c.Get(testKey(i)); ok && int64(v) < least {
						t.Errorf("version %d after %d", v, least)
						return
					}
				}
			})
		}
		others.Go(func() {
			for i := 0; !stop.Load(); i++ {
				c.Put(testKey(1000+i%700), 0, 0)
			}
		})
		writers.Wait()
		stop.Store(true)
		others.Wait()
		check(t, c)
	}
}

// TestClearLeavesNothingOlder although readers and writers go on.
func TestClearLeavesNothingOlder(t *testing.T) {
	for _, kind := range kinds {
		clearBesideOthers(t, newCache(t, Config[int]{MaxEntries: 2000, Shards: kind.shards, Policy: kind.policy}))
	}
}

func clearBesideOthers(t *testing.T, c *Cache[int]) {
	for round := range 200 {
		for i := range 50 {
			c.Put(testKey(i), round, 0)
		}
		var wg sync.WaitGroup
		var cleared atomic.Bool
		wg.Go(func() {
			for i := 0; i < 50; {
				was := cleared.Load()
				if _, ok := c.Get(testKey(i)); ok && was {
					t.Errorf("%d is there after Clear", i)
				}
				if was {
					i++
				}
			}
		})
		wg.Go(func() { c.Put(testKey(1000), round, 0) })
		c.Clear()
		cleared.Store(true)
		wg.Wait()
	}
	check(t, c)
}

// TestAHotEntryIsNeverMissed while others are stored and evicted around it by another goroutine.
func TestAHotEntryIsNeverMissed(t *testing.T) {
	c := newCache(t, Config[int]{MaxEntries: 4000, Shards: 8})
	hot := make([]Key, 50)
	for i := range hot {
		hot[i] = testKey(-1 - i)
		c.Put(hot[i], i, 0)
	}
	var rounds atomic.Int64
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for i, done := 0, int64(0); i < 20_000; i++ {
			c.Put(testKey(i), i, 0)
			if i%500 == 499 { // readers use all hot entries before so much is stored that they are the oldest
				for done = rounds.Load(); rounds.Load() < done+4 && !t.Failed(); {
					c.Remove(testKey(i - rand.IntN(100)))
				}
			}
		}
		stop.Store(true)
	})
	for range 2 {
		wg.Go(func() {
			for !stop.Load() {
				for i, k := range hot {
					if v, ok := c.Get(k); !ok || v != i {
						t.Errorf("%d is gone", i)
						return
					}
				}
				rounds.Add(1)
			}
		})
	}
	wg.Wait()
	check(t, c)
}
