package core

import (
	"context"
	"errors"
	"fmt"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier/internal/breaker"
	"github.com/tiercache/tiercache/tier/internal/config"
	"github.com/tiercache/tiercache/tier/internal/inflight"
	"github.com/tiercache/tiercache/tier/internal/record"
)

// admit rejects what cannot be served at all. The end of ctx is looked at later: what the local tier has
// is given all the same, as by the fast path of Get, which does not ask.
func (c *Cache) admit(ctx context.Context, key string) error {
	if c.s.Closed.Load() {
		return ErrClosed
	}
	if err := checkKey(key); err != nil {
		return err
	}
	if inflight.Recursive(ctx, c.ns, key) {
		return fmt.Errorf("%w: %s %.80q", ErrRecursiveLoad, c.ns.Path, key)
	}
	return nil
}

// Lookup gets a key's value from the first tier that has it, or from the loader.
//
// The code path of callers that share a call needs little stack: many callers of one key
// are often new goroutines, and growing their stacks would take longer than the rest of
// the read.
func (c *Cache) Lookup(ctx context.Context, key string, load LoadFunc, o config.Call) (inflight.Served, error) {
	if err := c.admit(ctx, key); err != nil {
		return inflight.Served{}, err
	}
	h := c.ns.Hash(key)
	var fallback *record.Item // past its TTL, but better than an error
	var began mono.Time
	beside := true // a renewal of the key is not waited for
	for {
		// guard: I4-fresh-read-skips-local
		if c.usesLocal(o) && !o.Fresh {
			got, ok, due := c.fromLocal(h, key)
			if due {
				c.refreshLater(ctx, load, got.It)
			}
			if ok {
				return got, nil
			}
			fallback = got.It
		}
		if ctx.Err() != nil {
			c.ns.Stats.Cancelled.Add(1)
			return inflight.Served{}, endOf(ctx)
		}
		since := c.s.takeSnapshot()
		if began == 0 {
			began = since.now
		}
		since.began = began
		f, leads, invalidations := c.s.Table.Join(nil, h, key, true)
		if beside && !leads && f.Renews && f.Key == key && !c.cfg.LocalOnly {
			c.s.Table.Leave(f)
			if it, stale := c.readPresent(ctx, h, key, o); it != nil {
				return inflight.Served{It: it, Origin: inflight.FromRemote, Stale: stale}, nil
			}
			beside = false
			continue
		}
		if leads {
			f.Name = c.ns.RemoteName(h)
			if read := c.LeadCall(ctx, f, load, o); read != nil {
				fallback = read
			}
		}
		got, again, err := c.answer(ctx, f, key, leads, since.with(invalidations), fallback, o)
		if !again {
			c.s.Watch.Read(kindOfRead(&got, err), began, c.ns.Path, key)
			return got, err
		}
	}
}

// answer waits for a call of key and returns what its caller is given. again tells a caller to
// look the key up once more: the call has ended, and its outcome is not for that caller.
func (c *Cache) answer(ctx context.Context, f *inflight.Call, key string, leads bool, since snapshot, fallback *record.Item, o config.Call) (got inflight.Served, again bool, err error) {
	instead, ended, err := c.awaitTraced(ctx, f, leads, since, fallback, o)
	c.s.Table.Leave(f)
	switch {
	case err != nil || !ended:
		if !leads {
			c.ns.Stats.Shared.Add(1)
		}
		return instead, false, err
	// guard: overdue-load-answers-its-callers
	case f.Key == key && f.Out.Overdue:
		// No other load runs before it has returned, so its error is that of every caller. What it has read is not.
		if !leads {
			c.ns.Stats.Shared.Add(1)
			if !c.canShare(ctx, f, since, o) {
				got, err = c.orStale(&inflight.Outcome{Err: f.Out.Err}, fallback)
				return got, false, err
			}
		}
	case f.Key != key, // another key of the same hash
		f.Out.Err == errAbandoned, !leads && !c.canShare(ctx, f, since, o):
		return c.answerAgain(ctx, f)
	case f.Out.Paused:
		// There was a value when the call ended without a load, and it may have ended or changed since.
		// guard: paused-call-without-value-loads
		if got, err = c.orStale(&f.Out, fallback); err != nil && !c.canServe(&f.Out) {
			return c.answerAgain(ctx, f)
		}
		c.countShared(&f.Out)
		return got, false, err
	case !leads:
		c.countShared(&f.Out)
	case f.Out.Refused:
		c.ns.Stats.Refused.Add(1)
	}
	got, err = c.orStale(&f.Out, fallback)
	return got, false, err
}

