// Package inflight has the calls and writes that are under way in a process: callers of one key share a
// call, and what was read or written is kept only if the key has not changed meanwhile.
package inflight

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/invalidation"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier/internal/loads"
	"github.com/tiercache/tiercache/tier/internal/record"
)

// Call is one way to a key's value that all callers in this process share:
// the remote read, and the load if that is needed.
//
// It differs from golang.org/x/sync/singleflight in what a cache of changing
// values needs: a caller that begins after a change is not given a result from
// before it (rule R10), the load ends when its last waiter leaves, one load can
// serve many keys, and a panic or Goexit reaches every waiter as an error.
type Call struct {
	H    local.Key
	Key  string
	Name string // of the remote key
	Watch

	// Done happens when Out is set; Left when the call is out of the table,
	// which is later if the value is still being written.
	Done, Left Event
	Out        Outcome
	// Found is what the call has read remotely, past its TTL, for callers that wait no longer.
	Found atomic.Pointer[Outcome]
	// Run is the run that loads it: a run that has handed the call over asks which one goes on with it.
	Run atomic.Pointer[LoadContext]
	// Right is the token that holds the fleet's right to load for callers that have a value past its TTL; nil if none does.
	Right atomic.Pointer[string]
	// Target is what loaders that wait for the call wait for.
	Target loads.Target

	// Guarded by the shard of the table.
	state        keyState    // of the key, unless it has one already
	Participant  Participant // in the run that loads it, once there is one
	waiters      int32
	unregistered bool          // left has happened
	detached     bool          // goes on without waiters
	pendingWake  bool          // the key or its lease changed before the first sleep
	wake         chan struct{} // receives when the key or its lease changes; nil before the first sleep

	// Owned by the goroutine that does the work of the call, and once that has handed over
	// the write, by the goroutine that settles the write.
	Basis
	Seen string // the remote version that was read and cannot be used
	// Loaded is the context of its load, for a tracer; set before Done, or nil.
	Loaded   *context.Context
	Holds    time.Duration // for how long another process holds the lease at most, unless it extends it
	Stale    *record.Item  // read remotely, valid but past its TTL: for callers that accept that
	NotFound error         // of the loader, if the item is negative
	// Beside is not nil if the key's entry is of another encoding: then Name is of the entry that stands beside it. See
	// Table.GoBeside.
	Beside *Link
	// RefreshTarget is the copy that a refresh in the background is to replace.
	RefreshTarget *record.Item
	// Renews: the remote tier has a value, most likely, that the call is to replace. It is set before the call is shared.
	Renews bool
	Empty  bool // the version of Seen is no bytes at all
	Force  bool // load even if the remote tier has a valid value
	// ReadAgain: what was read for the call without being tracked is of another encoding, or past its TTL and to be served.
	ReadAgain bool
	Lease     LeaseState
}

// Link is an entry of another encoding that the entry of a call stands beside.
type Link struct {
	Nonce uint64 // its random number
	Basis Basis  // of its read
	Cause uint8  // why it could not be used: a core.MissCause
}

// LeaseState is what is known of the fleet's lease of a key.
type LeaseState uint8

const (
	LeaseUnknown LeaseState = iota // to be asked for
	LeaseOwned                     // this process holds it
	LeaseHeld                      // another process was seen to hold it
	LeaseSkipped                   // the remote tier did not answer: the value is loaded without lease and fill
	LeaseRefused                   // likewise, since the server had no memory even for a lease
)

// WithoutLease reports whether the value is loaded without the fleet's lease.
func (f *Call) WithoutLease() bool { return f.Lease >= LeaseSkipped }

// LeaseOf is the state of a lease that was asked for.
func LeaseOf(acquired bool) LeaseState {
	if acquired {
		return LeaseOwned
	}
	return LeaseUnknown
}

// Participant is a call's part in the run that loads it.
type Participant interface {
	Leave()          // is called when the call has no waiters any more
	End(cause error) // ends the run
}

