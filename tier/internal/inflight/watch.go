package inflight

import (
	"math"
	"sync"
	"sync/atomic"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier/internal/record"
)

// Watch counts the invalidations of one key while a goroutine reads or writes it
// remotely, so that a copy is kept only if the key has not changed since it
// was read (rule R9). It is registered before the request is sent:
//
//	caller:           sends GET k
//	server:           answers the GET, then sends the invalidation of another SET k
//	reader goroutine: hands over the answer, then removes the copy of k: there is none
//	caller:           wakes up and would keep the old value for ever
//
// All fields are guarded by the shard of the table.
type Watch struct {
	invalidations int
	// baseline is the count when the latest tracked read, or this process's write, was
	// about to be sent: the value that is read or written is not older than that.
	baseline int
	// hasProvisional: a write of this process is under way whose value is in the local
	// tier already. It causes exactly one invalidation beyond baseline, its echo (see
	// backend.Write).
	hasProvisional bool
	// linked: what is read or written stands beside an entry of another encoding, which was
	// read when the count was linkedAt. Invalidations of both names are counted: what is told
	// of once is not told of again, so a copy is kept only if neither has changed since.
	linked   bool
	linkedAt int
	// gone: no longer registered, so invalidations are not counted any more.
	gone bool
	// besideCall: the key had a call since it was registered.
	besideCall bool
}

// isLinked reports whether nothing was told of the entry that it stands beside up to the baseline.
func (w *Watch) isLinked() bool {
	// guard: I2-kept-beside-what-was-read
	return !w.linked || w.baseline == w.linkedAt
}

// isOwnEcho reports whether the latest invalidation can be the echo of the watched write.
func (w *Watch) isOwnEcho() bool { return w.hasProvisional && w.invalidations == w.baseline+1 }

// keyState holds the call and the writes that are under way for one key in this process.
type keyState struct {
	call    *Call
	watches []*Watch // of writes; the call has its own
}

// recordInvalidation counts n invalidations for all watches except one, and reports whether
// the latest can be the echo of a write of this process.
func (k *keyState) recordInvalidation(n int, except *Watch) (own bool) {
	for _, w := range k.watches {
		if w != except {
			w.invalidations += n
			own = own || w.isOwnEcho()
		}
	}
	if f := k.call; f != nil {
		f.Watch.invalidations += n
		own = own || f.Watch.isOwnEcho()
		f.wakeUpLocked()
	}
	return own
}

// Table holds the states of the keys that have a call or a write under way. It is sharded
// by hash; only the local tier is called under its mutexes.
type Table struct {
	local *local.Cache[record.Item]
	// Largest is the cost above which an item is not kept; 0: there is no such.
	Largest int64
	// TooLarge counts those.
	TooLarge atomic.Int64
	// ShardOf is nil, or returns nil, where there is one server.
	ShardOf func(name string) *backend.Shard
	shards  [64]tableShard
	// Synced is a mono.Time, when the latest Sync that succeeded was called.
	Synced atomic.Int64
}

type tableShard struct {
	mu   sync.Mutex // guards keys, and the watches and calls in it
	keys map[local.Key]*keyState
	_    [40]byte
}

func NewTable(l *local.Cache[record.Item]) *Table {
	t := &Table{local: l}
	for i := range t.shards {
		t.shards[i].keys = make(map[local.Key]*keyState)
	}
	return t
}

// put puts an item into the local tier. It is called at most once for each item.
func (t *Table) put(h local.Key, it *record.Item) bool {
	cost := it.Meta().Cost
	// guard: largest-local-value
	if t.Largest > 0 && cost > t.Largest {
		t.TooLarge.Add(1)
		cost = math.MaxInt64 // which no bound allows; and what was there before is gone
	}
	return t.local.PutEntry(h, it.Entry(), cost)
}

func (t *Table) shard(h local.Key) *tableShard { return &t.shards[h.Lo%uint64(len(t.shards))] }

func (s *tableShard) stateLocked(h local.Key) *keyState {
	k := s.keys[h]
	if k == nil {
		k = &keyState{}
		s.keys[h] = k
	}
	return k
}

