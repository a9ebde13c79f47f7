package local

import "github.com/tiercache/tiercache/internal/eviction"

// Policy chooses the entry that leaves when a bound is reached. bench/HITRATE.md has the hit rates of each on several
// traces. Its String is "LRU" or "adaptive".
type Policy = eviction.Policy

const (
	// LRU evicts the least recently used entry. The default: exact in a small cache, with many shards in a large one.
	LRU Policy = eviction.LRU

	// Adaptive counts how often keys are asked for, and keeps those that are asked for more often: where recent use
	// tells more it becomes an LRU. It is a W-TinyLFU whose window is as large as suits the requests, from a hundredth
	// up to the whole cache. It chooses the size by miniature simulations of each (Waldspurger et al., "Cache modeling
	// and optimization using miniature simulations", USENIX ATC 2017) on a sample of the keys. They take up to 250 KB
	// of heap, which MaxBytes does not count.
	Adaptive Policy = eviction.Adaptive

	// TwoQueue is 2Q (Johnson and Shasha, VLDB 1994).
	//
	// Deprecated: use [Adaptive] instead.
	TwoQueue Policy = eviction.TwoQueue

	// TinyLFU is W-TinyLFU (Einziger, Friedman and Manes, ACM Transactions on Storage 2017).
	//
	// Deprecated: use [Adaptive] instead, which adapts its window.
	TinyLFU Policy = eviction.TinyLFU
)

// policy keeps the entries of one shard and chooses the one that leaves next. Guarded by the shard's lock.
type policy[V any] interface {
	len() int
	add(e *Entry[V])          // e is new
	replace(old, e *Entry[V]) // e replaces old, and counts as used
	use(e *Entry[V])          // does nothing if e has left: a use can be applied after its entry has left
	remove(e *Entry[V])       // e, which must be here, leaves, but not because a bound was reached
	evict(e *Entry[V])        // the same, because a bound was reached

	// victim returns the entry that leaves next, and nil if there is none, or only one used later than age.
	// It is not the entry stored last, unless that is the only one: every value that fits alone is stored.
	victim(age uint64) *Entry[V]

	oldestAge() uint64 // when the victim was used, or earlier; noAge if there is no entry
	all() []*Entry[V]  // roughly in the order in which they would leave
	compact() bool     // frees memory if there are less than half as many entries as there were, and reports whether it did
}

func newPolicy[V any](config *Config[V]) policy[V] {
	switch config.Policy {
	case eviction.TwoQueue:
		return newTwoQueue[V]()
	case eviction.TinyLFU:
		return newTinyLFU[V](&frequency{}, tinyWindow)
	case eviction.Adaptive:
		return newAdaptive[V](int64(config.MaxEntries), config.MaxBytes)
	}
	return newOrder[V]()
}
