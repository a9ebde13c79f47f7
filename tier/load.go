package tier

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/internal/recovery"
)

// loaded is the result of a loader for one key.
type loaded struct {
	it  *item // with only the value set; may be nil with err
	err error
}

// loadFunc runs the user's loader for the calls, whose entries it fills, and
// sets a result for each.
//
// It is not a closure over the user's loader, since every read without a local hit would
// have to allocate one: of a thousand callers that share a load, one uses it.
type loadFunc struct {
	run    func(ctx context.Context, k *kind, loader any, fs []*call, es []*Entry, out []loaded)
	loader any // a Loader or a BatchLoader
}

// errLeft is the cause of a load's end when no caller waits for it any more.
var errLeft = errors.New("tier: no caller waits for the load any more")

// loadRun is one run of a loader: it gets the leases, runs the loader and fills
// the tiers. It has a goroutine of its own, since any caller can leave at any time,
// whether others wait or not. Its context ends when the last waiter of every call has
// left, with the load timeout, or with the store.
type loadRun struct {
	*core
	load  loadFunc
	o     callConfig
	token string // names this run as the holder of its leases

	loadContext
	timer       *time.Timer // for tick
	ended       atomic.Bool
	timedOut    bool         // the end of the context has ended the calls; used by the run's goroutine alone
	activeCalls atomic.Int64 // participants that have not left

	// resultOwned is set by the one that ends the calls of a running loader: the run's
	// goroutine when the loader has returned, or abandon when the context ends and the
	// loader ignores that. It is set as well while no loader runs.
	resultOwned atomic.Bool
	ready       []*call   // the calls that the loader runs for; set before resultOwned is reset
	begun       mono.Time // when the loader began
	// one holds what a run of a single call needs, as most runs are, in the memory of the
	// run itself. No other run uses it.
	one struct {
		fs           [1]*call
		participants [1]participant
		es           [1]*Entry
		entry        Entry
		out          [1]loaded
		done         [1]finishedLoad
		fills        [1]pendingFill
		writes       [1]backend.Write
	}
}

// participant is a call's part in a run.
type participant struct {
	run  *loadRun
	left atomic.Bool
}

// leave ends the run when its last call has left.
func (p *participant) leave() {
	if !p.left.Swap(true) && p.run.activeCalls.Add(-1) == 0 {
		p.run.end(errLeft)
	}
}

// newRun returns a run that has not begun.
func (c *core) newRun(load loadFunc, o callConfig) *loadRun {
	l := &loadRun{core: c, load: load, o: o, token: c.s.newToken()}
	l.resultOwned.Store(true)
	return l
}

// only returns a list of one call, in the memory of the run.
func (l *loadRun) only(f *call) []*call {
	l.one.fs[0] = f
	return l.one.fs[:]
}

// start has the calls' values loaded in a goroutine of its own.
func (l *loadRun) start(ctx context.Context, fs []*call) {
	for _, f := range fs {
		f.run = l
	}
	if !l.s.spawnLoad(func() { l.run(ctx, fs) }) {
		l.finishAll(fs, outcome{err: ErrClosed})
	}
}

// finishAll ends calls with a result that no tier keeps. It unregisters them first: a
// caller that is given an error and tries again at once gets a new load and not the old
// error.
func (c *core) finishAll(fs []*call, out outcome) {
	for _, f := range fs {
		c.s.table.unregister(f)
		f.finish(out)
	}
}

// run gets the leases and runs the loader. It counts as background work of the store
// until finish is called: before run returns, or later, when its fill has been answered.
func (l *loadRun) run(ctx context.Context, fs []*call) {
	returned := false
	defer func() {
		if !returned {
			l.endOnExit(fs)
		}
	}()
	l.init(ctx, time.Now().Add(l.cfg.loadTimeout), loading{store: l.s, ns: l.ns, calls: fs})
	l.timer = time.AfterFunc(time.Hour, l.tick) // an hour, since tick uses l.timer, which must be set before
	l.timer.Reset(min(l.s.renewEvery(), l.cfg.loadTimeout))
	fs = l.attachCalls(fs)
	if l.s.closed.Load() { // Close may have listed the participants before ours were attached
		l.end(ErrClosed)
	}
	if ready := l.take(fs); len(ready) > 0 {
		l.runLoader(ready)
	} else {
		l.finish()
	}
	returned = true
}

