package tier

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	mrand "math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier/internal/breaker"
)

// newToken returns a token that no other load in the fleet has.
func (s *Store) newToken() string {
	return s.tokens + strconv.FormatUint(s.lastToken.Add(1), 36)
}

// tokenPrefix returns a random prefix for one store's tokens.
func tokenPrefix() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// renewEvery is how often a running load renews its leases. Processes of two lengths of lease would have to
// renew more often than a third of the shorter one: asking for a lease shortens another's to the asker's length.
func (s *Store) renewEvery() time.Duration { return s.cfg.leaseTTL / 3 }

// readOrLease reads the remote tier and, if it has nothing, takes the lease in
// the same round trip. It returns true if that ended the call.
//
// It costs the server more than a plain read, and so is used only for keys that are
// likely to be missing.
func (l *loadRun) readOrLease(ctx context.Context, f *call) bool {
	leases, err := l.askLeases(ctx, l.only(f))
	if err != nil {
		// guard: I8-release-only-asked-lease
		if !breaker.Refused(err) {
			l.releaseAside(f)
		}
		return l.afterReadError(ctx, f, l.o, err)
	}
	lease := &leases[0]
	// guard: use-lease-with-bad-value
	f.leased = lease.Acquired && lease.Err == nil
	returned := false
	defer func() {
		// guard: release-lease-on-goexit
		if !returned && f.leased { // the codec has ended this goroutine
			l.releaseAside(f)
		}
	}()
	switch {
	case lease.Item.Found():
		served := l.finishFromRemote(ctx, f, lease.Item, l.load, l.o)
		// guard: release-unneeded-lease
		if served && f.leased {
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
	case !f.leased:
		f.held, f.holds = true, lease.Wait
	}
	l.countMiss(Cold)
	returned = true
	return false
}

// loadWithoutLease marks f to be loaded without a lease, because of err.
func (l *loadRun) loadWithoutLease(f *call, err error) {
	l.countRemoteError(err)
	f.skipLease, f.leaseOOM = true, errors.Is(err, remote.ErrFull)
}

// lease asks for the fleet's leases of the calls. ready are the calls to load now, held
// those whose keys another process loads. It ends the calls whose values have been
// stored meanwhile.
func (l *loadRun) lease(ctx context.Context, fs []*call) (ready, held []*call) {
	var ask []*call
	for _, f := range fs {
		switch {
		case l.cfg.localOnly || f.skipLease || f.leased:
			ready = append(ready, f)
		case f.held:
			f.held = false // next time, ask
			held = append(held, f)
		default:
			ask = append(ask, f)
		}
	}
	for len(ask) > 0 {
		leases, err := l.askLeases(ctx, ask)
		if err != nil {
			l.countRemoteError(err)
			if !breaker.Refused(err) {
				l.releaseLater(leasedNames(ask))
			}
			for _, f := range ask {
				f.skipLease = true
			}
			return append(ready, ask...), held
		}
		var again []*call
		for i, f := range ask { // before any is decoded: a codec may end this goroutine
			f.leased = leases[i].Acquired && leases[i].Err == nil
		}
		for i, f := range ask {
			lease := leases[i]
			switch {
			case lease.Item.Found() && l.finishFromRemote(ctx, f, lease.Item, l.load, l.o):
				if f.leased {
					l.releaseLater([]string{f.name})
				}
			case f.leased:
				ready = append(ready, f)
			case lease.Err != nil:
				l.loadWithoutLease(f, lease.Err)
				ready = append(ready, f)
				// guard: release-lease-with-error-in-run
				if lease.Acquired {
					l.releaseLater([]string{f.name})
				}
			case lease.Item.Found():
				again = append(again, f) // another version, not usable either
			default:
				f.holds = lease.Wait
				held = append(held, f)
			}
		}
		ask = again
		if ctx.Err() != nil {
			l.finishAll(ask, outcome{err: context.Cause(l.Context)})
			return ready, held
		}
	}
	return ready, held
}

func (l *loadRun) askLeases(ctx context.Context, fs []*call) ([]backend.Lease, error) {
	reqs := make([]backend.LeaseRequest, len(fs))
	view, now := l.s.tail.View(), mono.Now()
	for i, f := range fs {
		// Registered before the request, since it reads the key (R9).
		l.s.table.restart(f, view, now)
		reqs[i] = backend.LeaseRequest{Key: f.name, Token: l.token, Seen: f.seen, TTL: l.s.cfg.leaseTTL, Any: f.force || f.empty}
	}
	rctx := l.s.request(ctx)
	defer rctx.End()
	leases, err := l.s.conn.Lease(rctx, reqs)
	// What comes with a lease is judged as what is read without one: by what is proven. A load that waits for another's
	// lease may find that nothing is.
	//
	//	A:      Delete(k) returns; B holds the lease of k, and A waits for it
	//	server: is restarted from an older file, with k in it
	//	A:      dials again, asks for the lease, and is given what the file had
	//
	// guard: R6-lease-by-proof
	unproven := !l.s.canJudgeAll(view, fs) && slices.ContainsFunc(leases, func(l backend.Lease) bool { return l.Item.Found() })
	if err == nil && (unproven || l.s.anyConnectionChanged(view, fs)) {
		err = l.s.revalidate(rctx, leasedNames(fs)...)
	}
	return leases, err
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

// awaitLease waits until another process has loaded f's key, or has released its lease, or
// the lease has expired. The server need not send an invalidation of an expired key before
// the key is accessed, so the wait ends with the lease.
func (l *loadRun) awaitLease(ctx context.Context, f *call) (ready []*call) {
	if f.refreshTarget != nil {
		l.finishAll([]*call{f}, outcome{err: errAbandoned}) // another process does the refresh
		return nil
	}
	wait := maxLeaseWait
	if l.s.cfg.noTracking {
		wait = leasePoll
	}
	for {
		// guard: ask-for-expired-lease
		if err := l.s.table.sleep(ctx, f, min(wait/2+mrand.N(wait/2), f.holds+leaseSlack)); err != nil {
			l.finishAll([]*call{f}, outcome{err: context.Cause(l.Context)})
			return nil
		}
		ready, held := l.lease(ctx, []*call{f})
		if len(held) == 0 {
			return ready
		}
	}
}

// releaseLater gives up leases in a goroutine of its own, while the run has not ended. The
// server may have granted them although its answer did not come: it performs a slow
// request late, and this release after it, so that no other process waits until the
// leases expire.
func (l *loadRun) releaseLater(keys []string) {
	l.s.runInBackground(func() { l.release(keys) })
}

// releaseAside is releaseLater for a run that has not begun.
func (l *loadRun) releaseAside(f *call) {
	name := f.name
	l.s.spawn(func() { l.release([]string{name}) })
}

// release gives up leases, and tries again until the server answers: the connection over
// which a lease was asked for may have been lost together with the answer, and until the
// client has noticed that, it fails new requests. When the server has been away for as
// long as leases last, none is left to give up.
func (l *loadRun) release(keys []string) {
	expired := time.NewTimer(l.s.cfg.leaseTTL)
	defer expired.Stop()
	for pause := time.Millisecond; !l.releaseOnce(keys); pause = min(2*pause, maxReleasePause) {
		var back <-chan struct{}
		var again <-chan time.Time
		if a := l.breaker(keys[0]).Current.Load(); a != nil {
			back = a.Over
		} else {
			again = time.After(pause)
		}
		select {
		case <-back:
		case <-again:
		case <-expired.C:
			return
		case <-l.s.ctx.Done():
			return
		}
	}
}

// maxReleasePause bounds the pauses between attempts to give up a lease.
const maxReleasePause = 100 * time.Millisecond

// releaseOnce reports whether the server has answered.
func (l *loadRun) releaseOnce(keys []string) bool {
	limit := max(l.s.cfg.timeout, time.Second)
	if l.s.closed.Load() {
		limit = l.s.cfg.timeout
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	err := l.s.conn.Release(ctx, keys, l.token)
	if err != nil {
		l.countRemoteError(err)
	}
	// guard: release-until-answered
	return !remote.Away(err)
}

// leasedNames returns the remote keys of the calls that do not skip the lease.
func leasedNames(fs []*call) []string {
	out := make([]string, 0, len(fs))
	for _, f := range fs {
		if !f.skipLease {
			out = append(out, f.name)
		}
	}
	return out
}
