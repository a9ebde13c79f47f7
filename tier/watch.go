package tier

import (
	"sync"
	"sync/atomic"

	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/remote"
)

// watch counts the invalidations of one key while somebody reads or writes it
// remotely, so that a copy is kept only if the key has not changed since it
// was read (rule R9). It is registered before the request is sent:
//
//	this process: sends GET k
//	server:       answers the GET, then tells of another's SET k
//	reading goroutine: hands over the answer, then drops k locally: nothing there
//	this process: wakes up and would keep the old value for ever
//
// All fields are guarded by the shard of the table.
type watch struct {
	invalidations int
	// baseline is the count when the latest tracked read, or our write, was about to
	// be sent: what is known of the key is not older than that.
	baseline int
	// hasProvisional: a write of ours is under way whose value is in the local tier
	// already. The write owes exactly one invalidation beyond base (see remote.Write).
	hasProvisional bool
	// gone: no longer registered, so invalidations are not counted any more.
	gone bool
}

// isOwnEcho reports whether the latest invalidation is the one that our own write owes.
func (w *watch) isOwnEcho() bool { return w.hasProvisional && w.invalidations == w.baseline+1 }

// keyState is what goes on for one key in this process.
type keyState struct {
	call    *call
	watches []*watch // of writes; the call has its own
}

// recordInvalidation counts n invalidations for all but one watch, and reports whether it can be the
// one that a write of ours owes.
func (k *keyState) recordInvalidation(n int, except *watch) (own bool) {
	for _, w := range k.watches {
		if w != except {
			w.invalidations += n
			own = own || w.isOwnEcho()
		}
	}
	if f := k.call; f != nil {
		f.watch.invalidations += n
		own = own || f.watch.isOwnEcho()
		f.wakeUpLocked()
	}
	return own
}

// table holds the states of the keys that something goes on for. It is sharded
// by hash; nothing but the local tier is called under its mutexes.
type table struct {
	local *local.Cache[item]
	// shardOf is nil where there is one server.
	shardOf func(name string) *remote.Shard
	shards  [64]tableShard
	// synced is a mono.Time, when the latest Sync that succeeded was called.
	synced atomic.Int64
}

type tableShard struct {
	mu   sync.Mutex // guards keys, and the watches and calls in it
	keys map[local.Key]*keyState
	_    [40]byte
}

func newTable(l *local.Cache[item]) *table {
	t := &table{local: l}
	for i := range t.shards {
		t.shards[i].keys = make(map[local.Key]*keyState)
	}
	return t
}

// put puts an item into the local tier, which is done once with each.
func (t *table) put(h local.Key, it *item) bool {
	return t.local.PutEntry(h, it.entry(), it.meta().cost)
}

func (t *table) shard(h local.Key) *tableShard { return &t.shards[h.Lo%uint64(len(t.shards))] }

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

// watch begins to count the invalidations of h.
func (t *table) watch(h local.Key, w *watch) {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.stateLocked(h)
	k.watches = append(k.watches, w)
}

func (t *table) unwatch(h local.Key, w *watch) {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unwatchLocked(h, w)
}

func (s *tableShard) unwatchLocked(h local.Key, w *watch) {
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

// applyInvalidation is told that somebody changed h, possibly we: the local copy goes. If
// the invalidation may be the one that our own write of it owes, the copy is only
// suspended: keep or unlist will tell. It is not served meanwhile, since the
// invalidation may as well be of a write that came before ours and fenced it off.
func (t *table) applyInvalidation(h local.Key) {
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
	// guard: R9-suspend-provisional
	case own && e.Value.suspend():
	case e.Value.meta().expectsOwnEcho:
		// guard: R9-own-echo-once
		e.Value.meta().expectsOwnEcho = false
	default:
		// guard: R9-invalidation-evicts
		t.local.RemoveEntry(e)
	}
}

// invalidateKey has this process forget what it knows of h, because it is about to
// change the key, or just has: copies go, and what is being read or loaded is
// neither kept nor given to callers that come later.
func (t *table) invalidateKey(h local.Key, except *watch) {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.invalidateKeyLocked(h, except)
	t.local.Remove(h)
}

