package tier

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
)

// item is a decoded entry. Except for the atomic fields it never changes once it
// can be found, and its value is shared by all callers.
//
// The fields that a hit reads are here, and the rest in meta: with ten thousand entries,
// much of a hit's time is spent waiting for memory. All that decides about a hit is in
// the first cache line of the itemOf, except seq, which is in the second with the value.
type item struct {
	key string
	// check is the time from which on a hit takes the slow path: the earliest of fresh,
	// expires, the time to refresh early and the provisional deadline.
	check atomic.Int64
	*kind
	// seq is the View.Seq at which recheck last found the item valid; 0 is no View's
	// Seq. Nothing else writes it: an item that was found valid when it was read
	// may have been read over a connection that is lost by now.
	seq atomic.Uint64
}

// kind is what the items of one namespace and of views that can be used at once have in
// common: see views. Negative items have a kind of their own, so that a hit compares
// kinds and nothing else.
type kind struct {
	ns           *namespace
	negative     bool
	negativeKind *kind   // the kind of negative items; nil if this is it
	metaAt       uintptr // the offset of the meta from the item
	padding      int     // see roomOf
}

// newKind returns a kind for a namespace's items of type V.
func newKind[V any](ns *namespace) *kind {
	at := unsafe.Offsetof(itemOf[V]{}.meta) - unsafe.Offsetof(itemOf[V]{}.Value)
	_, padding := roomOf[V]()
	k := &kind{ns: ns, metaAt: at, padding: padding}
	none := *k
	none.negative = true
	k.negativeKind = &none
	return k
}

// Flags of an item, each of which is set at most once.
const (
	early    = 1 << iota // a refresh ahead of the TTL was started
	released             // the marks were released, so they no longer follow the log
	guessed              // the cost is a guess, since sizeof cannot look into the value
)

// once sets a flag, and reports whether it was not set before.
func (it *item) once(what uint32) bool { return it.meta().did.Or(what)&what == 0 }

// has reports whether a flag is set.
func (it *item) has(what uint32) bool { return it.meta().did.Load()&what != 0 }

// meta is what is known of an item apart from its value.
type meta struct {
	// Read by recheck; in one cache line if the value has 48 bytes.
	asOf   AsOf
	epoch  uint64            // tracking epoch in which it was read
	common *changelog.Pinned // the marks of its namespaces
	made   *origins          // nil if it names no sources
	extra  *extra            // nil if there is nothing in it

	born    mono.Time
	fresh   mono.Time // end of its TTL
	expires mono.Time // end of its life, stale time included

	nonce uint64
	cost  int64 // 0: to be estimated
	// provisional is the time until which it is believed although its own write has
	// not been acknowledged; 0 once it has. See pendingFill.
	provisional atomic.Int64
	// retry is when a refresh of the stale item may be tried again.
	retry atomic.Int64

	did atomic.Uint32 // the flags early, released and guessed
	// expectsOwnEcho: the next invalidation of the key is the echo of our own write of
	// the item, and means nothing. Guarded by the shard of the table.
	expectsOwnEcho bool
}

// extra is what only some stores need to know of an item.
type extra struct {
	shard   *backend.Shard    // the server that it was read from, in a cluster
	keyTick invalidation.Tick // as of when the key held this value, where keys are scopes
	keyMark *changelog.Mark   // of the key itself, likewise
	outage  *outageAllowance  // if it may be served without proof while the server is away
}

var noExtra extra

// extra returns the item's extra, to be read.
func (it *item) extra() *extra {
	f := it.meta()
	if f.extra == nil {
		return &noExtra
	}
	return f.extra
}

// ensureExtra returns the item's extra, to be written before the item can be found.
func (it *item) ensureExtra() *extra {
	f := it.meta()
	if f.extra == nil {
		f.extra = &extra{}
	}
	return f.extra
}

// setBasis notes on what basis the item was read or loaded.
func (c *core) setBasis(it *item, b *basis) {
	it.meta().epoch = b.epoch
	c.setShard(it, b.shard)
	if c.keysAreScopes() {
		it.ensureExtra().keyTick = b.keyTick
	}
}

// setShard notes which server of a cluster the item was read from or is written to.
func (c *core) setShard(it *item, s *backend.Shard) {
	if s != nil || it.meta().extra != nil {
		it.ensureExtra().shard = s
	}
}

// keysAreScopes reports whether changes of single keys are recorded in the log.
func (c *core) keysAreScopes() bool { return c.s.cfg.noTracking && !c.cfg.localOnly }

// origins are the sources that an item was made from. marks follow the log until they
// are released.
type origins struct {
	sources []string
	marks   []*changelog.Mark
}

// sources returns the sources that the item was made from. They must not be written to.
func (it *item) sources() []string {
	if it.meta().made == nil {
		return nil
	}
	return it.meta().made.sources
}

func (it *item) dependOn(sources []string) {
	if len(sources) > 0 {
		it.meta().made = &origins{sources: sources}
	}
}

// marks returns the marks of the sources.
func (it *item) marks() []*changelog.Mark {
	if it.meta().made == nil {
		return nil
	}
	return it.meta().made.marks
}

