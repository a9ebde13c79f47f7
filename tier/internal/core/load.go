package core

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/internal/recovery"
	"github.com/tiercache/tiercache/invalidation"
	"github.com/tiercache/tiercache/tier/internal/config"
	"github.com/tiercache/tiercache/tier/internal/inflight"
	"github.com/tiercache/tiercache/tier/internal/loads"
	"github.com/tiercache/tiercache/tier/internal/pieces"
)

// LoadFunc runs the user's loader for the calls, whose entries it fills, and
// sets a result for each.
//
// It is not a closure over the user's loader, since every read without a local hit would
// have to allocate one: of a thousand callers that share a load, one uses it.
type LoadFunc struct {
	Run    RunFunc
	Loader any // a Loader or a BatchLoader
}

// errLeft is the cause of a load's end when no caller waits for it any more.
var errLeft = errors.New("tier: no caller waits for the load any more")

// loadRun is one run of a loader: it gets the leases, runs the loader and fills
// the tiers. It has a goroutine of its own, since any caller can leave at any time,
// whether others wait or not. Its context ends when the last waiter of every call has
// left, with the load timeout, or with the store.
type loadRun struct {
	*Cache
	load  LoadFunc
	o     config.Call
	token string // names this run as the holder of its leases

	inflight.LoadContext
	timer       *time.Timer // for tick
	ended       atomic.Bool
	timedOut    bool         // the end of the context has ended the calls; used by the run's goroutine alone
	activeCalls atomic.Int64 // participants that have not left

	// resultOwned is set by the one that ends the calls of a running loader: the run's
	// goroutine when the loader has returned, or abandon when the context ends and the
	// loader ignores that. It is set as well while no loader runs.
	resultOwned atomic.Bool
	ready       []*inflight.Call // the calls that the loader runs for; set before resultOwned is reset
	begun       mono.Time        // when the loader began
	traced      context.Context  // of the loader; likewise

	self    loads.Load
	leftAt  atomic.Int64 // a mono.Time, when the calls of a running loader were abandoned; or 0
	overdue atomic.Bool  // the calls of a running loader were ended by expire
	mu      sync.Mutex   // guards the end of those calls, and gaveUp
	gaveUp  bool
	rights  rightRequests
}

// part is a call's part in a run.
type part struct {
	run  *loadRun
	left atomic.Bool
}

// End ends the run.
func (p *part) End(cause error) { p.run.end(cause) }

// Leave ends the run when its last call has left.
func (p *part) Leave() {
	if !p.left.Swap(true) && p.run.activeCalls.Add(-1) == 0 {
		p.run.end(errLeft)
	}
}

// newRun returns a run that has not begun.
func (c *Cache) newRun(load LoadFunc, o config.Call) *loadRun {
	l := &loadRun{Cache: c, load: load, o: o, token: c.s.newToken()}
	l.resultOwned.Store(true)
	return l
}

// start has the calls' values loaded in a goroutine of its own.
func (l *loadRun) start(ctx context.Context, fs []*inflight.Call) {
	l.self.Space, l.self.Key, l.self.More, l.self.Run = l.ns.Path, fs[0].Key, len(fs)-1, l
	if fs[0].RefreshTarget == nil { // else no loader waits for it
		l.self.Parent = inflight.LoadOf(ctx)
	}
	for _, f := range fs {
		f.Run.Store(&l.LoadContext)
		f.Target.MadeBy(&l.self)
		if l.s.places != nil {
			l.self.Targets = append(l.self.Targets, &f.Target)
		}
		// guard: detached-load-goes-on
		if l.cfg.Detached {
			l.s.Table.Detach(f)
		}
	}
	if !l.s.Goroutines.SpawnLoad(func() { l.run(ctx, fs) }) {
		l.finishAll(fs, inflight.Outcome{Err: ErrClosed})
	}
}