// answerAgain has a caller look its key up once more, when the others have left the call.
func (c *Cache) answerAgain(ctx context.Context, f *inflight.Call) (_ inflight.Served, again bool, err error) {
	if err = waitFor(ctx, &f.Left); err != nil {
		c.ns.Stats.Cancelled.Add(1)
	}
	return inflight.Served{}, err == nil, err
}

// orStale serves a value past its TTL instead of a loader's error, if the cache has
// WithStaleOnError.
func (c *Cache) orStale(out *inflight.Outcome, fallback *record.Item) (inflight.Served, error) {
	if out.Err == nil || errors.Is(out.Err, ErrNotFound) || errors.Is(out.Err, ErrClosed) {
		return out.Served, out.Err
	}
	if fallback == nil || out.Paused && !c.servesOnError(fallback) {
		fallback = out.StaleFallback
	}
	if c.servesOnError(fallback) {
		c.ns.Stats.Stale.Add(1)
		return inflight.Served{It: fallback, Origin: inflight.FromLocal, Stale: true}, nil
	}
	return inflight.Served{}, out.Err
}

// fromLocal serves a local copy if it is valid. If it is past its TTL but may be served
// if a load fails, it is returned with ok false. due is set if the copy is to be renewed in the
// background now.
func (c *Cache) fromLocal(h local.Key, key string) (got inflight.Served, ok, due bool) {
	e := c.s.Local.GetEntry(h)
	// guard: I2-read-of-own-kind
	if e == nil || !c.ofType(&e.Value) || e.Value.Key != key {
		c.ns.Stats.LocalMisses[CauseCold].Add(1)
		return inflight.Served{}, false, false
	}
	it, now, v := &e.Value, mono.Now(), c.s.Session.Tail.View()
	if !c.s.Session.IsValid(it, v, now) {
		if c.servableInOutage(it, now) {
			c.countOutageHit()
			return inflight.Served{It: it, Origin: inflight.FromLocal, Outage: true}, true, false
		}
		cause := CauseUnproven
		switch {
		case it.Meta().Epoch == record.EpochNone:
			c.s.Local.RemoveEntry(e)
		// guard: V1-suspend
		case c.s.Session.IsSuspended(it, v):
			c.s.Suspended.Wake()
		case c.s.Session.ProofFresh(v, now) && (it.Extra().Shard.Gone() || it.Extra().Shard.Age(now) <= c.s.Config.MaxStaleness):
			cause = CauseInvalidated
			c.s.Local.RemoveEntry(e)
		}
		c.ns.Stats.LocalMisses[cause].Add(1)
		return inflight.Served{}, false, false
	}
	if !it.Servable(now) {
		c.ns.Stats.LocalMisses[CauseExpired].Add(1)
		return inflight.Served{}, false, false
	}
	if now < it.Meta().Fresh {
		c.countHit(key)
		return inflight.Served{It: it, Origin: inflight.FromLocal}, true, c.refreshesEarly(h, it, now)
	}
	_, paused := c.s.pauses.Paused(h, now)
	renewing := now < it.Meta().Fresh.Add(c.cfg.StaleWhile)
	// guard: stale-value-in-pause
	if renewing || paused && c.stillServable(it, c.cfg.StaleOnError) {
		c.countHit(key)
		c.ns.Stats.Stale.Add(1)
		// guard: no-refresh-in-pause
		return inflight.Served{It: it, Origin: inflight.FromLocal, Stale: true}, true, renewing && !paused
	}
	c.ns.Stats.LocalMisses[CauseExpired].Add(1)
	return inflight.Served{It: it}, false, false
}

