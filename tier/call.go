package tier

import (
	"context"
	"time"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/invalidation"
	"github.com/tiercache/tiercache/local"
)

// call is one way to a key's value that all callers in this process share:
// the remote read, and the load if that is needed.
//
// It differs from golang.org/x/sync/singleflight in what a cache of changing
// values needs: a caller that begins after a change is not given a result from
// before it (rule R10), the load ends when its last waiter leaves, one load can
// serve many keys, and a panic or Goexit reaches every waiter as an error.
type call struct {
	h    local.Key
	key  string
	name string // of the remote key
	watch

	// done happens when out is set; left when the call is out of the table,
	// which is later if the value is still being written.
	done, left event
	out        outcome

	// Guarded by the shard of the table.
	state        keyState // of the key, unless it has one already
	waiters      int
	participant  *participant  // in the run that loads it, once there is one
	unregistered bool          // left has happened
	detached     bool          // goes on without waiters
	pendingWake  bool          // the key or its lease changed before the first sleep
	wake         chan struct{} // receives when the key or its lease changes; nil before the first sleep

	// Owned by the goroutine that does the work of the call, and once that has handed over
	// the write, by the goroutine that settles the write.
	basis
	seen      string        // the remote version that was read and cannot be used
	empty     bool          // that version was no bytes at all
	run       *loadRun      // the run that loads it
	leased    bool          // this process holds the fleet's lease
	held      bool          // another process was seen to hold the lease
	holds     time.Duration // for how long at most, unless the holder extends it
	stale     *item         // read remotely, valid but past its TTL: for callers that accept that
	skipLease bool          // the remote tier did not answer: load without lease and fill
	leaseOOM  bool          // skipLease because the server had no memory even for a lease
	force     bool          // load even if the remote tier has a valid value
	// refreshTarget is the copy that a refresh in the background is to replace.
	refreshTarget *item
}

// basis is what this process knew when a read or load began. A caller may share the
// result if this process knew of nothing newer when the caller began.
type basis struct {
	begun         mono.Time         // when the read or load began
	proof         mono.Time         // View.Proof then: a remote read is at least that recent
	seq           uint64            // View.Seq then
	epoch         uint64            // View.Epoch then
	shard         *backend.Shard    // of the key then; nil where there is one server
	invalidations int               // of the key, by then
	keyTick       invalidation.Tick // View.Watermark then
}

// served is the answer to a read.
type served struct {
	it     *item // nil with an error
	origin Origin
	stale  bool
	outage bool // without proof while the server is away
}

// outcome is the result of a call.
type outcome struct {
	served
	err           error
	staleFallback *item // with err: a value past its TTL, for callers that accept that
	basis
}

// replaces reports whether it is the version that f is to replace.
func (f *call) replaces(it *item) bool {
	return f.refreshTarget != nil && f.refreshTarget.meta().nonce == it.meta().nonce
}

// mayReplace reports whether a tier may have an older value that would be believed if
// the value loaded for f is not stored.
func (f *call) mayReplace() bool {
	// guard: I10-stale-fallback
	return f.force || f.seen != "" || f.refreshTarget != nil || f.stale != nil
}

// wakeUpLocked is nil-safe and never blocks.
func (f *call) wakeUpLocked() {
	if f == nil {
		return
	}
	if f.wake == nil {
		f.pendingWake = true
		return
	}
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// join returns the call of a key and how many invalidations of the key it had by
// then. If there was none, it registers buffer, or a new one if that is nil; the caller
// then leads it and sets its name. waits is false for refreshes without a waiting caller.
func (t *table) join(buffer *call, h local.Key, key string, waits bool) (f *call, leads bool, invalidations int) {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.keys[h]
	// guard: I7-one-call-per-key
	if k == nil || k.call == nil {
		if f, leads = buffer, true; f == nil {
			f = &call{}
		}
		f.h, f.key = h, key
		if k == nil {
			k = &f.state
			s.keys[h] = k
		}
		k.call = f
	}
	f = k.call
	if waits {
		f.waiters++
	}
	return f, leads, f.watch.invalidations
}

// invalidations returns how many invalidations f has had.
func (t *table) invalidations(f *call) int {
	s := t.shard(f.h)
	s.mu.Lock()
	defer s.mu.Unlock()
	return f.watch.invalidations
}

// restart sets the basis of the read or load that f is about to begin. now is no later
// than its beginning.
func (t *table) restart(f *call, v *changelog.View, now mono.Time) {
	s := t.shard(f.h)
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.watch.invalidations != f.basis.invalidations {
		// The key changed since it was read. Callers that begin from here on may share
		// the load, but must not fall back on the value from before:
		//
		//	A: has read 1, past its TTL
		//	B: sets the key to 2
		//	A: takes the lease
		//	C: begins, and shares A's load, which fails
		// guard: I10-fallback-age
		f.stale = nil
	}
	f.watch.hasProvisional, f.watch.baseline = false, f.watch.invalidations
	f.basis = basis{begun: now, proof: v.Proof, seq: v.Seq, epoch: v.Epoch, keyTick: v.Watermark, invalidations: f.watch.invalidations}
	if t.shardOf != nil && f.name != "" {
		f.shard = t.shardOf(f.name)
		f.proof = min(f.proof, f.shard.Proof())
	}
}

// leave is called by each waiter once. The last waiter ends the load.
func (t *table) leave(f *call) {
	if p := t.abandonedParticipant(f); p != nil {
		p.leave()
	}
}

// abandonedParticipant removes a waiter of f. If it was the last one of an unfinished
// load, it unregisters f and returns its participant; else it returns nil.
func (t *table) abandonedParticipant(f *call) (p *participant) {
	s := t.shard(f.h)
	s.mu.Lock()
	defer s.mu.Unlock()
	f.waiters--
	if f.waiters == 0 && f.participant != nil && !f.detached && !f.finished() {
		// The loader may be slow to notice the end of its context, or never notice.
		// A caller that begins now gets a call of its own.
		p = f.participant
		s.unregisterLocked(f)
	}
	return p
}

// detach lets f go on without waiters.
func (t *table) detach(f *call) {
	s := t.shard(f.h)
	s.mu.Lock()
	defer s.mu.Unlock()
	f.detached = true
}

// attach makes f a participant in the run that loads it. It returns false if no caller
// waits for f any more.
func (t *table) attach(f *call, in *participant) bool {
	s := t.shard(f.h)
	s.mu.Lock()
	defer s.mu.Unlock()
	f.participant = in
	return f.waiters > 0 || f.detached
}

// participants returns the participants of all calls that are being loaded.
func (t *table) participants() (all []*participant) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for _, k := range s.keys {
			if k.call != nil && k.call.participant != nil {
				all = append(all, k.call.participant)
			}
		}
		s.mu.Unlock()
	}
	return all
}