// run gets the leases and runs the loader. It counts as background work of the store
// until finish is called: before run returns, or later, when its fill has been answered.
func (l *loadRun) run(ctx context.Context, fs []*inflight.Call) {
	returned := false
	defer func() {
		if !returned {
			l.endOnExit(fs)
		}
	}()
	l.labels.Set(ctx, l.ns.Path)
	l.LoadContext.Init(ctx, time.Now().Add(l.cfg.LoadTimeout), inflight.Loading{Space: l.ns, Calls: fs, Load: &l.self})
	defer l.s.places.Release(&l.self)
	defer l.giveBackRights(fs...)
	l.timer = time.AfterFunc(time.Hour, l.tick) // an hour, since tick uses l.timer, which must be set before
	l.timer.Reset(min(l.s.renewEvery(), l.cfg.LoadTimeout))
	fs = l.attachCalls(fs)
	if l.s.Closed.Load() { // Close may have listed the participants before ours were attached
		l.end(ErrClosed)
	}
	// guard: place-before-lease
	if ready := l.takeRights(l.take(l.takePlace(fs))); len(ready) > 0 {
		l.runLoader(ready)
	} else {
		l.finish()
	}
	returned = true
}

// endOnExit ends a run whose goroutine is being ended: by its loader, which
// runLoader sees to, or by a codec that called runtime.Goexit.
func (l *loadRun) endOnExit(fs []*inflight.Call) {
	if l.timedOut || l.ended.Load() {
		return
	}
	var leased []string
	for _, f := range fs {
		if f.Run.Load() != &l.LoadContext || f.Finished() { // another run has it by now
			continue
		}
		if f.Lease == inflight.LeaseOwned {
			leased = append(leased, f.Name)
		}
		l.fail(f, l.s.Config.NewPanic(nil, nil))
	}
	if len(leased) > 0 {
		l.releaseAfterRights(leased)
	}
	l.finish()
}

// finish ends the run, once: Close need not wait for it any more.
func (l *loadRun) finish() {
	if l.ended.Swap(true) {
		return
	}
	l.timer.Stop()
	l.CancelCause(nil)
	l.s.Goroutines.LoadDone()
}

// end ends the context, and the calls of a loader that is running: the loader may be
// slow to notice the end, or never notice.
func (l *loadRun) end(cause error) {
	l.CancelCause(cause)
	l.abandon()
}

// tick extends leases and watches the deadline. Most loads end before it is called
// at all.
func (l *loadRun) tick() {
	// After a panic nothing would watch the deadline any more.
	defer l.s.Goroutines.Panics.Recover("the timer of a load", func() { l.end(recovery.ErrPanicked) })
	if l.ended.Load() {
		l.releasePlaceLater()
		return
	}
	overdue := l.overdue.Load()
	if l.Err() != nil && !overdue {
		return
	}
	// guard: idle-without-loads
	l.s.Session.Activity.Add(1)
	until, _ := l.Deadline()
	if overdue {
		until = until.Add(l.cfg.LoadTimeout)
	}
	left := time.Until(until)
	switch {
	case left > 0:
	case overdue:
		l.giveUp()
		return
	case l.cfg.Detached:
		l.expire()
		return
	default:
		l.end(l.cfg.TimedOut)
		return
	}
	l.timer.Reset(min(l.s.renewEvery(), left))
	// guard: I7-renew-lease
	if !l.resultOwned.Load() {
		l.s.Goroutines.Spawn(l.extend)
	}
}

func (l *loadRun) extend() {
	keys := leasedNames(l.ready)
	if len(keys) == 0 || l.cfg.LocalOnly {
		return
	}
	for _, f := range l.ready {
		if token := f.Right.Load(); token != nil && *token == l.token {
			keys = append(keys, rightOf(f.Name))
		}
	}
	if _, err := pieces.Each(keys, func(piece []string) error {
		// Not the first caller's context: that caller may have left. Nor the load's: that may have ended, and the
		// loader not.
		rctx := l.s.Session.Request(context.WithoutCancel(&l.LoadContext))
		defer rctx.End()
		return l.s.Session.Conn.Extend(rctx, piece, l.token, l.s.Config.LeaseTTL)
	}); err != nil {
		l.countRemoteError(err)
	}
}