// LeadCall is the work of the caller that leads a call: read the remote tier in its own
// goroutine and, if that has no value, have the value loaded in another. It returns a
// valid value past its TTL, if it read one.
func (c *Cache) LeadCall(ctx context.Context, f *inflight.Call, load LoadFunc, o config.Call) (fallback *record.Item) {
	returned := false
	defer func() {
		if !returned {
			c.endOnGoexit(f)
		}
	}()
	fallback = c.lookupRemote(ctx, f, load, o)
	returned = true
	return fallback
}

// endOnGoexit ends calls whose goroutine is being ended by a codec that called
// runtime.Goexit: no other goroutine would end them.
func (c *Cache) endOnGoexit(fs ...*inflight.Call) {
	for _, f := range fs {
		if f.Finished() {
			continue
		}
		failed := c.s.Config.NewPanic(nil, nil)
		if f.RefreshTarget != nil {
			c.pause(f, failed) // or each read of the stale value would try again
		}
		c.finishAll([]*inflight.Call{f}, inflight.Outcome{Err: failed})
	}
}

func (c *Cache) lookupRemote(ctx context.Context, f *inflight.Call, load LoadFunc, o config.Call) (fallback *record.Item) {
	var l *loadRun
	switch {
	case c.cfg.LocalOnly:
		// guard: idle-local-only
		c.proveIdle(ctx)
		if c.recheckLocalOnly(f, o) {
			return nil
		}
	// guard: recheck-local
	case c.recheckLocal(f, o):
		return nil
	case c.leasesFirst(f, o):
		l = c.newRun(load, o)
		if l.readOrLease(ctx, f) {
			return f.Stale
		}
	case c.readRemote(ctx, f, load, o):
		return f.Stale
	}
	fallback = f.Stale
	if l == nil {
		l = c.newRun(load, o)
	}
	if c.finishPaused(f) {
		if f.Lease == inflight.LeaseOwned {
			l.releaseAside(f)
		}
		return fallback
	}
	l.start(ctx, []*inflight.Call{f})
	return fallback
}

// leasesFirst reports whether to ask for the lease together with the value: where the
// value is most likely missing, a plain read would be a wasted round trip.
func (c *Cache) leasesFirst(f *inflight.Call, o config.Call) bool {
	if _, paused := c.s.pauses.Paused(f.H, mono.Now()); paused {
		return false // the lease would be given up at once: see finishPaused
	}
	// guard: I4-fresh-read-asks-no-lease-first
	return c.s.places == nil && c.ns.MostlyMisses() && !o.Fresh && f.RefreshTarget == nil && c.suspendedCopy(f, o) == nil && c.s.Session.CanJudge(c.s.Session.Tail.View(), c.s.Session.ShardOf(f.Name))
}

// proveIdle reads the log if the store was idle: nothing else would prove local copies before the
// next heartbeat, since no request of a cache that has only the local tier takes a delta along.
func (c *Cache) proveIdle(ctx context.Context) {
	if c.s.Session.ProofFresh(c.s.Session.Tail.View(), mono.Now()) || !c.s.Session.Tail.Idle() {
		return
	}
	rctx := c.s.Session.Request(ctx)
	defer rctx.End()
	_ = c.s.Session.Tail.CatchUp(rctx) // what is not proven is loaded
}

// recheckLocalOnly begins a load of a cache that has only the local tier. It ends the
// call instead if the key was set since the caller looked there: a load that began
// after a Set must not overwrite it. (In other caches, leases prevent that.)
func (c *Cache) recheckLocalOnly(f *inflight.Call, o config.Call) bool {
	c.s.Table.Restart(f, c.s.Session.Tail.View(), mono.Now())
	if f.RefreshTarget != nil || o.Fresh {
		return false
	}
	it := c.FreshCopy(f.H, f.Key)
	if it == nil {
		return false
	}
	c.ns.Stats.Shared.Add(1)
	c.s.Table.Unregister(f)
	f.Finish(inflight.Outcome{Served: inflight.Served{It: it, Origin: inflight.FromLocal}})
	return true
}