// endOnExit ends a run whose goroutine is being ended: by its loader, which
// runLoader sees to, or by a codec that called runtime.Goexit.
func (l *loadRun) endOnExit(fs []*call) {
	if l.timedOut || l.ended.Load() {
		return
	}
	var leased []string
	for _, f := range fs {
		if f.run != l || f.finished() { // another run has it by now
			continue
		}
		if f.leased {
			leased = append(leased, f.name)
		}
		l.fail(f, &LoadPanic{})
	}
	if len(leased) > 0 {
		l.releaseLater(leased)
	}
	l.finish()
}

// finish ends the run, once: Close need not wait for it any more.
func (l *loadRun) finish() {
	if l.ended.Swap(true) {
		return
	}
	l.timer.Stop()
	l.cancelCause(nil)
	l.s.mu.background.Done()
}

// end ends the context, and the calls of a loader that is running: the loader may be
// slow to notice the end, or never notice.
func (l *loadRun) end(cause error) {
	l.cancelCause(cause)
	l.abandon()
}

// tick extends leases and watches the deadline. Most loads end before it is called
// at all.
func (l *loadRun) tick() {
	// After a panic nothing would watch the deadline any more.
	defer l.s.panics.Recover("the timer of a load", func() { l.end(recovery.ErrPanicked) })
	if l.Err() != nil {
		return
	}
	// guard: idle-without-loads
	l.s.activity.Add(1)
	left := time.Until(l.deadline)
	if left <= 0 {
		l.end(l.cfg.timedOut)
		return
	}
	l.timer.Reset(min(l.s.renewEvery(), left))
	// guard: I7-renew-lease
	if !l.resultOwned.Load() {
		l.s.spawn(l.extend)
	}
}

func (l *loadRun) extend() {
	keys := leasedNames(l.ready)
	if len(keys) == 0 || l.cfg.localOnly {
		return
	}
	rctx := l.s.request(&l.loadContext) // not the first caller's context: that caller may have left
	defer rctx.End()
	if err := l.s.conn.Extend(rctx, keys, l.token, l.s.cfg.leaseTTL); err != nil {
		l.countRemoteError(err)
	}
}

// attachCalls makes the calls participants of the run, and ends those that no caller
// waits for.
func (l *loadRun) attachCalls(fs []*call) (wanted []*call) {
	participants := l.one.participants[:]
	if len(fs) > 1 {
		participants = make([]participant, len(fs))
	}
	l.activeCalls.Store(int64(len(fs)))
	wanted = make([]*call, 0, len(fs))
	for i, f := range fs {
		participants[i].run = l
		if l.s.table.attach(f, &participants[i]) {
			wanted = append(wanted, f)
			continue
		}
		if f.leased {
			l.releaseLater([]string{f.name})
		}
		l.finishAll([]*call{f}, outcome{err: errAbandoned})
		participants[i].leave()
	}
	return wanted
}

// take gets the leases, and returns the calls that this run is to load. For each key
// that another process loads it starts a run of its own that waits, so that the rest of
// a batch need not wait too.
func (l *loadRun) take(fs []*call) []*call {
	ready, held := l.lease(&l.loadContext, fs)
	for _, f := range fs {
		if f.finished() {
			f.participant.leave() // answered already: its waiters need not leave for the run to end
		}
	}
	for len(held) > 0 && len(fs) > 1 {
		last := held[len(held)-1]
		held = held[:len(held)-1]
		p := last.participant
		l.newRun(l.load, l.o).start(l.values, []*call{last})
		p.leave()
	}
	if len(held) == 1 {
		ready = l.awaitLease(&l.loadContext, held[0])
	}
	return ready
}

// loadResult is the result of a run of the loader, one element per call.
type loadResult struct {
	asOf    AsOf
	entries []*Entry
	loaded  []loaded
}

