// Package record has the decoded entries of the local tier: their layout in memory, what is known of
// them apart from their values, and whether they are still true by what this process knows.
package record

import (
	"math"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/internal/sizeof"
	"github.com/tiercache/tiercache/invalidation"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier/internal/breaker"
)

// Item is a decoded entry. Except for the atomic fields it never changes once it
// can be found, and its value is shared by all callers.
//
// The fields that a hit reads are here, and the rest in meta: with ten thousand entries,
// much of a hit's time is spent waiting for memory. All that decides about a hit is in
// the first cache line of the itemOf, except seq, which is in the second with the value.
type Item struct {
	Key string
	// Check is the time from which on a hit takes the slow path: the earliest of fresh,
	// expires, the time to refresh early and the provisional deadline.
	Check atomic.Int64
	*Kind
	// Seq is the View.Seq at which recheck last found the item valid; 0 is no View's
	// Seq. Nothing else writes it: an item that was found valid when it was read
	// may have been read over a connection that is lost by now.
	Seq atomic.Uint64
}

// Kind is what the items of one namespace and of views that can be used at once have in
// common: see views. Negative items have a kind of their own, so that a hit compares
// kinds and nothing else.
type Kind struct {
	// Space is the namespace, which the package only compares.
	Space        any
	Negative     bool
	NegativeKind *Kind  // the kind of negative items; nil if this is it
	Shape        uint64 // the fingerprint of how their values are encoded
	// Left is called for items that have left the local tier; nil if none is. The latest view's is called.
	Left    *atomic.Pointer[LeftFunc]
	again   func(*Item) *Item
	clear   func(*Item)
	metaAt  uintptr // the offset of the meta from the item
	padding int     // see roomOf
}

// LeftFunc is told of an item that has left the local tier, and why.
type LeftFunc = func(it *Item, why local.Reason)

// NewKind returns a kind for a namespace's items of type V.
func NewKind[V any](space any) *Kind {
	at := unsafe.Offsetof(itemOf[V]{}.meta) - unsafe.Offsetof(itemOf[V]{}.Value)
	_, padding := RoomOf[V]()
	k := &Kind{Space: space, metaAt: at, padding: padding, again: func(it *Item) *Item { return NewItemOf(it.Kind, *ValueIn[V](it)) }}
	k.clear = func(it *Item) {
		x := (*itemOf[V])(unsafe.Pointer(it.Entry()))
		*x = itemOf[V]{}
		x.Value.Kind = k
	}
	none := *k
	none.Negative = true
	k.NegativeKind = &none
	return k
}

// Flags of an item.
const (
	Early    = 1 << iota // a refresh ahead of the TTL was started, and has not failed
	released             // the marks were released, so they no longer follow the log
	Guessed              // the cost is a guess, since sizeof cannot look into the value
	Left                 // the local tier had it, and has told of it
)

// Again resets a flag.
func (it *Item) Again(what uint32) { it.Meta().did.And(^what) }

// Once sets a flag, and reports whether it was not set before.
func (it *Item) Once(what uint32) bool { return it.Meta().did.Or(what)&what == 0 }

// Has reports whether a flag is set.
func (it *Item) Has(what uint32) bool { return it.Meta().did.Load()&what != 0 }

// meta is what is known of an item apart from its value.
type meta struct {
	// Read by recheck; in one cache line if the value has 48 bytes.
	AsOf   Position
	Epoch  uint64            // in which it was read: View.Epoch, or View.LogEpoch
	Common *changelog.Pinned // the marks of its namespaces
	Made   *origins          // nil if it names no sources
	Extra  *Extra            // nil if there is nothing in it

	Born    mono.Time
	Fresh   mono.Time // end of its TTL
	Expires mono.Time // end of its life, stale time included

	Nonce uint64
	Cost  int64 // 0: to be estimated
	// Provisional is the time until which it is believed although its own write has
	// not been acknowledged; 0 once it has. See core.pendingFill.
	Provisional atomic.Int64
	// Retry is when a renewal ahead of the TTL may be tried again, after one that failed.
	Retry atomic.Int64

	did atomic.Uint32 // the flags early, released and guessed
	// ExpectsOwnEcho: the next invalidation of the key is the echo of our own write of
	// the item, and means nothing. Guarded by the shard of the table.
	ExpectsOwnEcho bool
}

// Position is an invalidation.AsOf without the time at which that was taken, which an item has no room for.
type Position struct {
	Incarnation uint64
	Tick        invalidation.Tick
}

// PositionOf returns the position of a.
func PositionOf(a invalidation.AsOf) Position { return Position{a.Incarnation, a.Tick} }

// Full returns the position as an AsOf.
func (p Position) Full() invalidation.AsOf {
	return invalidation.AsOf{Incarnation: p.Incarnation, Tick: p.Tick}
}