func (s *tableShard) invalidateKeyLocked(h local.Key, except *watch) {
	k := s.keys[h]
	if k == nil {
		return
	}
	// guard: I1-write-ends-provisional-reads
	k.recordInvalidation(2, except) // never taken for an expected one
}

// removeOtherVersions is told that version nonce of h was read remotely and is about to be given out,
// but not kept; by f, if that is not nil. It forgets what is here of other versions.
func (t *table) removeOtherVersions(h local.Key, nonce uint64, f *call) {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := t.local.PeekEntry(h); e != nil && e.Value.meta().nonce != nonce {
		t.local.RemoveEntry(e)
	}
	if k := s.keys[h]; k != nil && k.call != nil && k.call != f && !k.call.hasReturned(nonce) {
		// guard: I10-untracked-call
		k.recordInvalidation(2, nil)
	}
}

// resetBaseline notes that a read, or a write of ours, is about to be sent. clean is
// false if invalidations came since the mark before.
func (t *table) resetBaseline(h local.Key, w *watch) (clean bool) {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	clean = w.invalidations == w.baseline
	w.hasProvisional, w.baseline = false, w.invalidations
	return clean
}

// insertIfUnchanged puts what was read into the local tier if no invalidation came since the mark.
func (t *table) insertIfUnchanged(h local.Key, w *watch, it *item) bool {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	// guard: R9-overtaken-read
	return !w.gone && w.invalidations == w.baseline && t.put(h, it)
}

// commitProvisional puts what was written, and has been stored, into the local tier,
// unless others changed the key since the mark. It reports whether it is there
// now; if not, and it was there provisionally, it is gone.
//
// The write causes one invalidation, if the key was tracked when it came. Whoever
// calls this has seen to that: at the mark it was tracked, or the write was
// Unread. What else may have happened, in the order in which it is told:
//
//   - nothing: the next invalidation is the write's own, and takes nothing out;
//   - the write's own invalidation: the next is another's;
//   - one of a change before the write: it ended the tracking, and the write owes
//     none; or the write saw to it that it does, and its own will take the copy
//     out, for nothing;
//   - two or more: one of them may be of a change after the write.
func (t *table) commitProvisional(h local.Key, w *watch, it *item) bool {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	w.hasProvisional = false
	// guard: R9-overtaken-write
	if w.gone || w.invalidations > w.baseline+1 {
		t.local.RemoveEntry(it.entry())
		return false
	}
	// guard: R9-own-echo-came-first
	it.meta().expectsOwnEcho = w.invalidations == w.baseline
	if t.local.PeekEntry(h) == it.entry() {
		return true
	}
	if it.meta().provisional.Load() != 0 {
		return false // it was there and has been evicted: its marks are on their way back
	}
	return t.put(h, it)
}

// insertProvisional puts it into the local tier before its write is sent, if no invalidation came
// since the mark.
func (t *table) insertProvisional(h local.Key, w *watch, it *item) {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.gone || w.invalidations != w.baseline {
		// The invalidation that came since the mark was perhaps owed to an older copy, and
		// left that in place. It is not to be served after what was loaded.
		// guard: I10-no-older-copy
		t.local.Remove(h)
		return
	}
	w.hasProvisional = t.put(h, it)
}

// unchanged reports whether no invalidation came since the mark.
func (t *table) unchanged(h local.Key, w *watch) bool {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	return !w.gone && w.invalidations == w.baseline
}

// sync has loads that began before a Sync be given to nobody who comes after it: the
// server need not have told of changes of their keys (see core.canShare).
func (t *table) sync(begun mono.Time) {
	for was := t.synced.Load(); was < int64(begun) && !t.synced.CompareAndSwap(was, int64(begun)); {
		was = t.synced.Load()
	}
}

// replace puts it into the local tier of a cache that has no other: what is
// being loaded meanwhile is older, and so is every copy.
func (t *table) replace(h local.Key, it *item) bool {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.invalidateKeyLocked(h, nil)
	return t.put(h, it)
}

// removeProvisional takes it out again.
func (t *table) removeProvisional(h local.Key, w *watch, it *item) {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	w.hasProvisional = false
	t.local.RemoveEntry(it.entry())
}
