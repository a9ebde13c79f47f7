package local

import (
	"math"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// order keeps the entries of one shard from the least to the most recently used, in an LRU of golang-lru. Not safe for
// concurrent use.
//
// The LRU holds slots, which are used again when an entry leaves, and not keys. So its map has the same numbers as keys
// all the time, and stays as large as they require. With ever new keys it would double (measured with Go 1.26: up to 40
// bytes more for each entry), because a Go map with many deleted slots splits. And replacing a value uses the map only
// to find the slot.
type order[V any] struct {
	lru  *simplelru.LRU[uint32, struct{}]
	at   []*Entry[V] // by slot; nil if free
	free []uint32    // slots
}

func newOrder[V any]() *order[V] {
	o := new(order[V])
	o.init()
	return o
}

func (o *order[V]) init() {
	l, err := simplelru.NewLRU[uint32, struct{}](math.MaxInt, nil) // the bounds are those of the whole cache
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	*o = order[V]{lru: l}
}

func (o *order[V]) len() int { return o.lru.Len() }

// add makes e the newest.
func (o *order[V]) add(e *Entry[V]) {
	if last := len(o.free) - 1; last >= 0 {
		e.slot = o.free[last]
		o.free = o.free[:last]
		o.at[e.slot] = e
	} else {
		e.slot = uint32(len(o.at))
		o.at = append(o.at, e)
	}
	o.lru.Add(e.slot, struct{}{})
}

// replace puts e in place of old and makes it the newest.
func (o *order[V]) replace(old, e *Entry[V]) {
	e.slot = old.slot
	o.at[e.slot] = e
	o.lru.Get(e.slot)
}

// use makes e the newest, if it is still here: a use can be applied after the entry has left and another has its slot.
func (o *order[V]) use(e *Entry[V]) {
	if int(e.slot) < len(o.at) && o.at[e.slot] == e {
		o.lru.Get(e.slot)
	}
}

// remove removes e, which must be here.
func (o *order[V]) remove(e *Entry[V]) {
	o.lru.Remove(e.slot)
	o.at[e.slot] = nil
	o.free = append(o.free, e.slot)
}

func (o *order[V]) evict(e *Entry[V]) { o.remove(e) }

// victim returns the oldest entry, which is the one stored last only if there is no other.
func (o *order[V]) victim(age uint64) *Entry[V] {
	if e := o.oldest(); e != nil && e.used.Load() <= age {
		return e
	}
	return nil
}

func (o *order[V]) oldestAge() uint64 {
	if e := o.oldest(); e != nil {
		return e.used.Load()
	}
	return noAge
}

// oldest returns the least recently used entry, or nil if there is none.
func (o *order[V]) oldest() *Entry[V] {
	slot, _, ok := o.lru.GetOldest()
	if !ok {
		return nil
	}
	return o.at[slot]
}

// all returns the entries from oldest to newest.
func (o *order[V]) all() []*Entry[V] {
	entries := make([]*Entry[V], 0, o.len())
	for _, slot := range o.lru.Keys() {
		entries = append(entries, o.at[slot])
	}
	return entries
}

// compact frees memory if there are less than half as many entries as there were, and reports whether it did. Neither a
// Go map nor the slots shrink by themselves: a cache that first held many small values and then few large ones would
// exceed its bytes by the memory that the many had needed.
func (o *order[V]) compact() bool {
	if len(o.at) < 128 || o.len() >= len(o.at)/2 {
		return false
	}
	entries := o.all()
	o.init()
	for _, e := range entries {
		o.add(e)
	}
	return true
}