func (s *tableShard) dropLocked(h local.Key, k *keyState) {
	if k.call == nil && len(k.watches) == 0 {
		delete(s.keys, h)
	}
}

// Watch begins to count the invalidations of h.
func (t *Table) Watch(h local.Key, w *Watch) {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.stateLocked(h)
	k.watches, w.besideCall = append(k.watches, w), k.call != nil
}

func (t *Table) Unwatch(h local.Key, w *Watch) {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unwatchLocked(h, w)
}

func (s *tableShard) unwatchLocked(h local.Key, w *Watch) {
	w.gone = true
	k := s.keys[h]
	if k == nil {
		return
	}
	for i, other := range k.watches {
		if other == w {
			k.watches = append(k.watches[:i], k.watches[i+1:]...)
			break
		}
	}
	s.dropLocked(h, k)
}

// ApplyInvalidation applies an invalidation push: h was changed, by another process or by
// this one. It removes the local copy. If the invalidation may be the echo of this
// process's own write, the copy is only doubted, until CommitProvisional or
// RemoveProvisional decides. It is not served meanwhile, since the invalidation may as
// well be of a write that came before this process's and fenced it.
func (t *Table) ApplyInvalidation(h local.Key) {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	own := false
	if k := s.keys[h]; k != nil {
		own = k.recordInvalidation(1, nil)
	}
	e := t.local.PeekEntry(h)
	switch {
	case e == nil:
	// guard: R9-doubt-provisional
	case own && e.Value.Doubt():
	case e.Value.Meta().ExpectsOwnEcho:
		// guard: R9-own-echo-once
		e.Value.Meta().ExpectsOwnEcho = false
	default:
		// guard: R9-invalidation-evicts
		t.local.RemoveEntry(e)
	}
}

// InvalidateKey makes this process forget what it knows of h, because it is about to
// change the key, or just has: it removes the copy, and a value that is being read or
// loaded is neither kept nor given to callers that begin later.
func (t *Table) InvalidateKey(h local.Key, except *Watch) {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.invalidateKeyLocked(h, except)
	t.local.Remove(h)
}

func (s *tableShard) invalidateKeyLocked(h local.Key, except *Watch) {
	k := s.keys[h]
	if k == nil {
		return
	}
	// guard: I1-write-ends-provisional-reads
	k.recordInvalidation(2, except) // 2 are never taken for an echo
}

// RemoveOtherVersions removes the local copy of another version of h than nonce, which was
// read remotely and is about to be returned but not kept; by f, if that is not nil. A
// call that has not returned nonce is invalidated, and so is what else is being read or written.
func (t *Table) RemoveOtherVersions(h local.Key, nonce uint64, f *Call) {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := t.local.PeekEntry(h); e != nil && e.Value.Meta().Nonce != nonce {
		t.local.RemoveEntry(e)
	}
	k := s.keys[h]
	if k == nil {
		return
	}
	for _, w := range k.watches {
		// guard: I10-untracked-warm-read
		w.invalidations += 2
	}
	if k.call != nil && k.call != f && !k.call.hasReturned(nonce) {
		// guard: I10-untracked-call
		k.recordInvalidation(2, nil)
	}
}

// ResetBaseline sets the baseline to the present count, since a read, or a write of this
// process, is about to be sent. clean is false if invalidations came since the previous
// baseline.
func (t *Table) ResetBaseline(h local.Key, w *Watch) (clean bool) {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	clean = w.invalidations == w.baseline
	w.hasProvisional, w.baseline = false, w.invalidations
	return clean
}

// InsertIfUnchanged puts what was read into the local tier if no invalidation came since
// the baseline.
func (t *Table) InsertIfUnchanged(h local.Key, w *Watch, it *record.Item) bool {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	// guard: R9-overtaken-read
	return !w.gone && w.invalidations == w.baseline && w.isLinked() && t.put(h, it)
}