// recheckLocal ends the call with a local copy that could not be served when its leader
// looked, and can be now: the copy of a call that ended in between.
//
//	A: has loaded k and answered; its write is under way, the copy provisional
//	reader goroutine: applies the write's invalidation, and doubts the copy
//	B: looks for k, and finds a copy that may be from before another change
//	A: its write is acknowledged; it commits the copy and ends its call
//	B: leads a call of its own, and would read remotely what is here
func (c *Cache) recheckLocal(f *inflight.Call, o config.Call) bool {
	if f.RefreshTarget != nil || f.Force || o.Fresh || !c.usesLocal(o) || c.FreshCopy(f.H, f.Key) == nil {
		return false
	}
	c.s.Table.Restart(f, c.s.Session.Tail.View(), mono.Now()) // the basis for sharing must be older than the check below
	it := c.FreshCopy(f.H, f.Key)
	if it == nil || it.Extra().Outage != nil {
		return false
	}
	c.ns.Stats.Shared.Add(1)
	c.s.Table.Unregister(f)
	f.Finish(inflight.Outcome{Served: inflight.Served{It: it, Origin: inflight.FromLocal}})
	return true
}

// readRemote reads the remote tier for f. It returns true if that ended the call.
func (c *Cache) readRemote(ctx context.Context, f *inflight.Call, load LoadFunc, o config.Call) bool {
	for range 5 {
		view := c.s.Session.Tail.View()
		c.s.Table.Restart(f, view, mono.Now())
		var stored backend.Item
		var done bool
		var err error
		copied := c.suspendedCopy(f, o)
		if copied != nil {
			stored, done, err = c.s.Session.ReadHead(ctx, f.Name, view)
		} else {
			stored, done, err = c.s.Session.ReadOne(ctx, f.Name, o.Fresh, view)
		}
		if err != nil {
			c.countReadError(ctx, err)
			return c.afterReadError(ctx, f, o, err)
		}
		if done && copied != nil {
			ended, unread, due := c.finishFromCopy(ctx, f, copied, stored, o)
			if due != nil {
				c.refreshLater(ctx, load, due)
			}
			if !unread {
				return ended
			}
			continue
		}
		if done {
			return c.finishFromRemote(ctx, f, stored, load, o) || f.Beside != nil && c.readBeside(ctx, f, load, o)
		}
	}
	f.Lease = inflight.LeaseSkipped // the change log was replaced each time; a load does not need it
	return false
}

// readBeside reads the entry that stands beside one of another encoding. It returns true if that
// ended the call.
func (c *Cache) readBeside(ctx context.Context, f *inflight.Call, load LoadFunc, o config.Call) bool {
	stored, done, err := c.s.Session.ReadOne(ctx, f.Name, false, c.s.Session.Tail.View())
	if err != nil {
		return c.afterReadError(ctx, f, o, err)
	}
	return done && c.finishFromRemote(ctx, f, stored, load, o)
}

// afterReadError decides what to do when the remote tier did not answer: the loader
// answers, unless the caller itself gave up. It returns true if it ended the call.
func (c *Cache) afterReadError(ctx context.Context, f *inflight.Call, o config.Call, err error) bool {
	if ctx.Err() != nil {
		f.Finish(inflight.Outcome{Err: errAbandoned})
		c.s.Table.Unregister(f)
		return true
	}
	if errors.Is(err, backend.ErrClosed) {
		f.Finish(inflight.Outcome{Err: ErrClosed})
		c.s.Table.Unregister(f)
		return true
	}
	// guard: I7-one-load-in-outage
	if breaker.Refused(err) && c.finishFromLocal(f, o) {
		return true
	}
	f.Lease = inflight.LeaseSkipped
	return false
}

// finishFromRemote ends the call with the entry that was read, if that is valid and fresh
// enough. If not, it sets the fields of f that a load needs. If the entry is of another encoding,
// f goes beside it: what stands there is to be read, or loaded.
func (c *Cache) finishFromRemote(ctx context.Context, f *inflight.Call, stored backend.Item, load LoadFunc, o config.Call) bool {
	ended, due := c.finishWith(ctx, f, stored, o)
	if due != nil {
		c.refreshLater(ctx, load, due)
	}
	return ended
}
