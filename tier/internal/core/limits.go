package core

import (
	"errors"
	"fmt"

	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/tier/internal/inflight"
	"github.com/tiercache/tiercache/tier/internal/loads"
)

// takePlace gets the run its place, and returns the calls that it may go on with: none if there are too many
// loads. It comes before the leases:
//
//	process A: a load has its place, and waits for the lease of k
//	process B: a load has the lease of k, and would wait for a place that a load waiting for A has
func (l *loadRun) takePlace(fs []*inflight.Call) []*inflight.Call {
	if len(fs) == 0 {
		return nil
	}
	var err error
	// guard: bounded-stuck-loaders
	if l.cfg.Detached && l.stuck.Full() {
		err = fmt.Errorf("%w: %d loaders of namespace %q have been given up and have not returned (WithDetachedLoads)", ErrOverloaded, loads.MostStuck, l.ns.Path)
	} else if err = l.s.places.Take(&l.LoadContext, &l.self, fs[0].RefreshTarget == nil); err == nil {
		return fs
	}
	switch {
	case err == loads.ErrFull:
		err = fmt.Errorf("%w: %d are running and %d are waiting (WithMaxLoads)", ErrOverloaded, l.s.Config.MaxLoads, loads.WaitingPerPlace*l.s.Config.MaxLoads)
	case err == l.cfg.TimedOut:
		err = fmt.Errorf("%w: none of %d places became free (WithMaxLoads): %w", ErrOverloaded, l.s.Config.MaxLoads, err)
	}
	for _, f := range fs {
		if f.Lease == inflight.LeaseOwned {
			l.releaseLater([]string{f.Name})
		}
		out := inflight.Outcome{Err: err, StaleFallback: f.Stale, Refused: errors.Is(err, ErrOverloaded)}
		if f.RefreshTarget != nil {
			l.refreshEarlyAt(f.RefreshTarget, mono.Now().Add(l.cfg.RetryFirst))
			out = inflight.Outcome{Err: errAbandoned}
		}
		l.finishAll([]*inflight.Call{f}, out)
	}
	l.leaveFinished(fs)
	return nil
}

// expire ends the context of a load that has taken too long. If the loader goes on, its callers are
// answered, and those that come, but no other loader of its keys runs.
func (l *loadRun) expire() {
	l.CancelCause(l.cfg.TimedOut)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.resultOwned.Load() {
		return // it has returned, or has not begun
	}
	for _, f := range l.ready {
		l.noteFailure(f, l.cfg.TimedOut)
		f.Finish(inflight.Outcome{Err: l.cfg.TimedOut, StaleFallback: f.Stale, Overdue: true})
	}
	l.overdue.Store(true)
	l.timer.Reset(min(l.s.renewEvery(), l.cfg.LoadTimeout))
}

// giveUp gives up a loader that has ignored the end of its context for another load timeout: its result
// will not be kept, and another load of its keys may run.
func (l *loadRun) giveUp() {
	if !l.ownResult(func() {
		l.gaveUp = true
		l.stuck.GiveUp()
		l.s.Stuck.GiveUp()
	}) {
		return
	}
	l.ns.Stats.GivenUp.Add(1)
	l.s.Config.Logger.Warn("tiercache: a loader has ignored the end of its context for another load timeout and was given up", "namespace", l.ns.Path, "timeout", l.cfg.LoadTimeout)
	defer l.told(mono.Now().Sub(l.begun), l.cfg.TimedOut) // when the keys are free
	if keys := leasedNames(l.ready); len(keys) > 0 && !l.cfg.LocalOnly {
		l.releaseLater(keys)
	}
	l.s.places.Release(&l.self)
	for _, f := range l.ready {
		// guard: given-up-load-frees-its-keys
		l.s.Table.Unregister(f)
	}
	l.finish()
}

// releasePlaceLater has the place of a loader that was left behind become free with another load timeout, if
// the loader has not returned by then.
func (l *loadRun) releasePlaceLater() {
	at := l.leftAt.Load()
	if at == 0 || l.s.places == nil {
		return
	}
	if left := mono.Time(at).Add(l.cfg.LoadTimeout).Sub(mono.Now()); left > 0 {
		l.timer.Reset(left)
		return
	}
	l.s.places.Release(&l.self)
}

// ownResult claims the result of the loader, once, and calls first if it did.
func (l *loadRun) ownResult(first func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.resultOwned.Swap(true) {
		return false
	}
	if first != nil {
		first()
	}
	return true
}

// returned notes that a loader has returned whose result is not its own any more.
func (l *loadRun) returned() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gaveUp {
		l.stuck.Return()
		l.s.Stuck.Return()
	}
}