// itemOf is one piece of memory with an item, the fields that the local tier needs for
// it, its value and its meta.
type itemOf[V any] struct {
	local.Entry[item]
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

const cacheLine = 64

// roomOf returns the heap size of the item of a V, and how many bytes of that are
// padding.
func roomOf[V any]() (size int64, padding int) {
	sizes := [...]int64{
		sizeof.Type[itemOf[V]](), sizeof.Type[longer[V, [16]byte]](), sizeof.Type[longer[V, [32]byte]](), sizeof.Type[longer[V, [48]byte]](),
	}
	for i, size := range sizes {
		if size%cacheLine == 0 && size <= 512 {
			return size, 16 * i
		}
	}
	return sizes[0], 0
}

// newItemOf returns an item with the value v; k is a kind of V's items.
func newItemOf[V any](k *kind, v V) *item {
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
	x.Value.kind, x.value = k, v
	return &x.Value
}

// valueIn returns the value of the item of a V; the zero V if it is negative.
func valueIn[V any](it *item) *V { return &(*itemOf[V])(unsafe.Pointer(it.entry())).value }

// meta returns the item's meta.
func (it *item) meta() *meta { return (*meta)(unsafe.Add(unsafe.Pointer(it), it.metaAt)) }

// entry returns the local.Entry that every item is a part of.
func (it *item) entry() *local.Entry[item] {
	return (*local.Entry[item])(unsafe.Add(unsafe.Pointer(it), -int(unsafe.Offsetof(local.Entry[item]{}.Value))))
}

// isValid decides rule R5, except for the TTL: whether this process can prove at now
// that a local copy is true.
func (s *Store) isValid(it *item, v *changelog.View, now mono.Time) bool {
	return s.hasFreshProof(it, v, now) && (it.seq.Load() == v.Seq || it.recheck(v))
}

// hasFreshProof reports whether this process has recent proof that it learns of changes of
// the item: from the log, and from the server that the item was read from.
func (s *Store) hasFreshProof(it *item, v *changelog.View, now mono.Time) bool {
	// guard: I2-shard-proof-age
	// guard: I2-proof-age
	return s.proofFresh(v, now) && (!s.sharded || it.extra().shard.Age(now) <= s.cfg.maxStaleness)
}

// proofFresh reports whether this process has recent proof that it has read the log.
func (s *Store) proofFresh(v *changelog.View, now mono.Time) bool {
	return v.Age(now) <= s.cfg.maxStaleness
}

// recheck looks at the marks. v was loaded before them, so a change that comes
// in between is seen here or moves Seq beyond the one noted.
func (it *item) recheck(v *changelog.View) bool {
	f := it.meta()
	// guard: I2-epoch
	if f.epoch != v.Epoch || !v.Covers(f.asOf) {
		return false
	}
	for _, m := range f.common.Marks {
		if m.Last() > f.asOf.Tick {
			return false
		}
	}
	for _, m := range it.marks() {
		if m.Last() > f.asOf.Tick {
			return false
		}
	}
	if x := f.extra; x != nil && x.keyMark != nil && x.keyMark.Last() > x.keyTick {
		return false
	}
	it.seq.Store(v.Seq)
	return true
}

// release unpins the marks, once.
func (it *item) release(t *changelog.Tail) {
	if !it.once(released) {
		return
	}
	t.Release(it.marks())
	if m := it.extra().keyMark; m != nil {
		t.Release([]*changelog.Mark{m})
	}
}

// plan sets check from the item's other times.
func (it *item) plan(c *cacheConfig) {
	f := it.meta()
	at := min(f.fresh, f.expires)
	if c.early > 0 && !it.negative && !it.has(early) {
		at = min(at, it.earlyAt(c))
	}
	p := f.provisional.Load()
	if p != 0 {
		at = min(at, mono.Time(p))
	}
	it.check.Store(int64(at))
	// guard: R9-suspended-stays-suspended
	if f.provisional.Load() != p {
		it.plan(c) // it was suspended in between, which is not to be undone
	}
}

// suspend ends the provisional time of an item, and returns false if it has none.
func (it *item) suspend() bool {
	f := it.meta()
	if f.provisional.Load() == 0 {
		return false
	}
	f.provisional.Store(math.MinInt64)
	it.check.Store(math.MinInt64)
	return true
}

// earlyAt is when c.early of the TTL has passed.
func (it *item) earlyAt(c *cacheConfig) mono.Time {
	f := it.meta()
	return f.born.Add(time.Duration(c.early * float64(f.fresh.Sub(f.born))))
}

// servable reports whether neither the item's life nor its provisional time has ended.
func (it *item) servable(now mono.Time) bool {
	f := it.meta()
	p := f.provisional.Load()
	return now < f.expires && (p == 0 || now < mono.Time(p))
}

// estimate returns the heap bytes that the item keeps alive apart from itself and its
// value. Marks are shared and left out.
func (it *item) estimate() int64 {
	f := it.meta()
	n := int64(len(it.key))
	if f.extra != nil {
		n += int64(unsafe.Sizeof(extra{}))
	}
	if f.made != nil {
		n += 48 + 8*int64(len(f.made.sources)) // origins, and its marks
	}
	for _, s := range it.sources() {
		n += int64(len(s)) + 16
	}
	return n
}

// cloneAll copies strings that are parts of something larger.
func cloneAll(in []string) []string {
	if len(in) == 0 {
		return nil
	}
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = strings.Clone(s)
	}
	return out
}