// Basis is what this process knew when a read or load began. A caller may share the
// result if this process knew of nothing newer when the caller began.
type Basis struct {
	Begun         mono.Time         // when the read or load began
	Proof         mono.Time         // View.Proof then: a remote read is at least that recent
	Seq           uint64            // View.Seq then
	Epoch         uint64            // View.Epoch then
	LogEpoch      uint64            // View.LogEpoch then
	Shard         *backend.Shard    // of the key then; nil where there is one server
	Invalidations int               // of the key, by then
	KeyTick       invalidation.Tick // View.Watermark then
	// Ends is when the result ends since a change settles (S3), also if it is not kept, or is an error; 0: it does not.
	Ends mono.Time
}

// BasisOf is the basis of what is read or written at v, apart from its time and its key.
func BasisOf(v *changelog.View) Basis {
	return Basis{Proof: v.Proof, Seq: v.Seq, Epoch: v.Epoch, LogEpoch: v.LogEpoch(), KeyTick: v.Watermark}
}

// Origin says which tier has answered a read.
type Origin uint8

const (
	FromLocal Origin = iota
	FromRemote
	FromLoader
)

// Served is the answer to a read.
type Served struct {
	It     *record.Item // nil with an error
	Origin Origin
	Stale  bool
	Outage bool // without proof while the server is away
	// NotFound is the error of the loader that has just said so; nil if the item is remembered.
	NotFound error
}

// Remaining is the rest of an item's TTL, or of its outageAllowance if that ends sooner.
func (o Served) Remaining(now mono.Time) time.Duration {
	left := o.It.Meta().Fresh.Sub(now)
	if o.Outage {
		left = min(left, o.It.Extra().Outage.Until.Sub(now))
	}
	return left
}

// Outcome is the result of a call.
type Outcome struct {
	Served
	Err           error
	StaleFallback *record.Item // with err: a value past its TTL, for callers that accept that
	Paused        bool         // err is of an earlier load, and there was none
	Refused       bool         // likewise, since there are too many
	Overdue       bool         // the loader has not returned, and no other is to run before it has
	Basis
}

// Replaces reports whether it is the version that f is to replace.
func (f *Call) Replaces(it *record.Item) bool {
	return f.RefreshTarget != nil && f.RefreshTarget.Meta().Nonce == it.Meta().Nonce
}

// MayReplace reports whether a tier may have an older value that would be believed if
// the value loaded for f is not stored.
func (f *Call) MayReplace() bool {
	// guard: I10-stale-fallback
	return f.Force || f.Seen != "" || f.RefreshTarget != nil || f.Stale != nil
}

