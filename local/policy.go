package local

import "fmt"

// Policy chooses the entry that leaves when a bound is reached. bench/HITRATE.md has the hit rates of each on several
// traces.
type Policy uint8

const (
	// LRU evicts the least recently used entry. The default: exact in a small cache, with many shards in a large one.
	LRU Policy = iota

	// TwoQueue is 2Q (Johnson and Shasha, VLDB 1994): an entry is on trial until it is asked for again some time after
	// its first uses; only then is it added to the entries that are kept in LRU order. One scan does not empty the
	// cache.
	TwoQueue

	// TinyLFU is W-TinyLFU (Einziger, Friedman and Manes, ACM Transactions on Storage 2017): a small LRU window, and
	// behind it a main part to which an entry is admitted only if it was asked for more often recently than the entry
	// that would have to leave. It resists scans and loops, and is slow to adapt to new frequent keys.
	TinyLFU

	// Adaptive is TinyLFU whose window is as large as suits the requests, from a hundredth up to the whole cache,
	// which then is an LRU. It chooses the size by miniature simulations of each (Waldspurger et al., "Cache modeling
	// and optimization using miniature simulations", USENIX ATC 2017) on a sample of the keys. They take up to 250 KB
	// of heap, which MaxBytes does not count.
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
	case TwoQueue:
		return newTwoQueue[V]()
	case TinyLFU:
		return newTinyLFU[V](&frequency{}, tinyWindow)
	case Adaptive:
		return newAdaptive[V](int64(config.MaxEntries), config.MaxBytes)
	}
	return newOrder[V]()
}
