// Package eviction names the policies of package local. Users choose among those that local
// exports; benchmarks compare all of them.
package eviction

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

	// Policies counts them.
	Policies = iota
)

// String returns the policy's name: "LRU", "2Q", "TinyLFU" or "adaptive".
func (p Policy) String() string {
	if !p.Known() {
		return fmt.Sprintf("policy(%d)", uint8(p))
	}
	return [Policies]string{"LRU", "2Q", "TinyLFU", "adaptive"}[p]
}

// Known reports whether p is one of the policies above.
func (p Policy) Known() bool { return p < Policies }
