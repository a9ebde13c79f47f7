package core

import (
	"context"
	"sync"
	"time"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/tier/internal/inflight"
	"github.com/tiercache/tiercache/tier/internal/pace"
	"github.com/tiercache/tiercache/tier/internal/pieces"
)

// rightOf is the name under which the fleet keeps the right to load a key for callers that have a value
// past its TTL. It is taken after the lease, given back when the load has gone well, and kept for
// the pause when that has failed: so there is one attempt a pause in the fleet. Callers without a value need no right.
func rightOf(name string) string { return name + "?" }

// takeRights gets the rights to load for calls whose callers have a value past their TTL, or need none,
// and returns the calls that may be loaded. The others end with that value, and this process knows how long the pause of
// another lasts.
func (l *loadRun) takeRights(fs []*inflight.Call) (allowed []*inflight.Call) {
	if l.cfg.LocalOnly {
		return fs
	}
	var reqs []backend.LeaseRequest
	var asked []*inflight.Call
	for _, f := range fs {
		if f.WithoutLease() || f.Force || f.Right.Load() != nil || f.RefreshTarget == nil && !l.servesOnError(f.Stale) {
			allowed = append(allowed, f)
			continue
		}
		asked = append(asked, f)
		// The rest of another's pause would be shortened to a TTL that is less.
		reqs = append(reqs, backend.LeaseRequest{Key: rightOf(f.Name), Token: l.token, TTL: l.longestRight(), Any: true})
	}
	for len(asked) > 0 {
		n := min(len(asked), pieces.Keys)
		rctx := l.s.Session.Request(&l.LoadContext)
		rights, err := l.s.Session.Conn.Lease(rctx, reqs[:n])
		rctx.End()
		if err != nil {
			l.countRemoteError(err)
			return append(allowed, asked...)
		}
		for i, f := range asked[:n] {
			switch {
			case rights[i].Acquired && rights[i].Err == nil:
				f.Right.Store(&l.token)
				allowed = append(allowed, f)
			// guard: pause-of-another-process
			case rights[i].Err == nil:
				l.honourPause(f, mono.Now().Add(rights[i].Wait))
			default:
				allowed = append(allowed, f)
			}
		}
		asked, reqs = asked[n:], reqs[n:]
	}
	l.leaveFinished(fs)
	return allowed
}

// honourPause ends a call whose key another process has tried in vain: it has the right, and not the lease.
func (l *loadRun) honourPause(f *inflight.Call, until mono.Time) {
	l.s.pauses.Hear(f.H, mono.Now(), until, l.cfg.RetryFirst, l.cfg.RetryMax)
	if f.Lease == inflight.LeaseOwned {
		l.releaseLater([]string{f.Name})
	}
	if f.RefreshTarget != nil {
		l.refreshEarlyAt(f.RefreshTarget, until)
		l.finishAll([]*inflight.Call{f}, inflight.Outcome{Err: errAbandoned})
		return
	}
	l.finishAll([]*inflight.Call{f}, inflight.Outcome{Err: pace.ErrElsewhere, StaleFallback: f.Stale, Paused: true})
}

// longestRight is how long a right can be held: for a load, or a pause with its random part.
func (c *Cache) longestRight() time.Duration {
	return max(2*c.cfg.LoadTimeout, c.cfg.RetryMax+c.cfg.RetryMax/4) + time.Millisecond
}

// keepRight has no other process with a value past its TTL try the call's key before until.
func (l *loadRun) keepRight(f *inflight.Call, until mono.Time) {
	token := f.Right.Swap(nil)
	if token == nil {
		return
	}
	name, left := rightOf(f.Name), max(until.Sub(mono.Now()), time.Millisecond)
	l.rights.send(l.s.Goroutines.Spawn, func() error {
		rctx := l.s.Session.Request(context.WithoutCancel(l.Values))
		defer rctx.End()
		return l.s.Session.Conn.Extend(rctx, []string{name}, *token, left)
	}, l.countRemoteError)
}

// giveBackRights gives up the rights of calls that are not loaded, or were loaded.
func (l *loadRun) giveBackRights(fs ...*inflight.Call) {
	names := make(map[string][]string) // by token
	for _, f := range fs {
		if f.Run.Load() != &l.LoadContext { // another run goes on with it
			continue
		}
		if token := f.Right.Swap(nil); token != nil {
			names[*token] = append(names[*token], rightOf(f.Name))
		}
	}
	for token, names := range names {
		l.rights.send(l.s.Goroutines.Spawn, func() error {
			rctx := l.s.Session.Request(context.WithoutCancel(l.Values))
			defer rctx.End()
			return l.s.Session.Conn.Release(rctx, names, token)
		}, func(err error) {
			l.countRemoteError(err)
			l.s.Session.Release(l.s.Goroutines.Ctx, names, token, l.countReleaseError)
		})
	}
}

// rightRequests are the requests of a run that say how long its rights last from now on. They come before the leases are given up:
//
//	A: has the lease and the right of k; its load fails, or says DoNotStore; it gives up the lease
//	B: gets the lease, and asks for the right: A has it for the longest time that a load takes, which B takes for a pause
//	A: shortens the right to its pause, or gives it up
type rightRequests struct {
	mu  sync.Mutex // guards all
	all []chan struct{}
}

// send has spawn run request, and failed with its error.
func (r *rightRequests) send(spawn func(func()) bool, request func() error, failed func(error)) {
	answered := make(chan struct{})
	r.mu.Lock()
	r.all = append(r.all, answered)
	r.mu.Unlock()
	if !spawn(func() {
		var err error
		func() {
			defer close(answered)
			err = request()
		}()
		if err != nil {
			failed(err)
		}
	}) {
		close(answered)
	}
}

// wait returns when all that were sent were answered, or given up.
func (r *rightRequests) wait() {
	r.mu.Lock()
	all := r.all
	r.mu.Unlock()
	for _, answered := range all {
		<-answered
	}
}
