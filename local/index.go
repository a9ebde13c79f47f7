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
	cost  int64  // with Overhead
	place uint32 // in the shard's order, and guarded like it

	// What a search and a hit look at.
	key  Key
	used atomic.Uint64 // clock time of the latest recorded use

	Value V
}

// Key returns the key under which the entry was put.
func (e *Entry[V]) Key() Key { return e.key }

type slots[V any] []atomic.Pointer[Entry[V]]

// index finds entries by key: open addressing with linear probing. Readers call find at any time, without a lock.
// Everything else belongs to one writer at a time (the shard's lock).
//
// A sync.Map would be less code. It hashes again what is a hash already, and boxes keys: measured, a search takes
// 50 ns in it and 6 ns here.
//
// A reader is never led astray because, in one array of slots, an entry stays where it was put until it leaves. A slot
// that is given up becomes a grave, which a probe walks over, and not a hole, at which it ends:
//
//	A and B have the same home; A lies in it, B behind it
//	reader of B          writer
//	                     removes A: its slot becomes a grave (a hole would end every later search for B)
//	passes the grave
//	finds B
//
// Graves are filled again, dug away where a hole follows anyway, and left behind when the array is replaced. It is
// replaced by a copy, never changed in place, so a reader which still searches the old array sees what was true when
// it began.
type index[V any] struct {
	slots atomic.Pointer[slots[V]]
	_     [56]byte // readers of slots should not suffer from writes to the counts

	live   int // entries
	filled int // entries and graves
	grave  *Entry[V]
}

const minSlots = 8

func (x *index[V]) init() {
	x.grave = new(Entry[V])
	empty := make(slots[V], minSlots)
	x.slots.Store(&empty)
}

// home maps the hash to a slot in proportion, so that the number of slots need not be a power of two.
func home(k Key, n int) int {
	hi, _ := bits.Mul64(k.Lo, uint64(n))
	return int(hi)
}

// find returns the entry of k or nil. It ends because at least three in eight slots are holes.
func (x *index[V]) find(k Key) *Entry[V] {
	s := *x.slots.Load()
	for i := home(k, len(s)); ; {
		e := s[i].Load()
		if e == nil {
			return nil
		}
		if e.key == k && e != x.grave { // a grave's key is zero, which is a key like any other
			return e
		}
		if i++; i == len(s) {
			i = 0
		}
	}
}

// locate returns the slot of k, or else the slot where k would have to be stored.
func (x *index[V]) locate(s slots[V], k Key) (at int, found bool) {
	at = -1
	for i := home(k, len(s)); ; {
		e := s[i].Load()
		switch {
		case e == nil:
			if at < 0 {
				at = i
			}
			return at, false
		case e == x.grave:
			if at < 0 {
				at = i
			}
		case e.key == k:
			return i, true
		}
		if i++; i == len(s) {
			i = 0
		}
	}
}

// put stores e and returns the entry of the same key that it replaced, if any.
func (x *index[V]) put(e *Entry[V]) (old *Entry[V]) {
	s := *x.slots.Load()
	at, found := x.locate(s, e.key)
	if found {
		old = s[at].Load()
		s[at].Store(e) // one store: there is no moment without a value
		return old
	}
	if s[at].Load() == nil {
		if x.filled+1 > len(s)*5/8 {
			s = x.rebuild()
			at, _ = x.locate(s, e.key)
		}
		x.filled++
	}
	x.live++
	s[at].Store(e)
	return nil
}

// remove gives up the slot of k and returns its entry, or nil.
func (x *index[V]) remove(k Key) *Entry[V] {
	s := *x.slots.Load()
	i, found := x.locate(s, k)
	if !found {
		return nil
	}
	e := s[i].Load()
	x.live--
	next := i + 1
	if next == len(s) {
		next = 0
	}
	if s[next].Load() != nil {
		s[i].Store(x.grave)
		return e
	}
	// No probe goes on beyond this slot, so neither it nor the graves before it are needed.
	s[i].Store(nil)
	x.filled--
	for {
		if i--; i < 0 {
			i = len(s) - 1
		}
		if s[i].Load() != x.grave {
			return e
		}
		s[i].Store(nil)
		x.filled--
	}
}

// rebuild copies the entries into new slots, four in nine of them taken. It is called again when entries and graves
// take five in eight, up to which searches are short: after at least three new entries for every eight there are.
func (x *index[V]) rebuild() slots[V] {
	next := make(slots[V], max(minSlots, x.live*9/4))
	for i, old := 0, *x.slots.Load(); i < len(old); i++ {
		if e := old[i].Load(); e != nil && e != x.grave {
			at, _ := x.locate(next, e.key)
			next[at].Store(e)
		}
	}
	x.filled = x.live
	x.slots.Store(&next)
	return next
}