// ReplaceProven puts it in place of a suspended copy that was proven again, if that is still there and no invalidation came
// since the baseline. What has taken its place is newer:
//
//	background: asks for the entry of k, and is answered
//	A:          Set(k) returns here; its copy is of another write
//	background: would put the old one in its place
func (t *Table) ReplaceProven(h local.Key, w *Watch, copied, it *record.Item) bool {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	// guard: V3-overtaken-proof
	// guard: V3-same-copy
	return w.invalidations == w.baseline && t.local.PeekEntry(h) == copied.Entry() && t.put(h, it)
}

// InsertMissing puts what was read into the local tier if nothing is there, no invalidation came since the baseline, and the
// key had no call since the watch was registered. What a call has returned may be newer, and not here:
//
//	A: reads 1, to keep it
//	B: loads 2 by a view without local copies, and returns it; its write is on its way
//	A: would put 1 here, until that write's invalidation comes
func (t *Table) InsertMissing(h local.Key, w *Watch, it *record.Item) bool {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	// guard: R9-overtaken-warm-read
	// guard: I10-warm-read-beside-call
	return w.invalidations == w.baseline && !w.besideCall && t.local.PeekEntry(h) == nil && t.put(h, it)
}

// CommitProvisional puts a value whose write has been stored into the local tier, unless
// the key was changed by another write since the baseline. It reports whether the copy is
// there now; if not, a provisional copy has been removed.
//
// The write causes one invalidation, its echo, if the key was tracked when the server
// performed it. The caller has made sure of that: the key was tracked at the baseline, or
// the write was Unread. Invalidations since the baseline, and what they mean:
//
//	invalidations        meaning                                    the next invalidation
//	none                 the echo is still to come                  removes nothing
//	one, the echo        no other write has changed the key         removes the copy
//	one, of a change     it ended the tracking: no echo comes;      removes the copy
//	before the write     or the write was Unread: the echo comes    removes the copy, needlessly
//	two or more          one may be of a change after the write     (the copy is removed now)
func (t *Table) CommitProvisional(h local.Key, w *Watch, it *record.Item) bool {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	w.hasProvisional = false
	// guard: R9-overtaken-write
	if w.gone || w.invalidations > w.baseline+1 || !w.isLinked() {
		t.local.RemoveEntry(it.Entry())
		return false
	}
	// guard: R9-own-echo-came-first
	it.Meta().ExpectsOwnEcho = w.invalidations == w.baseline
	if t.local.PeekEntry(h) == it.Entry() {
		return true
	}
	if it.Meta().Provisional.Load() != 0 {
		return false // it was there and has been evicted, which releases its marks
	}
	return t.put(h, it)
}

// InsertProvisional puts it into the local tier before its write is sent, if no
// invalidation came since the baseline.
func (t *Table) InsertProvisional(h local.Key, w *Watch, it *record.Item) {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.gone || w.invalidations != w.baseline || !w.isLinked() {
		// The invalidation that came since the baseline may have been the echo of an older
		// copy's write, and left that copy in place. It must not be served after the loaded
		// value.
		// guard: I10-no-older-copy
		t.local.Remove(h)
		return
	}
	w.hasProvisional = t.put(h, it)
}

// Unchanged reports whether no invalidation came since the baseline.
func (t *Table) Unchanged(h local.Key, w *Watch) bool {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	return !w.gone && w.invalidations == w.baseline
}

// Sync notes that a Sync, called at begun, has succeeded: callers that begin after it do not
// share loads from before it, since the server need not have sent invalidations of their
// keys (see core.canShare).
func (t *Table) Sync(begun mono.Time) {
	for was := t.Synced.Load(); was < int64(begun) && !t.Synced.CompareAndSwap(was, int64(begun)); {
		was = t.Synced.Load()
	}
}

// Replace puts it into the local tier of a local-only cache. A value that is being loaded
// meanwhile is older, and so is the present copy.
func (t *Table) Replace(h local.Key, it *record.Item) bool {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.invalidateKeyLocked(h, nil)
	return t.put(h, it)
}

// RemoveProvisional removes a provisional copy.
func (t *Table) RemoveProvisional(h local.Key, w *Watch, it *record.Item) {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	w.hasProvisional = false
	t.local.RemoveEntry(it.Entry())
}