// attachCalls makes the calls participants of the run, and ends those that no caller
// waits for.
func (l *loadRun) attachCalls(fs []*inflight.Call) (wanted []*inflight.Call) {
	participants := make([]part, len(fs))
	l.activeCalls.Store(int64(len(fs)))
	wanted = make([]*inflight.Call, 0, len(fs))
	for i, f := range fs {
		participants[i].run = l
		if l.s.Table.Attach(f, &participants[i]) {
			wanted = append(wanted, f)
			continue
		}
		if f.Lease == inflight.LeaseOwned {
			l.releaseLater([]string{f.Name})
		}
		l.finishAll([]*inflight.Call{f}, inflight.Outcome{Err: errAbandoned})
		participants[i].Leave()
	}
	return wanted
}

// take gets the leases, and returns the calls that this run is to load. Those whose keys
// other processes load are left to a run of their own, which waits, so that the rest of a
// batch need not wait too.
func (l *loadRun) take(fs []*inflight.Call) []*inflight.Call {
	ready, held := l.lease(&l.LoadContext, fs)
	l.leaveFinished(fs)
	if len(ready) == 0 && len(held) > 0 {
		return l.awaitLeases(&l.LoadContext, held)
	}
	l.leaveTo(held)
	return ready
}

// leaveFinished leaves the calls that are answered already: their waiters need not leave for
// the run to end.
func (l *loadRun) leaveFinished(fs []*inflight.Call) {
	for _, f := range fs {
		if f.Finished() {
			f.Participant.Leave()
		}
	}
}

// leaveTo leaves calls to a run of their own.
func (l *loadRun) leaveTo(fs []*inflight.Call) {
	if len(fs) == 0 {
		return
	}
	parts := make([]inflight.Participant, len(fs))
	for i, f := range fs {
		parts[i] = f.Participant
	}
	l.newRun(l.load, l.o).start(l.Values, fs)
	for _, p := range parts {
		p.Leave()
	}
}

// loadResult is the result of a run of the loader, one element per call.
type loadResult struct {
	asOf    invalidation.AsOf
	begun   mono.Time // when the values were begun to be read
	entries []*LoadEntry
	loaded  []Loaded
}

// runLoader runs the loader and fills the tiers with its values. The as-of is taken
// here, before the loader starts (R2): a change from now on makes the values invalid,
// and the loader sees every change from before.
func (l *loadRun) runLoader(fs []*inflight.Call) {
	r := l.prepare(fs)
	l.ready, l.begun, l.traced = fs, mono.Now(), l.traceLoad(fs)
	l.s.Loading.Add(1)
	l.resultOwned.Store(false)
	if l.Err() != nil {
		l.abandon() // the context ended while there was nothing to abandon
		return
	}
	returned := false
	defer func() { // also after a panic or a Goexit of the loader
		if !returned {
			var stack []byte
			p := recover() // nil: it is a Goexit, which goes on
			if p != nil {
				stack = debug.Stack()
			}
			failed := l.s.Config.NewPanic(p, stack)
			for i := range r.loaded {
				r.loaded[i] = Loaded{Err: failed}
			}
		}
		l.s.places.Release(&l.self)
		if !l.ownResult(nil) {
			l.timedOut = true
			l.timer.Stop()
			l.returned()
			return // abandon has ended the calls, and no caller waits
		}
		// Last of all, when the callers have been answered: the observer may read the key.
		// guard: observe-load-after-answer
		defer l.told(mono.Now().Sub(l.begun), firstError(r.loaded))
		// guard: I5-as-of-before-load
		l.withCause(r.loaded)
		l.fill(fs, r)
	}()
	l.load.Run(l.traced, l.typed.Kind, l.load.Loader, fs, r.entries, r.loaded)
	if firstError(r.loaded) == nil {
		l.took.Note(mono.Now().Sub(l.begun))
	}
	returned = true
}

