package local

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"runtime"

	"github.com/tiercache/tiercache/internal/joined"
)

// Overhead is the heap that the cache itself needs for one entry, in bytes: the entry, its slot in the LRU and in the
// index, for a pointer-sized V. It counts towards [Config.MaxBytes] on top of the caller's cost.
//
// Measured: 165 to 174, for any number of entries from a few thousand on, freshly stored or after long use.
const Overhead = 170

// Config says how much a cache may hold. At least one of the two bounds must be set.
type Config[V any] struct {
	// MaxBytes bounds the sum of the costs given to Put plus Overhead for each entry. 0: no such bound. Otherwise it
	// must be more than Overhead.
	MaxBytes int64

	// MaxEntries bounds the number of entries. 0: no such bound.
	MaxEntries int

	// Policy chooses the entry that leaves when a bound is reached. Default LRU. The others keep one order for the
	// whole cache, and so need it to be one shard.
	Policy Policy

	// Shards is the number of independently locked parts, a power of two up to 64. 0 chooses: one if the bounds
	// keep the cache below 1024 entries, else four for each CPU, between 8 and 64. It concerns writers only.
	Shards int

	// OnRemove, if set, is called once for every value that leaves the cache, in the goroutine that removed it, with
	// no lock held. The value can no longer be found by then; a newer one of the same key can. It must not panic.
	OnRemove func(e *Entry[V], why Reason)
}

const maxShards = 64 // with more, looking at all of them costs more than the contention that they avoid

func (config *Config[V]) validate() error {
	var errs []error
	if config.MaxBytes < 0 || config.MaxEntries < 0 || config.Shards < 0 {
		errs = append(errs, fmt.Errorf("local: negative setting: MaxBytes %d, MaxEntries %d, Shards %d",
			config.MaxBytes, config.MaxEntries, config.Shards))
	}
	if config.MaxBytes == 0 && config.MaxEntries == 0 {
		errs = append(errs, errors.New("local: no bound: MaxBytes or MaxEntries must be set"))
	}
	if config.MaxBytes > 0 && config.MaxBytes <= Overhead {
		errs = append(errs, fmt.Errorf("local: MaxBytes %d holds nothing: an entry needs %d and its own cost",
			config.MaxBytes, Overhead))
	}
	if n := config.Shards; n > 0 && (n&(n-1) != 0 || n > maxShards) {
		errs = append(errs, fmt.Errorf("local: Shards %d is not a power of two up to %d", n, maxShards))
	}
	if !config.Policy.Known() {
		errs = append(errs, fmt.Errorf("local: Policy %d is not known", config.Policy))
	} else if config.Policy != LRU && config.Shards > 1 {
		errs = append(errs, fmt.Errorf("local: Policy %v with Shards %d: it needs one shard", config.Policy, config.Shards))
	}
	return joined.Errors(errs...)
}

// exact reports whether every use is to be recorded. The policies other than LRU count how often an entry was used in
// the time after which it could be evicted, or whether it was: to them, uses right after each other are one.
func (config *Config[V]) exact() bool { return config.Policy == LRU && config.small() }

// Below this number of entries, exact order matters more than speed: a tenth of the cache is a handful of entries.
const exactBelow = 1024

// small reports whether the bounds keep the cache so small that its order should be exact.
func (config *Config[V]) small() bool {
	return config.MaxEntries > 0 && config.MaxEntries < exactBelow ||
		config.MaxBytes > 0 && config.MaxBytes/Overhead < exactBelow
}

// chooseShards gives a small cache one shard, for exact order. A larger one gets enough that writers rarely contend, but
// not more, because each eviction looks at all of them.
func (config *Config[V]) chooseShards() int {
	if config.small() || config.Policy != LRU {
		return 1
	}
	n := min(max(4*runtime.GOMAXPROCS(0), 8), maxShards)
	return 1 << bits.Len(uint(n-1))
}

// route gives the last of n shards almost twice as many keys as the first, in equal ratios between them.
//
// A Go map doubles its memory at once, and equal shards would all do it at the same time: measured, the overhead of
// an entry would vary by 7 % either way with the number of entries. With unequal shards it varies by 3 %, so that the
// bound in bytes holds.
func route(n int) (routes [256]uint8) {
	share := func(i int) float64 { return math.Exp2(float64(i)/float64(n)) - 1 } // of shards 0 … i-1: all have 1
	for i := range n {
		for b := int(256 * share(i)); b < 256; b++ {
			routes[b] = uint8(i)
		}
	}
	return routes
}
