package core

import (
	"context"
	"errors"
	mrand "math/rand/v2"
	"strconv"
	"time"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier/internal/breaker"
	"github.com/tiercache/tiercache/tier/internal/inflight"
	"github.com/tiercache/tiercache/tier/internal/pieces"
	"github.com/tiercache/tiercache/tier/internal/record"
)

// newToken returns a token that no other load in the fleet has.
func (s *Store) newToken() string {
	return s.tokens + strconv.FormatUint(s.lastToken.Add(1), 36)
}

// renewEvery is how often a running load renews its leases. Asking for a lease shortens another's to the asker's length, so
// it leaves room for processes whose leases are half as long.
func (s *Store) renewEvery() time.Duration {
	// guard: R8-renewed-in-time-for-shorter-leases
	return s.Config.LeaseTTL / 3
}

// readOrLease reads the remote tier and, if it has nothing, takes the lease in
// the same round trip. It returns true if that ended the call.
//
// It costs the server more than a plain read, and so is used only for keys that are
// likely to be missing.
func (l *loadRun) readOrLease(ctx context.Context, f *inflight.Call) bool {
	leases, err := l.askLeases(ctx, []*inflight.Call{f})
	if err != nil {
		// guard: I8-release-only-asked-lease
		if !breaker.Refused(err) {
			l.releaseAside(f)
		}
		l.countReadError(ctx, err)
		return l.afterReadError(ctx, f, l.o, err)
	}
	lease := &leases[0]
	// guard: use-lease-with-bad-value
	f.Lease = inflight.LeaseOf(lease.Acquired && lease.Err == nil)
	returned := false
	name := f.Name
	defer func() {
		// guard: release-lease-on-goexit
		if !returned && f.Lease == inflight.LeaseOwned { // the codec has ended this goroutine
			l.releaseAside(f)
		}
	}()
	switch {
	case lease.Item.Found():
		served := l.finishFromRemote(ctx, f, lease.Item, l.load, l.o)
		if !served && f.Beside != nil { // what is needed is beside it
			// guard: P2-release-other-lease
			if f.Lease == inflight.LeaseOwned {
				f.Lease = inflight.LeaseUnknown
				l.s.Goroutines.Spawn(func() { l.release([]string{name}) })
			}
			served = l.readBeside(ctx, f, l.load, l.o)
		}
		// guard: release-unneeded-lease
		if served && f.Lease == inflight.LeaseOwned {
			l.releaseAside(f)
		}
		returned = true
		return served
	case lease.Err != nil:
		l.loadWithoutLease(f, lease.Err)
		// guard: release-lease-with-error
		if lease.Acquired {
			l.releaseAside(f)
		}
	case f.Lease != inflight.LeaseOwned:
		f.Lease, f.Holds = inflight.LeaseHeld, lease.Wait
	}
	l.countMiss(CauseCold)
	returned = true
	return false
}

// loadWithoutLease marks f to be loaded without a lease, because of err.
func (l *loadRun) loadWithoutLease(f *inflight.Call, err error) {
	l.countRemoteError(err)
	f.Lease = inflight.LeaseSkipped
	if errors.Is(err, remote.ErrFull) {
		f.Lease = inflight.LeaseRefused
	}
}

// lease asks for the fleet's leases of the calls. ready are the calls to load now, held
// those whose keys another process loads. It ends the calls whose values have been
// stored meanwhile.
func (l *loadRun) lease(ctx context.Context, fs []*inflight.Call) (ready, held []*inflight.Call) {
	var due []*record.Item // to be renewed in the background, together
	defer func() { l.refreshLater(ctx, l.load, due...) }()
	finish := func(f *inflight.Call, stored backend.Item) (ended bool) {
		ended, renew := l.finishWith(ctx, f, stored, l.o)
		if renew != nil {
			due = append(due, renew)
		}
		return ended
	}
	var ask []*inflight.Call
	for _, f := range fs {
		switch {
		case l.cfg.LocalOnly || f.WithoutLease() || f.Lease == inflight.LeaseOwned:
			ready = append(ready, f)
		case f.Lease == inflight.LeaseHeld:
			f.Lease = inflight.LeaseUnknown // next time, ask
			held = append(held, f)
		default:
			ask = append(ask, f)
		}
	}
	silence := pieces.SilenceOf(len(ask))
	for len(ask) > 0 {
		piece := ask[:min(len(ask), pieces.Keys)]
		leases, err := l.askLeases(ctx, piece)
		ends := endsBatch(ctx, &silence, err)
		if err != nil {
			l.countRemoteError(err)
			// It is asked for again: a lease that was granted and not answered is this run's, and is so once more.
			// guard: silent-piece-of-leases-is-asked-again
			if !ends {
				continue
			}
			if !breaker.Refused(err) {
				l.releaseLater(leasedNames(piece))
			}
			for _, f := range ask { // the next pieces would be waited for in vain
				f.Lease = inflight.LeaseSkipped
			}
			return append(ready, ask...), held
		}
		var again []*inflight.Call
		for i, f := range piece { // before any is decoded: a codec may end this goroutine
			f.Lease = inflight.LeaseOf(leases[i].Acquired && leases[i].Err == nil)
		}
		for i, f := range piece {
			lease, name, wasLinked := leases[i], f.Name, f.Beside != nil
			switch {
			case lease.Item.Found() && finish(f, lease.Item):
				if f.Lease == inflight.LeaseOwned {
					l.releaseLater([]string{f.Name})
				}
			case f.Beside != nil && !wasLinked: // it went beside the entry that was found: ask for the lease there
				// guard: P2-release-other-lease-in-run
				if f.Lease == inflight.LeaseOwned {
					f.Lease = inflight.LeaseUnknown
					l.releaseLater([]string{name})
				}
				again = append(again, f)
			case f.Lease == inflight.LeaseOwned:
				ready = append(ready, f)
			case lease.Err != nil:
				l.loadWithoutLease(f, lease.Err)
				ready = append(ready, f)
				// guard: release-lease-with-error-in-run
				if lease.Acquired {
					l.releaseLater([]string{f.Name})
				}
			case lease.Item.Found():
				again = append(again, f) // another version, not usable either
			default:
				f.Holds = lease.Wait
				held = append(held, f)
			}
		}
		ask = append(again, ask[len(piece):]...)
		if ctx.Err() != nil {
			l.finishAll(ask, inflight.Outcome{Err: context.Cause(l.Context)})
			return ready, held
		}
	}
	return ready, held
}