// runLoader runs the loader and fills the tiers with its values. The as-of is taken
// here, before the loader starts (R2): a change from now on makes the values invalid,
// and the loader sees every change from before.
func (l *loadRun) runLoader(fs []*call) {
	r := l.prepare(fs)
	l.ready, l.begun = fs, mono.Now()
	l.resultOwned.Store(false)
	if l.Err() != nil {
		l.abandon() // the context ended while there was nothing to abandon
		return
	}
	returned := false
	defer func() { // also after a panic or a Goexit of the loader
		if !returned {
			failed := &LoadPanic{}
			if p := recover(); p != nil { // else it is a Goexit, which goes on
				failed.Value, failed.Stack = p, debug.Stack()
			}
			for i := range r.loaded {
				r.loaded[i] = loaded{err: failed}
			}
		}
		if l.resultOwned.Swap(true) {
			l.timedOut = true
			return // abandon has ended the calls, and no caller waits
		}
		took := mono.Now().Sub(l.begun)
		l.s.observe(EventLoad, l.ns, took, firstError(r.loaded))
		// guard: I5-as-of-before-load
		l.withCause(r.loaded)
		l.fill(fs, r)
	}()
	l.load.run(&l.loadContext, l.kind, l.load.loader, fs, r.entries, r.loaded)
	returned = true
}

// prepare takes the as-of of the values, and sets the basis of the calls.
func (l *loadRun) prepare(fs []*call) loadResult {
	view := l.s.tail.View()
	r := loadResult{asOf: view.AsOf(), entries: l.one.es[:], loaded: l.one.out[:]}
	l.one.es[0] = &l.one.entry
	if len(fs) > 1 {
		r.entries, r.loaded = make([]*Entry, len(fs)), make([]loaded, len(fs))
		for i := range r.entries {
			r.entries[i] = &Entry{}
		}
	}
	if given := l.o.asOf; !given.IsZero() && (given.Incarnation != r.asOf.Incarnation || given.Tick < r.asOf.Tick) {
		r.asOf = given
	}
	for _, f := range fs {
		if f.skipLease && !l.cfg.localOnly { // else askLeases or recheckLocalOnly has set the basis
			l.s.table.restart(f, view, mono.Now())
		}
		f.seq = view.Seq
		if r.asOf != view.AsOf() {
			f.seq = 0 // older than the view of any caller that shares it: they all check
		}
		f.keyTick = view.Watermark
		if f.skipLease {
			l.ns.stats.unleased.Add(1)
		}
	}
	l.ns.stats.loads.Add(int64(len(fs)))
	return r
}

func firstError(ls []loaded) error {
	for _, l := range ls {
		if l.err != nil {
			return l.err
		}
	}
	return nil
}

// withCause adds the cause of the context's end to the errors of a loader that returned
// because of it: a caller of a store that is closing is to see ErrClosed, not a
// cancellation.
func (l *loadRun) withCause(results []loaded) {
	end := l.Err()
	if end == nil {
		return
	}
	cause := context.Cause(l.Context)
	for i, r := range results {
		ended := errors.Is(r.err, end) || errors.Is(r.err, context.Canceled)
		if r.err != nil && ended && !errors.Is(r.err, cause) {
			results[i].err = fmt.Errorf("%w: %w", cause, r.err)
		}
	}
}

// abandon ends the calls of a loader that has not returned.
func (l *loadRun) abandon() {
	if l.resultOwned.Swap(true) {
		return
	}
	cause := context.Cause(l.Context)
	l.s.observe(EventLoad, l.ns, mono.Now().Sub(l.begun), cause)
	for _, f := range l.ready {
		l.fail(f, cause)
	}
	if keys := leasedNames(l.ready); len(keys) > 0 && !l.cfg.localOnly {
		l.releaseLater(keys)
	}
	l.finish()
}

// fail ends a call whose load failed.
func (l *loadRun) fail(f *call, err error) {
	if f.refreshTarget != nil {
		f.refreshTarget.meta().retry.Store(int64(mono.Now().Add(refreshPause)))
	}
	if context.Cause(l.Context) != errLeft { // else no caller gets the error
		l.ns.stats.loadErrors.Add(1)
	}
	l.finishAll([]*call{f}, outcome{err: err, staleFallback: f.stale})
}