func (f *call) finished() bool { return f.done.happened() }

// hasReturned reports whether f has ended with version nonce.
func (f *call) hasReturned(nonce uint64) bool {
	return f.finished() && f.out.it != nil && f.out.it.meta().nonce == nonce
}

// finish gives the waiters their result. Only the goroutine that owns f calls it (see
// call). Only the first time counts.
func (f *call) finish(out outcome) {
	if !f.finished() {
		out.basis = f.basis
		f.out = out
		f.done.happen()
	}
}

// unregister takes f out of the table, once.
func (t *table) unregister(f *call) {
	s := t.shard(f.h)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unregisterLocked(f)
}

func (s *tableShard) unregisterLocked(f *call) {
	if f.unregistered {
		return
	}
	f.unregistered, f.watch.gone = true, true
	f.left.happen()
	if k := s.keys[f.h]; k != nil && k.call == f {
		k.call = nil
		s.dropLocked(f.h, k)
	}
}

// hasCall reports whether there is a call of h: it may have returned a value whose write
// is still on its way.
func (t *table) hasCall(h local.Key) bool {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.keys[h]
	return k != nil && k.call != nil
}

// awaitStored waits until what was loaded for h is stored as well, if that is under
// way. A value can be given out before its call ends: from the local tier, into which it
// is put first.
//
//	A: has loaded 2, puts it into the local tier, and is about to write it
//	B: reads 2 there; C: peeks by a view without a local tier, and would read 1
func (t *table) awaitStored(ctx context.Context, h local.Key) error {
	s := t.shard(h)
	s.mu.Lock()
	var f *call
	if k := s.keys[h]; k != nil {
		f = k.call
	}
	// guard: I10-peek-waits-for-provisional
	givenOut := f != nil && (f.watch.hasProvisional || f.finished())
	s.mu.Unlock()
	if !givenOut {
		return nil
	}
	return waitFor(ctx, &f.left)
}

// wakeCall wakes the call of h, since the lease of h changed.
func (t *table) wakeCall(h local.Key) {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.keys[h]; k != nil {
		k.call.wakeUpLocked()
	}
}

// wakeAll wakes every call that waits for another process: the invalidation that it
// waits for may have been lost.
func (t *table) wakeAll() {
	for i := range t.shards {
		t.shards[i].wakeAll()
	}
}

func (s *tableShard) wakeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.keys {
		k.call.wakeUpLocked()
	}
}

// loading is the chain of loads that a context runs under, innermost first.
type loading struct {
	store *Store
	ns    *namespace
	calls []*call
	outer *loading
}

type loadingKey struct{}

// recursive reports whether ctx belongs to a loader of the key.
func recursive(ctx context.Context, s *Store, ns *namespace, key string) bool {
	for l, _ := ctx.Value(loadingKey{}).(*loading); l != nil; l = l.outer {
		if l.store != s || l.ns != ns {
			continue
		}
		for _, f := range l.calls {
			if f.key == key && !f.finished() {
				return true
			}
		}
	}
	return false
}

// sleep waits for d, for f to be woken, or for ctx.
func (t *table) sleep(ctx context.Context, f *call, d time.Duration) error {
	s := t.shard(f.h)
	s.mu.Lock()
	if f.wake == nil {
		f.wake = make(chan struct{}, 1)
		if f.pendingWake {
			f.wake <- struct{}{}
		}
	}
	woken := f.wake
	s.mu.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-woken:
	case <-timer.C:
	}
	return nil
}
