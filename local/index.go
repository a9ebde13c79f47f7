package local

import (
	"math/bits"
	"sync/atomic"
)

// Entry is one stored value with the fields that the cache needs for it. Put makes one; PutEntry takes an Entry that the
// caller has made, perhaps as part of something larger, so that all that a hit needs is in neighbouring cache lines.
//
// Readers use it without a lock, so the cache never changes its key and never replaces its Value: a new value is a new
// Entry. A reader that has found an Entry may go on using its Value after the Entry has left the cache.
type Entry[V any] struct {
	cost int64 // with Overhead

	// Read by a search and a hit.
	key  Key
	used atomic.Uint64 // clock time of the latest recorded use

	Value V

	slot uint32 // in the shard's order, and guarded like it
}

// Key returns the key under which the entry was put.
func (e *Entry[V]) Key() Key { return e.key }

// index finds entries by key: open addressing in groups of eight. Readers call find at any time, without a lock.
// Everything else belongs to one writer at a time (the shard's lock).
//
// A sync.Map would be less code. It hashes the key again, which is a hash already, and boxes it: measured, a search takes
// 50 ns in it and 6 ns here.
//
// A search looks at an entry only if its tag, a byte of the hash beside the slots, matches. A search mostly waits for
// memory; so it loads a cache line of slots and the one entry that it wants. The idea is that of Abseil's Swiss tables.
//
// A reader never misses an entry because, in one array of groups, an entry stays where it was put until it leaves. A
// search ends at the first group with an empty slot. In a group without one, the slot of an entry that leaves becomes a
// tombstone, and is not empty again before the array is replaced:
//
//	A is in a group that is full. So B, which has the same home, is in the next one.
//	reader of B                      writer
//	                                 removes A: its slot becomes a tombstone (an empty slot would end all searches for B)
//	finds no empty slot, goes on
//	finds B
//
// Tombstones are filled again, and dropped when the array is replaced. It is replaced by a copy, never changed in place,
// so a reader that still searches the old array sees what was true when it began.
type index[V any] struct {
	groups atomic.Pointer[groups[V]]
	_      [56]byte // keeps writes to the counts from slowing readers of groups

	live   int // entries
	filled int // entries and tombstones
}

// groups are groupSlots slots each, and a tag for each slot. A writer fills a slot before it sets the tag, and empties it
// after it has cleared the tag. A reader in between does not find the entry yet, or finds the slot empty, or with another
// entry.
//
// Slots and tags are apart for the sake of the garbage collector, which takes a fifth to a third longer with a million
// entries where both are in one: it follows plain arrays of pointers faster.
type groups[V any] struct {
	tags  []atomic.Uint64 // tags
	slots []atomic.Pointer[Entry[V]]
}

const groupSlots = 8

// tags has a byte for each slot of a group, the first in the lowest: empty, tombstone, or a part of the entry's hash.
type tags uint64

const (
	empty     = 0
	tombstone = 1

	ones tags = 0x0101010101010101 // in the byte of each slot
)

// tagOf takes bits of the hash that choose neither the shard nor the home.
// guard: tag-is-not-empty
func tagOf(k Key) uint8 { return max(uint8(k.Hi), tombstone+1) }

// with marks the bytes that are tag: the top bit of each is set. The lowest mark is right; one above it may be wrong.
// (Bit Twiddling Hacks, "Determine if a word has a byte equal to n".)
func (t tags) with(tag uint8) tags {
	x := t ^ ones*tags(tag)
	return (x - ones) &^ x & (ones << 7)
}

// at is the slot of the lowest mark.
func (t tags) at() int { return bits.TrailingZeros64(uint64(t)) / 8 }

func (t tags) set(slot int, tag uint8) tags { return t&^(0xff<<(8*slot)) | tags(tag)<<(8*slot) }

func (x *index[V]) init() { x.groups.Store(newGroups[V](1)) }

func newGroups[V any](n int) *groups[V] {
	return &groups[V]{make([]atomic.Uint64, n), make([]atomic.Pointer[Entry[V]], groupSlots*n)}
}

