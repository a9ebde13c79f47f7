package local

import (
	"fmt"
	"iter"
	"math"
	"sync/atomic"
)

// Key is the 128-bit hash of a namespace and a key in it. Its bits must be uniformly distributed.
type Key struct{ Hi, Lo uint64 }

// Reason says why a value left the cache.
type Reason uint8

const (
	Replaced Reason = iota // a Put of the same key took its place, or was too large to be stored
	Removed                // Remove
	Evicted                // a bound was reached, and the policy chose it
	Cleared                // Clear
	reasons         = iota // for which this package removes values

	// Expired and Invalidated are for those that remove values and know more: to this package they are Removed.
	Expired     Reason = iota - 1 // its time was over
	Invalidated                   // what it was made from changed, or may have
)

// String returns the reason in lower case: "replaced", "removed", "evicted", "cleared", "expired" or "invalidated".
func (r Reason) String() string {
	if r > Invalidated {
		return fmt.Sprintf("reason(%d)", uint8(r))
	}
	return [...]string{"replaced", "removed", "evicted", "cleared", "expired", "invalidated"}[r]
}

// Cache is a concurrent cache. All methods may be called from any goroutine, and from OnRemove. It owns no goroutine and
// needs no closing.
type Cache[V any] struct {
	config Config[V]
	routes [256]uint8 // the shard for each first byte of a hash
	shards []shard[V]
	_      [64]byte // keeps writes to the fields below from slowing readers of the fields above
	clock  clock
	_      [64]byte // likewise

	total    total
	rejected atomic.Uint64
}

// New returns an empty cache, or one error that names every invalid setting.
func New[V any](config Config[V]) (*Cache[V], error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	n := config.Shards
	if n == 0 {
		n = config.chooseShards()
	}
	c := &Cache[V]{config: config, routes: route(n), shards: make([]shard[V], n)}
	c.clock.init(n, config.exact())
	for i := range c.shards {
		c.shards[i].init(newPolicy(&c.config), &c.clock, &c.clock.oldestAges[i], &c.total)
	}
	return c, nil
}

func (c *Cache[V]) shard(k Key) *shard[V] { return &c.shards[c.routes[k.Hi>>56]] }

// Get returns the value of k and counts as a use of it.
func (c *Cache[V]) Get(k Key) (V, bool) { return valueOf(c.GetEntry(k)) }

// GetEntry is Get without copying the value. It returns nil if there is none.
func (c *Cache[V]) GetEntry(k Key) *Entry[V] {
	s := c.shard(k)
	e := s.index.find(k)
	if e == nil {
		return nil
	}
	if now, due := c.clock.shouldRecord(e.used.Load()); due {
		s.use(e, now)
	}
	return e
}

// Peek returns the value of k without counting as a use.
func (c *Cache[V]) Peek(k Key) (V, bool) { return valueOf(c.PeekEntry(k)) }

// PeekEntry is Peek without copying the value. It returns nil if there is none.
func (c *Cache[V]) PeekEntry(k Key) *Entry[V] { return c.shard(k).index.find(k) }

func valueOf[V any](e *Entry[V]) (v V, ok bool) {
	if e == nil {
		return v, false
	}
	return e.Value, true
}

// Put stores v as the newest entry, in place of any older value of k, and evicts others as the bounds demand. cost is
// the heap that v keeps alive, in bytes, without Overhead; a negative one counts as 0.
//
// It reports false if v alone exceeds MaxBytes. Then k has no value any more, nothing was stored, and OnRemove is not
// called for v.
func (c *Cache[V]) Put(k Key, v V, cost int64) bool {
	return c.PutEntry(k, &Entry[V]{Value: v}, cost)
}

// PutEntry is Put of an Entry that was never put before. The caller must not put it again or change its Value, whatever
// PutEntry reports.
func (c *Cache[V]) PutEntry(k Key, e *Entry[V], cost int64) bool {
	most := c.config.MaxBytes
	if most == 0 {
		most = math.MaxInt64
	}
	if cost > most-Overhead {
		c.rejected.Add(1)
		c.left(c.shard(k).remove(k, nil, Replaced), Replaced)
		return false
	}
	e.key, e.cost = k, max(cost, 0)+Overhead
	c.left(c.shard(k).put(e), Replaced)
	c.shrink()
	return true
}

// Remove drops the value of k and reports whether there was one.
func (c *Cache[V]) Remove(k Key) bool { return c.remove(k, nil) }

// RemoveEntry drops e, unless it has left, and reports whether it did.
func (c *Cache[V]) RemoveEntry(e *Entry[V]) bool { return c.remove(e.key, e) }

func (c *Cache[V]) remove(k Key, only *Entry[V]) bool {
	e := c.shard(k).remove(k, only, Removed)
	c.left(e, Removed)
	return e != nil
}

// Clear drops every value that was there when it was called.
func (c *Cache[V]) Clear() {
	for i := range c.shards {
		for _, e := range c.shards[i].clear() {
			c.left(e, Cleared)
		}
	}
}

// left reports that e, which may be nil, has left. No lock may be held here.
func (c *Cache[V]) left(e *Entry[V], why Reason) {
	if e != nil && c.config.OnRemove != nil {
		c.config.OnRemove(e, why)
	}
}

// All returns the entries that are there, with the cost that each counts, in no order. It takes no lock, so those that are stored or
// leave meanwhile may or may not be among them; one that is replaced may be there twice, as the old and the new Entry.
func (c *Cache[V]) All() iter.Seq2[*Entry[V], int64] {
	return func(yield func(*Entry[V], int64) bool) {
		for i := range c.shards {
			slots := c.shards[i].index.groups.Load().slots
			for j := range slots {
				if e := slots[j].Load(); e != nil && !yield(e, e.cost) {
					return
				}
			}
		}
	}
}

// Len returns the number of entries.
func (c *Cache[V]) Len() int { return int(c.total.entries.Load()) }

// Bytes returns the sum of the costs of all entries, with Overhead for each.
func (c *Cache[V]) Bytes() int64 { return c.total.bytes.Load() }
