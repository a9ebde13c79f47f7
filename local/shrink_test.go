package local

import (
	"sync"
	"sync/atomic"
	"testing"
)

// keysByShard returns n keys for each shard.
func keysByShard[V any](c *Cache[V], n int) [][]Key {
	keys := make([][]Key, len(c.shards))
	for i, full := 0, 0; full < len(keys); i++ {
		k := testKey(i)
		if mine := &keys[c.routes[k.Hi>>56]]; len(*mine) < n {
			if *mine = append(*mine, k); len(*mine) == n {
				full++
			}
		}
	}
	return keys
}

// TestTheOldestOfAllShardsIsEvicted and not that of the shard which is written to.
func TestTheOldestOfAllShardsIsEvicted(t *testing.T) {
	c := newCache(t, Config[int]{MaxEntries: 4, Shards: 4})
	keys := keysByShard(c, 5)
	c.Put(keys[3][0], 1, 0)
	c.Put(keys[1][0], 2, 0)
	c.Put(keys[2][0], 3, 0)
	c.Put(keys[0][0], 4, 0)
	for i, victim := range []Key{keys[3][0], keys[1][0], keys[2][0], keys[0][0]} {
		if _, ok := c.Peek(victim); !ok {
			t.Errorf("%d was evicted too early", i)
		}
		c.Put(keys[0][i+1], 10+i, 0)
		if _, ok := c.Peek(victim); ok {
			t.Errorf("%d is still there", i)
		}
		check(t, c)
	}
}

// TestAnOutdatedBidIsNotTaken:
//
//	stored: A (shard 0), B (shard 1), C (shard 0), in this order; shard 0 ages A's time
//	A is used; that waits in shard 0's ring, the age stays
//	room is needed: shard 0 has the lowest age, but its oldest is C by now, which is newer than B
func TestAnOutdatedBidIsNotTaken(t *testing.T) {
	c := newCache(t, Config[int]{MaxEntries: 3, Shards: 2})
	keys := keysByShard(c, 2)
	a, b, other := keys[0][0], keys[1][0], keys[0][1]
	c.Put(a, 1, 0)
	c.Put(b, 2, 0)
	c.Put(other, 3, 0)
	c.Get(a)
	c.Put(keys[1][1], 4, 0)
	if _, ok := c.Peek(a); !ok {
		t.Error("the newest was evicted")
	}
	if _, ok := c.Peek(other); !ok {
		t.Error("the outdated bidder had to evict")
	}
	if _, ok := c.Peek(b); ok {
		t.Error("the oldest was kept")
	}
	check(t, c)
}

// TestReadersCannotPutOffEviction plays readers so fast that a shard's oldest entry has always been used again since
// the age: whatever it ages is too low. After a round it has to evict nevertheless.
func TestReadersCannotPutOffEviction(t *testing.T) {
	c := newCache(t, Config[int]{MaxEntries: 3, Shards: 2})
	keys := keysByShard(c, 4)
	for i := range 3 {
		c.Put(keys[0][i], i, 0)
	}
	frozen := make([]atomic.Uint64, 2) // what the evicting goroutine sees: ages older than any entry
	frozen[1].Store(noAge)
	c.clock.oldestAges = frozen
	c.Put(keys[1][0], 3, 0)
	if c.Len() != 3 {
		t.Errorf("%d entries", c.Len())
	}
}

// TestWhatIsCountedButNotThereYetIsNotWaitedFor: it belongs to a Put which will shrink the cache itself.
func TestWhatIsCountedButNotThereYetIsNotWaitedFor(t *testing.T) {
	c := newCache(t, Config[int]{MaxEntries: 3, Shards: 2})
	c.total.entries.Add(5)
	c.shrink() // returns
	c.total.entries.Add(-5)
	check(t, c)
}