func (l *loadRun) askLeases(ctx context.Context, fs []*inflight.Call) ([]backend.Lease, error) {
	reqs := make([]backend.LeaseRequest, len(fs))
	view, now := l.s.Session.Tail.View(), mono.Now()
	for i, f := range fs {
		// Registered before the request, since it reads the key (R9).
		l.s.Table.Restart(f, view, now)
		reqs[i] = backend.LeaseRequest{Key: f.Name, Token: l.token, Seen: f.Seen, TTL: l.s.Config.LeaseTTL, Any: f.Force || f.Empty}
	}
	return l.s.Session.Lease(ctx, reqs, view)
}

const (
	// maxLeaseWait bounds one wait for the lease of another process: invalidations end
	// the wait sooner, and this bound is for those that get lost.
	maxLeaseWait = time.Second
	// leasePoll is used where no invalidations come.
	leasePoll = 20 * time.Millisecond
	// leaseSlack is how long after its end a lease is asked for: the server tells its
	// remaining time in whole milliseconds.
	leaseSlack = 2 * time.Millisecond
)

// awaitLeases waits until other processes have loaded one of the keys, or have released a lease, or
// a lease has expired, and returns the calls that are to be loaded then: those of a batch whose
// holder has failed are loaded together. The server need not send an invalidation of an expired key
// before the key is accessed, so the wait ends with the lease.
func (l *loadRun) awaitLeases(ctx context.Context, held []*inflight.Call) (ready []*inflight.Call) {
	waiting := make([]*inflight.Call, 0, len(held))
	for _, f := range held {
		if f.RefreshTarget != nil {
			l.refreshEarlyAt(f.RefreshTarget, mono.Now().Add(l.cfg.RetryFirst)) // should another process, which does the refresh, fail
			l.finishAll([]*inflight.Call{f}, inflight.Outcome{Err: errAbandoned})
			continue
		}
		waiting = append(waiting, f)
	}
	l.leaveFinished(held)
	wait := maxLeaseWait
	if l.s.Config.NoTracking {
		wait = leasePoll
	}
	elsewhere := l.awaitOthers()
	defer elsewhere.end()
	for len(waiting) > 0 {
		holds := waiting[0].Holds
		for _, f := range waiting {
			holds = min(holds, f.Holds)
		}
		pause := min(wait/2+mrand.N(wait/2), max(elsewhere.next.Sub(mono.Now()), leaseSlack))
		// guard: ask-for-expired-lease
		if err := l.s.Table.Sleep(ctx, waiting, min(pause, holds+leaseSlack)); err != nil {
			l.finishAll(waiting, inflight.Outcome{Err: context.Cause(l.Context)})
			return nil
		}
		ready, held := l.lease(ctx, waiting)
		l.leaveFinished(waiting)
		if len(ready) > 0 {
			l.leaveTo(held)
			return ready
		}
		// guard: loads-of-the-fleet-that-wait-for-each-other
		waiting = elsewhere.endCycles(ctx, held)
		l.leaveFinished(held)
	}
	return nil
}

// releaseLater gives up leases in a goroutine of its own, while the run has not ended. The
// server may have granted them although its answer did not come: it performs a slow
// request late, and this release after it, so that no other process waits until the
// leases expire.
func (l *loadRun) releaseLater(keys []string) {
	l.s.Goroutines.RunInBackground(func() { l.release(keys) })
}

// releaseAfterRights is releaseLater after the requests about rights: see rightRequests.
func (l *loadRun) releaseAfterRights(keys []string) {
	l.s.Goroutines.RunInBackground(func() {
		// guard: rights-before-leases-of-abandoned-load
		l.rights.wait()
		l.release(keys)
	})
}

// releaseAside is releaseLater for a run that has not begun.
func (l *loadRun) releaseAside(f *inflight.Call) {
	name := f.Name
	l.s.Goroutines.Spawn(func() { l.release([]string{name}) })
}

// release gives up leases of the run.
func (l *loadRun) release(keys []string) {
	l.s.Session.Release(l.s.Goroutines.Ctx, keys, l.token, l.countReleaseError)
}

// leasedNames returns the remote keys of the calls that do not skip the lease.
func leasedNames(fs []*inflight.Call) []string {
	out := make([]string, 0, len(fs))
	for _, f := range fs {
		if !f.WithoutLease() {
			out = append(out, f.Name)
		}
	}
	return out
}