// Extra is what only some stores need to know of an item.
type Extra struct {
	Shard   *backend.Shard    // the server that it was read from, in a cluster
	KeyTick invalidation.Tick // as of when the key held this value, where keys are scopes
	KeyMark *changelog.Mark   // of the key itself, likewise
	Outage  *OutageAllowance  // if it may be served without proof while the server is away
}

var noExtra Extra

// Extra returns the item's extra, to be read.
func (it *Item) Extra() *Extra {
	f := it.Meta()
	if f.Extra == nil {
		return &noExtra
	}
	return f.Extra
}

// EnsureExtra returns the item's extra, to be written before the item can be found.
func (it *Item) EnsureExtra() *Extra {
	f := it.Meta()
	if f.Extra == nil {
		f.Extra = &Extra{}
	}
	return f.Extra
}

// OutageAllowance allows an item to be served without proof: as long as one outage of
// the server lasts, and until a given time.
//
// Changes that this process learns of meanwhile (its own, or from messages that still
// arrive) invalidate the item all the same. The time for which other changes can be
// missed is bounded by WithOutageTTL, counted from the beginning of the load.
type OutageAllowance struct {
	Outage *breaker.Outage
	Begun  mono.Time // when the load began
	Until  mono.Time
}

// EpochNone is the epoch of items that are never valid by proof: the server sends no
// invalidations of their keys, since the items were neither read from it nor stored
// there. When the outage is over they are dropped, even if they are still true.
const EpochNone = math.MaxUint64

// origins are the sources that an item was made from. marks follow the log until they
// are released.
type origins struct {
	Sources []string
	Marks   []*changelog.Mark
}

// Sources returns the sources that the item was made from. They must not be written to.
func (it *Item) Sources() []string {
	if it.Meta().Made == nil {
		return nil
	}
	return it.Meta().Made.Sources
}

func (it *Item) DependOn(sources []string) {
	if len(sources) > 0 {
		it.Meta().Made = &origins{Sources: sources}
	}
}

// Marks returns the marks of the sources.
func (it *Item) Marks() []*changelog.Mark {
	if it.Meta().Made == nil {
		return nil
	}
	return it.Meta().Made.Marks
}

// itemOf is one piece of memory with an item, the fields that the local tier needs for
// it, its value and its meta.
type itemOf[V any] struct {
	local.Entry[Item]
	value V
	meta  meta
}

// longer is an itemOf with padding, so that it begins at a cache line. Up to 512 bytes,
// the allocator places pieces of memory at multiples of their size class: with 240 bytes
// the first 64 bytes of every other item would be in two cache lines.
type longer[V, Padding any] struct {
	itemOf[V]
	_ Padding
}

const CacheLine = 64

// RoomOf returns the heap size of the item of a V, and how many bytes of that are
// padding.
func RoomOf[V any]() (size int64, padding int) {
	sizes := [...]int64{
		sizeof.Type[itemOf[V]](), sizeof.Type[longer[V, [16]byte]](), sizeof.Type[longer[V, [32]byte]](), sizeof.Type[longer[V, [48]byte]](),
	}
	for i, size := range sizes {
		if size%CacheLine == 0 && size <= 512 {
			return size, 16 * i
		}
	}
	return sizes[0], 0
}

// NewItemOf returns an item with the value v; k is a kind of V's items.
func NewItemOf[V any](k *Kind, v V) *Item {
	var x *itemOf[V]
	switch k.padding {
	case 16:
		x = &new(longer[V, [16]byte]).itemOf
	case 32:
		x = &new(longer[V, [32]byte]).itemOf
	case 48:
		x = &new(longer[V, [48]byte]).itemOf
	default:
		x = new(itemOf[V])
	}
	x.Value.Kind, x.value = k, v
	return &x.Value
}

// Clear makes an item to which nothing refers what Type.Empty returned; see values.Type.
func (it *Item) Clear() { it.clear(it) }

// ValueIn returns the value of the item of a V; the zero V if it is negative.
func ValueIn[V any](it *Item) *V { return &(*itemOf[V])(unsafe.Pointer(it.Entry())).value }

// Meta returns the item's meta.
func (it *Item) Meta() *meta { return (*meta)(unsafe.Add(unsafe.Pointer(it), it.metaAt)) }

// Entry returns the local.Entry that every item is a part of.
func (it *Item) Entry() *local.Entry[Item] {
	return (*local.Entry[Item])(unsafe.Add(unsafe.Pointer(it), -int(unsafe.Offsetof(local.Entry[Item]{}.Value))))
}