func TestALargeValueIsStoredWhateverTheNumberOfShards(t *testing.T) {
	const bound = 8 << 20
	for _, kind := range append(kinds, kind{LRU, 16}, kind{LRU, 64}) {
		c := newCache(t, Config[int]{MaxBytes: bound, Shards: kind.shards, Policy: kind.policy})
		for i := range 5000 {
			c.Put(testKey(i), i, 2000)
		}
		for _, cost := range []int64{1 << 20, bound / 2, bound - Overhead} {
			k := testKey(int(cost))
			if !c.Put(k, -1, cost) {
				t.Errorf("%v: %d of %d bytes refused", kind, cost, bound)
			}
			if _, ok := c.Get(k); !ok {
				t.Errorf("%v: %d of %d bytes not kept", kind, cost, bound)
			}
			check(t, c)
		}
		if c.Len() != 1 {
			t.Errorf("%v: %d entries beside the one that takes all", kind, c.Len()-1)
		}
		if c.Put(testKey(int(bound/2)), -1, bound-Overhead+1) {
			t.Errorf("%v: more than the bound was accepted", kind)
		}
	}
}

// TestOnlyAsMuchIsEvictedAsNeeded: also not by a Put that only replaces a value in a full cache.
func TestOnlyAsMuchIsEvictedAsNeeded(t *testing.T) {
	for _, kind := range kinds {
		c := newCache(t, Config[int]{MaxEntries: 100, MaxBytes: 100 * (Overhead + 10), Shards: kind.shards, Policy: kind.policy})
		for i := range 1000 {
			c.Put(testKey(i), i, 10)
			if i >= 100 && c.Len() != 100 {
				t.Fatalf("%d entries", c.Len())
			}
		}
		var there []Key
		for i := range 1000 {
			if _, ok := c.Peek(testKey(i)); ok {
				there = append(there, testKey(i))
			}
		}
		for i, k := range there {
			c.Put(k, i, 10)
		}
		if st := c.Stats(); st.Evicted != 900 || st.Replaced != 100 {
			t.Errorf("%v: %+v", kind, st)
		}
	}
}

// TestNothingIsEvictedOnceThereIsRoom:
//
//	P                                   Q
//	stores: one too many                stores: two too many
//	                                    evicts two
//	asks the lowest bidder to evict:
//	it does not, there is room
func TestNothingIsEvictedOnceThereIsRoom(t *testing.T) {
	c := newCache(t, Config[int]{MaxEntries: 3})
	for i := range 3 {
		c.Put(testKey(i), i, 0)
	}
	if e := c.shards[0].evict(noAge, c.over); e != nil {
		t.Errorf("evicted %v", e.Value)
	}
}

// TestReplacingEvictsNothing: counting the new value before the old one is uncounted would, for a moment, look to others
// like an excess.
func TestReplacingEvictsNothing(t *testing.T) {
	const entries = 200
	for _, kind := range kinds {
		c := newCache(t, Config[int]{MaxEntries: entries, MaxBytes: entries * (Overhead + 10), Shards: kind.shards, Policy: kind.policy})
		for i := range entries {
			c.Put(testKey(i), i, 10)
		}
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				for i := range 20_000 {
					c.Put(testKey((i*7+w*50)%entries), i, 10)
				}
			})
		}
		wg.Wait()
		if st := c.Stats(); st.Evicted != 0 {
			t.Errorf("%v: %d evicted", kind, st.Evicted)
		}
	}
}

// TestConcurrentPutsExceedTheBoundsByThemselvesOnly looks at the bounds all the time.
func TestConcurrentPutsExceedTheBoundsByThemselvesOnly(t *testing.T) {
	const writers, cost, most = 4, 1000, 200
	for _, kind := range kinds {
		c := newCache(t, Config[int]{MaxEntries: most, MaxBytes: most * (cost + Overhead), Shards: kind.shards, Policy: kind.policy})
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range 5000 {
					c.Put(testKey(w<<20+i%700), i, cost)
					if n := c.Len(); n > most+writers {
						t.Errorf("%d entries, bound %d, %d writers", n, most, writers)
						return
					}
					if n := c.Bytes(); n > (most+writers)*(cost+Overhead) {
						t.Errorf("%d bytes", n)
						return
					}
				}
			})
		}
		wg.Wait()
		check(t, c)
		if n := c.Len(); n < most-writers {
			t.Errorf("%d entries at rest: evicted more than needed", n)
		}
	}
}