// wakeUpLocked is nil-safe and never blocks.
func (f *Call) wakeUpLocked() {
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

// Join returns the call of a key and how many invalidations of the key it had by
// then. If there was none, it registers buffer, or a new one if that is nil; the caller
// then leads it and sets its name. waits is false for refreshes without a waiting caller.
func (t *Table) Join(buffer *Call, h local.Key, key string, waits bool) (f *Call, leads bool, invalidations int) {
	return t.join(buffer, h, key, waits, false)
}

// Renew is Join for a call that is to replace what the remote tier has.
func (t *Table) Renew(h local.Key, key string, waits bool) (f *Call, leads bool, invalidations int) {
	return t.join(nil, h, key, waits, true)
}

func (t *Table) join(buffer *Call, h local.Key, key string, waits, renews bool) (f *Call, leads bool, invalidations int) {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.keys[h]
	// guard: I7-one-call-per-key
	if k == nil || k.call == nil {
		if f, leads = buffer, true; f == nil {
			f = &Call{}
		}
		f.H, f.Key, f.Renews = h, key, renews
		if k == nil {
			k = &f.state
			s.keys[h] = k
		}
		k.call = f
		for _, w := range k.watches {
			w.besideCall = true
		}
	}
	f = k.call
	if waits {
		f.waiters++
	}
	return f, leads, f.Watch.invalidations
}

// Invalidations returns how many invalidations f has had.
func (t *Table) Invalidations(f *Call) int {
	s := t.shard(f.H)
	s.mu.Lock()
	defer s.mu.Unlock()
	return f.Watch.invalidations
}

// Restart sets the basis of the read or load that f is about to begin. now is no later
// than its beginning.
func (t *Table) Restart(f *Call, v *changelog.View, now mono.Time) {
	s := t.shard(f.H)
	s.mu.Lock()
	defer s.mu.Unlock()
	// guard: I2-fallback-of-lost-connection
	// guard: I2-fallback-of-lost-server
	if f.Watch.invalidations != f.Basis.Invalidations || f.Basis.Epoch != v.Epoch || f.Basis.Shard.Gone() {
		// The key changed since it was read; or it may have, and what the server told of that was lost. Callers that begin
		// from here on may share the load, but must not fall back on the value from before:
		//
		//	A: has read 1, past its TTL
		//	B: sets the key to 2
		//	A: takes the lease
		//	C: begins, and shares A's load, which fails
		// guard: I10-fallback-age
		f.Stale = nil
	}
	f.Watch.hasProvisional, f.Watch.baseline = false, f.Watch.invalidations
	f.Basis = BasisOf(v)
	f.Begun, f.Basis.Invalidations = now, f.Watch.invalidations
	if t.ShardOf != nil && f.Name != "" {
		if f.Shard = t.ShardOf(f.Name); f.Shard != nil { // nil: a store that has started offline has turned out to be of one server
			f.Proof = min(f.Proof, f.Shard.Proof())
		}
	}
}

// GoBeside makes f a call of the entry called name, which stands beside one of another encoding
// whose random number, as it was read, is link (P1, P2 of docs/upgrading.md). That was read as of
// f.Basis, and so is what is found beside it.
func (t *Table) GoBeside(f *Call, name string, link uint64, cause uint8) {
	s := t.shard(f.H)
	s.mu.Lock()
	defer s.mu.Unlock()
	f.Name, f.Beside = name, &Link{link, f.Basis, cause}
	f.Seen, f.Empty = "", false
	f.Watch.linked, f.Watch.linkedAt = true, f.Basis.Invalidations
}

// Unlinked reports whether f is beside an entry of whose changes this process need not have been
// told since f's basis.
func (f *Call) Unlinked() bool {
	if f.Beside == nil {
		return false
	}
	was, now := &f.Beside.Basis, &f.Basis
	return was.Invalidations != now.Invalidations || was.Epoch != now.Epoch || was.Shard != now.Shard
}

// Leave is called by each waiter once. The last waiter ends the load.
func (t *Table) Leave(f *Call) {
	if p := t.abandonedParticipant(f); p != nil {
		p.Leave()
	}
}

// abandonedParticipant removes a waiter of f. If it was the last one of an unfinished
// load, it unregisters f and returns its participant; else it returns nil.
//
// A load whose value is in the local tier already is as good as finished: its write is about to be handed over, and
// reads past the local tier are to find f until that is stored.
//
//	A: has loaded 2, in place of 1, and puts it into the local tier; its last caller leaves
//	B: reads 2 there; C: reads past the local tier, finds no call, and would be given 1
func (t *Table) abandonedParticipant(f *Call) (p Participant) {
	s := t.shard(f.H)
	s.mu.Lock()
	defer s.mu.Unlock()
	f.waiters--
	// guard: I10-left-call-is-stored
	if f.waiters == 0 && f.Participant != nil && !f.detached && !f.Finished() && !f.Watch.hasProvisional {
		// The loader may be slow to notice the end of its context, or never notice.
		// A caller that begins now gets a call of its own.
		p = f.Participant
		s.unregisterLocked(f)
	}
	return p
}

// Detach lets f go on without waiters.
func (t *Table) Detach(f *Call) {
	s := t.shard(f.H)
	s.mu.Lock()
	defer s.mu.Unlock()
	f.detached = true
}

// Attach makes f a participant in the run that loads it. It returns false if no caller
// waits for f any more.
func (t *Table) Attach(f *Call, in Participant) bool {
	s := t.shard(f.H)
	s.mu.Lock()
	defer s.mu.Unlock()
	f.Participant = in
	return f.waiters > 0 || f.detached
}

// Participants returns the participants of all calls that are being loaded.
func (t *Table) Participants() (all []Participant) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for _, k := range s.keys {
			if k.call != nil && k.call.Participant != nil {
				all = append(all, k.call.Participant)
			}
		}
		s.mu.Unlock()
	}
	return all
}

func (f *Call) Finished() bool { return f.Done.happened() }