// prepare takes the as-of of the values, and sets the basis of the calls.
func (l *loadRun) prepare(fs []*inflight.Call) loadResult {
	view := l.s.Session.Tail.View()
	r := loadResult{asOf: view.AsOf(), begun: mono.Now(), entries: make([]*LoadEntry, len(fs)), loaded: make([]Loaded, len(fs))}
	for i := range r.entries {
		r.entries[i] = &LoadEntry{}
	}
	if given := l.o.AsOf; !given.IsZero() {
		r.begun = l.s.Session.Tail.Begun(given, r.begun)
	}
	if given := l.o.AsOf; !given.IsZero() && (given.Incarnation != r.asOf.Incarnation || given.Tick < r.asOf.Tick) {
		r.asOf = given
	}
	for _, f := range fs {
		if f.WithoutLease() && !l.cfg.LocalOnly { // else askLeases or recheckLocalOnly has set the basis
			l.s.Table.Restart(f, view, mono.Now())
		}
		f.Seq = view.Seq
		if r.asOf != view.AsOf() {
			f.Seq = 0 // older than the view of any caller that shares it: they all check
		}
		f.KeyTick = view.Watermark
		if f.WithoutLease() {
			l.ns.Stats.Unleased.Add(1)
		}
	}
	l.ns.Stats.Loads.Add(int64(len(fs)))
	if fs[0].RefreshTarget != nil { // and so have all
		l.ns.Stats.Refreshes.Add(int64(len(fs)))
		l.countEarly(fs)
	}
	return r
}

// firstError returns the error of a run. That a key of a batch is not found is none.
func firstError(ls []Loaded) error {
	for _, l := range ls {
		if l.Err != nil && (len(ls) == 1 || !errors.Is(l.Err, ErrNotFound)) {
			return l.Err
		}
	}
	return nil
}

// withCause adds the cause of the context's end to the errors of a loader that returned
// because of it: a caller of a store that is closing is to see ErrClosed, not a
// cancellation.
func (l *loadRun) withCause(results []Loaded) {
	end := l.Err()
	if end == nil {
		return
	}
	cause := context.Cause(l.Context)
	for i, r := range results {
		ended := errors.Is(r.Err, end) || errors.Is(r.Err, context.Canceled)
		if r.Err != nil && ended && !errors.Is(r.Err, cause) {
			results[i].Err = fmt.Errorf("%w: %w", cause, r.Err)
		}
	}
}

// abandon ends the calls of a loader that has not returned.
func (l *loadRun) abandon() {
	if !l.ownResult(nil) {
		return
	}
	cause := context.Cause(l.Context)
	defer l.told(mono.Now().Sub(l.begun), cause) // when the callers have been answered
	for _, f := range l.ready {
		l.fail(f, cause)
	}
	if keys := leasedNames(l.ready); len(keys) > 0 && !l.cfg.LocalOnly {
		l.releaseAfterRights(keys)
	}
	l.finish()
	// guard: place-of-loader-that-goes-on
	l.leftAt.Store(int64(mono.Now()))
	l.releasePlaceLater()
}

// fail ends a call whose load failed.
func (l *loadRun) fail(f *inflight.Call, err error) {
	if !l.overdue.Load() { // else expire has
		l.noteFailure(f, err)
	}
	l.finishAll([]*inflight.Call{f}, inflight.Outcome{Err: err, StaleFallback: f.Stale})
}

// noteFailure counts a failed load, and begins the pause of its key.
func (l *loadRun) noteFailure(f *inflight.Call, err error) {
	if l.startsPause(err) {
		l.keepRight(f, l.pause(f, err))
	} else {
		l.giveBackRights(f)
		if f.RefreshTarget != nil {
			l.refreshEarlyAt(f.RefreshTarget, mono.Now())
		}
	}
	if context.Cause(l.Context) != errLeft { // else no caller gets the error
		l.ns.Stats.LoadErrors.Add(1)
	}
}

func (l *loadRun) countRemoteError(err error) { l.countRequestError(l.inBackground(), err) }

// countEarly counts the refreshes of values whose TTL has not passed.
func (l *loadRun) countEarly(fs []*inflight.Call) {
	now := mono.Now()
	for _, f := range fs {
		if now < f.RefreshTarget.Meta().Fresh {
			l.ns.Stats.Early.Add(1)
		}
	}
}

// startsPause reports whether a load that ended with err says that its source is failing.
func (l *loadRun) startsPause(err error) bool {
	cause := context.Cause(l.Context)
	// guard: abandoned-load-is-no-failure
	// guard: refused-load-is-no-failure
	return cause != errLeft && cause != ErrClosed && !errors.Is(err, ErrNotFound) && err != ErrClosed && err != errAbandoned &&
		!errors.Is(err, ErrOverloaded) && !errors.Is(err, ErrRecursiveLoad)
}
