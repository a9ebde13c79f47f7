package local

import (
	"math/bits"
	"sync/atomic"
)

// Entry is one stored value and the room that the cache needs for it. Put makes one; PutEntry takes that of a caller who
// has the value in it already, perhaps as part of something larger, so that a hit meets all it needs in neighbouring
// cache lines.
//
// Readers have it without a lock, so the key never changes, nor what the cache knows the Value as: a new value is a new
// entry. Whoever finds an Entry may go on using its Value after it has left.
type Entry[V any] struct {
	cost int64 // with Overhead

	// What a search and a hit look at.
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
// A sync.Map would be less code. It hashes again what is a hash already, and boxes keys: measured, a search takes
// 50 ns in it and 6 ns here.
//
// An entry is looked at only if the byte of its hash that is beside its slot is right: what a search mostly waits for is
// memory, and so it meets a cache line of slots and the one entry that it wants. The idea is that of Abseil's Swiss tables.
//
// A reader is never led astray because, in one array of groups, an entry stays where it was put until it leaves. A search
// ends at the first group with an empty slot. A slot of a group without one becomes a grave when its entry leaves, and is
// not empty again before the array is replaced:
//
//	A is in a group that is full, and so B, whose home that is as well, in the next
//	reader of B                      writer
//	                                 removes A: its slot becomes a grave (an empty one would end every later search for B)
//	finds no empty slot, goes on
//	finds B
//
// Graves are filled again, and left behind when the array is replaced. It is replaced by a copy, never changed in place,
// so a reader which still searches the old array sees what was true when it began.
type index[V any] struct {
	groups atomic.Pointer[groups[V]]
	_      [56]byte // readers of groups should not suffer from writes to the counts

	live   int // entries
	filled int // entries and graves
}

// groups are groupSlots slots each, and a tag for each of those. An entry is put into its slot before its tag is set, and
// taken out after it is: who comes in between does not find it yet, or finds the slot empty, or another's.
//
// Slots and tags are apart for the sake of the garbage collector, which takes a fifth to a third longer with a million
// entries where both are in one: it follows plain arrays of pointers faster.
type groups[V any] struct {
	tags  []atomic.Uint64 // tags
	slots []atomic.Pointer[Entry[V]]
}

const groupSlots = 8

// tags has a byte for each slot of a group, the first in the lowest: empty, grave, or a part of the entry's hash.
type tags uint64

const (
	empty     = 0
	tombstone = 1

	ones tags = 0x0101010101010101 // in the byte of each slot
)

// tagOf takes what neither the shard nor the home depends on.
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
		_ = slots[0].Load() // or the slots would be fetched when the tags are there
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

// remove gives up the slot of k and returns its entry, or nil.
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

// rebuild copies the entries into new groups, half of whose slots they take. It is called again when entries and graves
// take seven in ten, up to which searches are short: after at least two new entries for every five there are.
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