// Recheck looks at the marks. v was loaded before them, so a change that comes
// in between is seen here or moves Seq beyond the one noted.
func (it *Item) Recheck(v *changelog.View) bool {
	f := it.Meta()
	// guard: I2-epoch
	// guard: V2-log-epoch
	if f.Epoch != v.Epoch && f.Epoch != v.LogEpoch() || !v.Covers(f.AsOf.Full()) {
		return false
	}
	for _, m := range f.Common.Marks {
		if m.Last() > f.AsOf.Tick {
			return false
		}
	}
	for _, m := range it.Marks() {
		if m.Last() > f.AsOf.Tick {
			return false
		}
	}
	if x := f.Extra; x != nil && x.KeyMark != nil && x.KeyMark.Last() > x.KeyTick {
		return false
	}
	it.Seq.Store(v.Seq)
	return true
}

// Release unpins the marks, once.
func (it *Item) Release(t *changelog.Tail) {
	if !it.Once(released) {
		return
	}
	t.Release(it.Marks())
	if m := it.Extra().KeyMark; m != nil {
		t.Release([]*changelog.Mark{m})
	}
}

// Renewed returns a new item with the value and the times of it. What it was read on is not known of the new item: its
// epoch, its shard and its marks are to be set. Nor does it expect an echo:
//
//	B: fills k; the invalidation that the write causes is on its way
//	B: loses its connection, and so that invalidation
//	B: finds that the entry is still that write, and tracks k again
//	A: sets k; B is told, and must not take that for its echo
func (it *Item) Renewed() *Item {
	next := it.again(it)
	was, f := it.Meta(), next.Meta()
	next.Key = it.Key
	f.Nonce, f.AsOf, f.Cost = was.Nonce, was.AsOf, was.Cost
	f.Born, f.Fresh, f.Expires = was.Born, was.Fresh, was.Expires
	// guard: V3-owes-nothing
	f.ExpectsOwnEcho = false
	f.Retry.Store(was.Retry.Load())
	f.did.Store(was.did.Load() &^ released)
	next.DependOn(it.Sources())
	next.Check.Store(it.Check.Load())
	return next
}

// Plan sets check from the item's other times.
// share is that of the TTL after which the item is renewed early; 0 if never.
func (it *Item) Plan(share float64) {
	at, provisional := it.nextCheck(share)
	it.setCheck(share, at, provisional)
}

// nextCheck returns when the item is to be looked at closer, and the end of its provisional time by which that is so.
func (it *Item) nextCheck(share float64) (at mono.Time, provisional int64) {
	f := it.Meta()
	at = min(f.Fresh, f.Expires)
	if share > 0 && !it.Has(Early) {
		at = min(at, it.EarlyAt(share))
	}
	if provisional = f.Provisional.Load(); provisional != 0 {
		at = min(at, mono.Time(provisional))
	}
	return at, provisional
}

func (it *Item) setCheck(share float64, at mono.Time, provisional int64) {
	it.Check.Store(int64(at))
	// guard: R9-doubted-stays-doubted
	if it.Meta().Provisional.Load() != provisional {
		it.Plan(share) // it was doubted in between, which is not to be undone
	}
}

// Doubt ends the provisional time of an item, and returns false if it has none.
func (it *Item) Doubt() bool {
	f := it.Meta()
	if f.Provisional.Load() == 0 {
		return false
	}
	f.Provisional.Store(math.MinInt64)
	it.Check.Store(math.MinInt64)
	return true
}

// EarlyAt is when the item is renewed ahead of its TTL: when a share of that has passed, and no
// sooner than a refresh may be tried again.
func (it *Item) EarlyAt(share float64) mono.Time {
	f := it.Meta()
	at := f.Born.Add(time.Duration(share * float64(f.Fresh.Sub(f.Born))))
	return max(at, mono.Time(f.Retry.Load()))
}

// Servable reports whether neither the item's life nor its provisional time has ended.
func (it *Item) Servable(now mono.Time) bool {
	f := it.Meta()
	p := f.Provisional.Load()
	return now < f.Expires && (p == 0 || now < mono.Time(p))
}

// Estimate returns the heap bytes that the item keeps alive apart from itself and its
// value. Marks are shared and left out.
func (it *Item) Estimate() int64 {
	f := it.Meta()
	n := int64(len(it.Key))
	if f.Extra != nil {
		n += int64(unsafe.Sizeof(Extra{}))
	}
	if f.Made != nil {
		n += 48 + 8*int64(len(f.Made.Sources)) // origins, and its marks
	}
	for _, s := range it.Sources() {
		n += int64(len(s)) + 16
	}
	return n
}

// CloneAll copies strings that are parts of something larger.
func CloneAll(in []string) []string {
	if len(in) == 0 {
		return nil
	}
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = strings.Clone(s)
	}
	return out
}