// home maps the hash to a group in proportion, so that the number of groups need not be a power of two.
func home(k Key, n int) int {
	hi, _ := bits.Mul64(k.Lo, uint64(n))
	return int(hi)
}

// find returns the entry of k or nil. It ends because at least three in ten slots are empty.
func (x *index[V]) find(k Key) *Entry[V] {
	gs := x.groups.Load()
	tag := tagOf(k)
	for i := home(k, len(gs.tags)); ; {
		slots := gs.slots[groupSlots*i : groupSlots*i+groupSlots : len(gs.slots)]
		_ = slots[0].Load() // else the slots would be fetched only when the tags have arrived
		t := tags(gs.tags[i].Load())
		for m := t.with(tag); m != 0; m &= m - 1 {
			if e := slots[m.at()%groupSlots].Load(); e != nil && e.key == k {
				return e
			}
		}
		// guard: search-beyond-full-group
		if t.with(empty) != 0 {
			return nil
		}
		if i++; i == len(gs.tags) {
			i = 0
		}
	}
}

// locate returns the slot of k, or else the one where k would have to be stored.
func (gs *groups[V]) locate(k Key) (slot int, found bool) {
	tag := tagOf(k)
	slot = -1
	for i := home(k, len(gs.tags)); ; {
		t := tags(gs.tags[i].Load())
		for m := t.with(tag); m != 0; m &= m - 1 {
			at := groupSlots*i + m.at()
			if e := gs.slots[at].Load(); e != nil && e.key == k {
				return at, true
			}
		}
		hole := t.with(empty)
		if free := t.with(tombstone) | hole; slot < 0 && free != 0 {
			slot = groupSlots*i + free.at()
		}
		if hole != 0 {
			return slot, false
		}
		if i++; i == len(gs.tags) {
			i = 0
		}
	}
}

// put stores e and returns the entry of the same key that it replaced, if any.
func (x *index[V]) put(e *Entry[V]) (old *Entry[V]) {
	gs := x.groups.Load()
	slot, found := gs.locate(e.key)
	if found {
		// guard: replace-in-one-step
		return gs.slots[slot].Swap(e) // one step: there is no moment without a value
	}
	if gs.tag(slot) != tombstone {
		if 10*(x.filled+1) > 7*len(gs.slots) {
			gs = x.rebuild()
			slot, _ = gs.locate(e.key)
		}
		x.filled++
	}
	x.live++
	gs.fill(slot, e)
	return nil
}

func (gs *groups[V]) tag(slot int) uint8 {
	return uint8(gs.tags[slot/groupSlots].Load() >> (8 * (slot % groupSlots)))
}

func (gs *groups[V]) mark(slot int, tag uint8) {
	t := &gs.tags[slot/groupSlots]
	t.Store(uint64(tags(t.Load()).set(slot%groupSlots, tag)))
}

func (gs *groups[V]) fill(slot int, e *Entry[V]) {
	gs.slots[slot].Store(e)
	gs.mark(slot, tagOf(e.key))
}

// remove frees the slot of k and returns its entry, or nil.
func (x *index[V]) remove(k Key) *Entry[V] {
	gs := x.groups.Load()
	slot, found := gs.locate(k)
	if !found {
		return nil
	}
	x.live--
	// guard: tombstone-in-full-group
	if tags(gs.tags[slot/groupSlots].Load()).with(empty) != 0 { // then no search has gone on beyond this group
		gs.mark(slot, empty)
		x.filled--
	} else {
		gs.mark(slot, tombstone)
	}
	return gs.slots[slot].Swap(nil)
}

// rebuild copies the entries into new groups, and fills half of their slots. It is called again when entries and
// tombstones fill seven in ten (up to that searches are short): after at least two new entries for every five.
func (x *index[V]) rebuild() *groups[V] {
	next := newGroups[V](max(1, (2*x.live+groupSlots-1)/groupSlots))
	old := x.groups.Load()
	for i := range old.slots {
		if e := old.slots[i].Load(); e != nil {
			slot, _ := next.locate(e.key)
			next.fill(slot, e)
		}
	}
	x.filled = x.live
	x.groups.Store(next)
	return next
}
