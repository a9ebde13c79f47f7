package local

import "fmt"

// Policy says which entry leaves when room is needed. See bench/HITRATE.md for what each reaches on which traces.
type Policy uint8

const (
	// LRU evicts the least recently used entry. The default: exact in a small cache, with many shards in a large one,
	// and what anybody expects.
	LRU Policy = iota

	// TwoQueue is 2Q (Johnson and Shasha, VLDB 1994): an entry is on trial until it is asked for again some time after
	// its first uses; only then does it come among those that are kept in LRU order. One scan does not empty the cache.
	TwoQueue

	// TinyLFU is W-TinyLFU (Einziger, Friedman and Manes, ACM Transactions on Storage 2017): a small LRU window, and
	// behind it a main part to which only those are admitted that were asked for more often, lately, than who would
	// have to go. It resists scans and loops, and is slow to follow new favourites.
	TinyLFU

	// Adaptive is TinyLFU whose window is as large as suits the requests, from a hundredth up to the whole cache,
	// which then is an LRU. Which that is it learns from miniature simulations of each (Waldspurger et al., "Cache
	// modeling and optimization using miniature simulations", USENIX ATC 2017) on a sample of the keys. They take up
	// to 250 KB of heap, which MaxBytes does not count.
	Adaptive

	policies = iota
)

// String returns the policy's name: "LRU", "2Q", "TinyLFU" or "adaptive".
func (p Policy) String() string {
	if !p.Known() {
		return fmt.Sprintf("policy(%d)", uint8(p))
	}
	return [policies]string{"LRU", "2Q", "TinyLFU", "adaptive"}[p]
}

// Known reports whether p is one of the policies above.
func (p Policy) Known() bool { return p < policies }

// policy keeps the entries of one shard and says which one leaves next. Guarded by the shard's lock.
type policy[V any] interface {
	len() int
	add(e *Entry[V])          // e is new
	replace(old, e *Entry[V]) // e takes the place of old, and counts as used
	use(e *Entry[V])          // does nothing if e left: a use can be applied after its entry is gone
	remove(e *Entry[V])       // e, which must be here, leaves, but not for want of room
	evict(e *Entry[V])        // the same, for want of room

	// victim returns who leaves next, and nil if there is nobody, or only one used later than age.
	// It is not the entry stored last, unless that is the only one: any value is to be stored that fits alone.
	victim(age uint64) *Entry[V]

	oldestAge() uint64 // when the victim was used, or before that; noAge if there is nobody
	all() []*Entry[V]  // in the order in which they would leave, roughly
	compact() bool     // gives back memory if the entries are less than half of what they were, and says whether
}

func newPolicy[V any](config *Config[V]) policy[V] {
	switch config.Policy {
	case TwoQueue:
		return newTwoQueue[V]()
	case TinyLFU:
		return newTinyLFU[V](&frequency{}, tinyWindow)
	case Adaptive:
		return newAdaptive[V](int64(config.MaxEntries), config.MaxBytes)
	}
	return newOrder[V]()
}
