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

	place uint32 // in the shard's order, and guarded like it
}

// Key returns the key under which the entry was put.
func (e *Entry[V]) Key() Key { return e.key }

// index finds entries by key: open addressing in groups of seven. Readers call find at any time, without a lock.
// Everything else belongs to one writer at a time (the shard's lock).
//
// A sync.Map would be less code. It hashes again what is a hash already, and boxes keys: measured, a search takes
// 50 ns in it and 6 ns here.
//
// A group is a cache line, and an entry is looked at only if the byte of its hash that lies in the group is right: what a
// search mostly waits for is memory, and it meets one line here and the one entry that it wants. The idea is that of
// Abseil's Swiss tables; the groups are smaller.
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
	groups atomic.Pointer[[]group[V]]
	_      [56]byte // readers of groups should not suffer from writes to the counts

	live   int // entries
	filled int // entries and graves
}

// group is groupSlots slots, and a tag for each. An entry is put into its slot before its tag is set, and taken out after
// it is: who comes in between does not find it yet, or finds the slot empty, or another's.
type group[V any] struct {
	tags  atomic.Uint64 // tags
	slots [groupSlots]atomic.Pointer[Entry[V]]
}

const groupSlots = 7

// tags has a byte for each slot of a group, the first in the lowest, and one that is always a grave's: empty, grave, or a
// part of the entry's hash.
type tags uint64

const (
	empty = 0
	grave = 1

	allEmpty tags = grave << (8 * groupSlots)
	ones     tags = 0x01010101010101 // in the byte of each slot
)

// tagOf takes what neither the shard nor the home depends on.
func tagOf(k Key) uint8 { return max(uint8(k.Hi), grave+1) }

// with marks the bytes that are tag: the top bit of each is set. The lowest mark is right; one above it may be wrong.
// (Bit Twiddling Hacks, "Determine if a word has a byte equal to n".)
func (t tags) with(tag uint8) tags {
	x := t ^ ones*tags(tag)
	return (x - ones) &^ x & (ones << 7)
}

// at is the slot of the lowest mark.
func (t tags) at() int { return bits.TrailingZeros64(uint64(t)) / 8 }

func (t tags) set(slot int, tag uint8) tags { return t&^(0xff<<(8*slot)) | tags(tag)<<(8*slot) }

func (x *index[V]) init() {
	first := newGroups[V](1)
	x.groups.Store(&first)
}

func newGroups[V any](n int) []group[V] {
	gs := make([]group[V], n)
	for i := range gs {
		gs[i].tags.Store(uint64(allEmpty))
	}
	return gs
}

// home maps the hash to a group in proportion, so that the number of groups need not be a power of two.
func home(k Key, n int) int {
	hi, _ := bits.Mul64(k.Lo, uint64(n))
	return int(hi)
}

// find returns the entry of k or nil. It ends because at least three in ten slots are empty.
func (x *index[V]) find(k Key) *Entry[V] {
	gs := *x.groups.Load()
	tag := tagOf(k)
	for i := home(k, len(gs)); ; {
		g := &gs[i]
		t := tags(g.tags.Load())
		for m := t.with(tag); m != 0; m &= m - 1 {
			if e := g.slots[m.at()].Load(); e != nil && e.key == k {
				return e
			}
		}
		if t.with(empty) != 0 {
			return nil
		}
		if i++; i == len(gs) {
			i = 0
		}
	}
}

// locate returns the group and the slot of k, or else those where k would have to be stored.
func locate[V any](gs []group[V], k Key) (in *group[V], slot int, found bool) {
	tag := tagOf(k)
	for i := home(k, len(gs)); ; {
		g := &gs[i]
		t := tags(g.tags.Load())
		for m := t.with(tag); m != 0; m &= m - 1 {
			if e := g.slots[m.at()].Load(); e != nil && e.key == k {
				return g, m.at(), true
			}
		}
		hole := t.with(empty)
		if free := t.with(grave) | hole; in == nil && free != 0 {
			in, slot = g, free.at()
		}
		if hole != 0 {
			return in, slot, false
		}
		if i++; i == len(gs) {
			i = 0
		}
	}
}

// put stores e and returns the entry of the same key that it replaced, if any.
func (x *index[V]) put(e *Entry[V]) (old *Entry[V]) {
	gs := *x.groups.Load()
	g, slot, found := locate(gs, e.key)
	if found {
		return g.slots[slot].Swap(e) // one step: there is no moment without a value
	}
	if !g.has(grave, slot) {
		if 10*(x.filled+1) > 7*groupSlots*len(gs) {
			gs = x.rebuild()
			g, slot, _ = locate(gs, e.key)
		}
		x.filled++
	}
	x.live++
	g.fill(slot, e)
	return nil
}

func (g *group[V]) has(tag uint8, slot int) bool { return uint8(g.tags.Load()>>(8*slot)) == tag }

func (g *group[V]) mark(slot int, tag uint8) {
	g.tags.Store(uint64(tags(g.tags.Load()).set(slot, tag)))
}

func (g *group[V]) fill(slot int, e *Entry[V]) {
	g.slots[slot].Store(e)
	g.mark(slot, tagOf(e.key))
}

// remove gives up the slot of k and returns its entry, or nil.
func (x *index[V]) remove(k Key) *Entry[V] {
	g, slot, found := locate(*x.groups.Load(), k)
	if !found {
		return nil
	}
	x.live--
	if tags(g.tags.Load()).with(empty) != 0 { // then no search has gone on beyond this group
		g.mark(slot, empty)
		x.filled--
	} else {
		g.mark(slot, grave)
	}
	return g.slots[slot].Swap(nil)
}

// rebuild copies the entries into new groups, half of whose slots they take. It is called again when entries and graves
// take seven in ten, up to which searches are short: after at least two new entries for every five there are.
func (x *index[V]) rebuild() []group[V] {
	next := newGroups[V](max(1, (2*x.live+groupSlots-1)/groupSlots))
	old := *x.groups.Load()
	for i := range old {
		for j := range old[i].slots {
			if e := old[i].slots[j].Load(); e != nil {
				g, slot, _ := locate(next, e.key)
				g.fill(slot, e)
			}
		}
	}
	x.filled = x.live
	x.groups.Store(&next)
	return next
}
