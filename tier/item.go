package tier

import (
	"math"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/internal/sizeof"
	"github.com/tiercache/tiercache/invalidation"
)

// item is a decoded entry. But for the atomic fields it never changes once it
// can be found, and its value is shared with every caller.
type item struct {
	value    any // nil if negative
	ns       *namespace
	key      string
	negative bool
	sources  []string
	nonce    uint64
	shape    uint64 // of the value's type
	cost     int64  // 0: to be estimated

	asOf    AsOf
	marks   []*invalidation.Mark
	keyTick invalidation.Tick  // as of when the key held this, where keys are scopes
	keyMark *invalidation.Mark // of the key itself, where keys are scopes
	epoch   uint64             // tracking epoch in which it was read

	born    mono.Time
	fresh   mono.Time // end of its TTL
	expires mono.Time // end of its life, stale time included

	// check is when a hit has to look closer: the earliest of fresh, expires,
	// the time to refresh early and the provisional deadline.
	check atomic.Int64
	// provisional is until when it is believed although its own write has not
	// been acknowledged; 0 once it has. See filling.
	provisional atomic.Int64
	// retry is when a refresh of the stale item may be tried again.
	retry atomic.Int64
	// early is set while or after a refresh ahead of the TTL was started.
	early atomic.Bool
	// released: the marks were given back, so they no longer follow the log.
	released atomic.Bool
	// seq is the View.Seq at which recheck last found the item valid; 0 never is
	// one. Nothing else writes it: an item that was judged right when it was read
	// may have been read over a connection that is lost by now.
	seq atomic.Uint64
}

// believed decides rule R5 but for the TTL: whether a local copy is true as far
// as this process can prove at now.
func (it *item) believed(v *invalidation.View, now mono.Time, maxStale time.Duration) bool {
	if v.Age(now) > maxStale {
		return false
	}
	if it.seq.Load() == v.Seq {
		return true // nothing at all has changed since it was last checked
	}
	return it.recheck(v)
}

// recheck looks at the marks. v was loaded before them, so a change that comes
// in between is seen here or moves Seq beyond the one noted.
func (it *item) recheck(v *invalidation.View) bool {
	if it.epoch != v.Epoch || !v.Covers(it.asOf) {
		return false
	}
	for _, m := range it.marks {
		if m.Last() > it.asOf.Tick {
			return false
		}
	}
	if it.keyMark != nil && it.keyMark.Last() > it.keyTick {
		return false
	}
	it.seq.Store(v.Seq)
	return true
}

// release gives the marks back, once.
func (it *item) release(t *invalidation.Tail) {
	if it.released.Swap(true) {
		return
	}
	t.Release(it.marks)
	if it.keyMark != nil {
		t.Release([]*invalidation.Mark{it.keyMark})
	}
}

// plan sets check from what the item knows of its times.
func (it *item) plan(c *cacheConfig) {
	at := min(it.fresh, it.expires)
	if c.early > 0 && !it.negative && !it.early.Load() {
		at = min(at, it.earlyAt(c))
	}
	if p := it.provisional.Load(); p != 0 {
		at = min(at, mono.Time(p))
	}
	it.check.Store(int64(at))
}

// suspend ends the provisional time of an item, if it is in it.
func (it *item) suspend() bool {
	if it.provisional.Load() == 0 {
		return false
	}
	it.provisional.Store(math.MinInt64)
	it.check.Store(math.MinInt64)
	return true
}

// earlyAt is when c.early of the TTL has passed.
func (it *item) earlyAt(c *cacheConfig) mono.Time {
	return it.born.Add(time.Duration(c.early * float64(it.fresh.Sub(it.born))))
}

// servable reports whether the item's life, and its provisional time, last.
func (it *item) servable(now mono.Time) bool {
	p := it.provisional.Load()
	return now < it.expires && (p == 0 || now < mono.Time(p))
}

// itemOverhead is what an item costs beside its value, key and sources; the
// local tier adds its own.
const itemOverhead = int64(unsafe.Sizeof(item{}))

// estimate is the heap the item keeps alive. Marks are shared and left out.
func estimate(it *item) int64 {
	n := itemOverhead + int64(len(it.key)) + int64(len(it.sources)+len(it.ns.scopes))*8
	for _, s := range it.sources {
		n += int64(len(s)) + 16
	}
	return n + sizeof.Of(it.value)
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