// hasReturned reports whether f has ended with version nonce.
func (f *Call) hasReturned(nonce uint64) bool {
	return f.Finished() && f.Out.It != nil && f.Out.It.Meta().Nonce == nonce
}

// Finish gives the waiters their result. Only the goroutine that owns f calls it (see
// call). Only the first time counts.
func (f *Call) Finish(out Outcome) {
	if !f.Finished() {
		out.Basis = f.Basis
		if out.Origin == FromLoader {
			out.NotFound = f.NotFound
		}
		f.Out = out
		f.Done.happen()
	}
}

// Unregister takes f out of the table, once.
func (t *Table) Unregister(f *Call) {
	s := t.shard(f.H)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unregisterLocked(f)
}

func (s *tableShard) unregisterLocked(f *Call) {
	if f.unregistered {
		return
	}
	f.unregistered, f.Watch.gone = true, true
	f.Left.happen()
	if k := s.keys[f.H]; k != nil && k.call == f {
		k.call = nil
		s.dropLocked(f.H, k)
	}
}

// HasCall reports whether there is a call of h: it may have returned a value whose write
// is still on its way.
func (t *Table) HasCall(h local.Key) bool {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.keys[h]
	return k != nil && k.call != nil
}

// Storing returns the event of what was loaded for h being stored as well, or nil if that
// is not under way. A value can be given out before its call ends: from the local tier, into which it
// is put first.
//
//	A: has loaded 2, puts it into the local tier, and is about to write it
//	B: reads 2 there; C: peeks by a view without a local tier, and would read 1
func (t *Table) Storing(h local.Key) *Event {
	s := t.shard(h)
	s.mu.Lock()
	var f *Call
	if k := s.keys[h]; k != nil {
		f = k.call
	}
	// guard: I10-peek-waits-for-provisional
	givenOut := f != nil && (f.Watch.hasProvisional || f.Finished())
	s.mu.Unlock()
	if !givenOut {
		return nil
	}
	return &f.Left
}

// WaitersOf returns how many callers wait for the call of h to end, and whether any waits for
// it to leave the table.
func (t *Table) WaitersOf(h local.Key) (waiters int, awaited bool) {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.keys[h]
	if k == nil || k.call == nil {
		return 0, false
	}
	return int(k.call.waiters), k.call.Left.state.Load() != nil
}

// WakeCall wakes the call of h, since the lease of h changed.
func (t *Table) WakeCall(h local.Key) {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.keys[h]; k != nil {
		k.call.wakeUpLocked()
	}
}

// WakeAll wakes every call that waits for another process: the invalidation that it
// waits for may have been lost.
func (t *Table) WakeAll() {
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

// Loading is the chain of loads that a context runs under, innermost first.
type Loading struct {
	Space any // the namespace, only compared
	Calls []*Call
	Load  *loads.Load
	outer *Loading
}

type loadingKey struct{}

// Recursive reports whether ctx belongs to a loader of a key of space.
func Recursive(ctx context.Context, space any, key string) bool {
	for l, _ := ctx.Value(loadingKey{}).(*Loading); l != nil; l = l.outer {
		if l.Space != space {
			continue
		}
		for _, f := range l.Calls {
			if f.Key == key && !f.Finished() {
				return true
			}
		}
	}
	return false
}

// LoadOf returns the load to whose loader ctx was given, or nil.
func LoadOf(ctx context.Context) *loads.Load {
	if l, _ := ctx.Value(loadingKey{}).(*Loading); l != nil {
		return l.Load
	}
	return nil
}

// Sleep waits for d, for one of fs to be woken, or for ctx.
func (t *Table) Sleep(ctx context.Context, fs []*Call, d time.Duration) error {
	woken := make(chan struct{}, 1)
	for _, f := range fs {
		t.wakeBy(f, woken)
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-woken:
	case <-time.After(d):
	}
	return nil
}

// wakeBy has f woken by woken from now on, at once if it was woken since the sleep before.
func (t *Table) wakeBy(f *Call, woken chan struct{}) {
	s := t.shard(f.H)
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.wake != nil {
		select {
		case <-f.wake:
			f.pendingWake = true
		default:
		}
	}
	f.wake = woken
	// guard: wake-between-sleeps
	if f.pendingWake {
		f.pendingWake = false
		f.wakeUpLocked()
	}
}
