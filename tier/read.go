package tier

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier/internal/breaker"
)

// admit rejects what cannot be served at all.
func (c *core) admit(ctx context.Context, key string) error {
	if c.s.closed.Load() {
		return ErrClosed
	}
	if err := checkKey(key); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return endOf(ctx)
	}
	if recursive(ctx, c.s, c.ns, key) {
		return fmt.Errorf("%w (namespace %q)", ErrRecursiveLoad, c.ns.path)
	}
	return nil
}

// snapshot is what the process knew when a caller began its read.
type snapshot struct {
	now    mono.Time
	view   *changelog.View
	synced mono.Time // when the latest Sync that succeeded was called
}

func (s *Store) takeSnapshot() snapshot {
	return snapshot{mono.Now(), s.tail.View(), mono.Time(s.table.synced.Load())}
}

// lookup gets a key's value from the first tier that has it, or from the loader.
//
// The code path of callers that share a call needs little stack: many callers of one key
// are often new goroutines, and growing their stacks would take longer than the rest of
// the read.
func (c *core) lookup(ctx context.Context, key string, load loadFunc, o callConfig) (served, error) {
	if err := c.admit(ctx, key); err != nil {
		return served{}, err
	}
	h := c.ns.hash(key)
	var fallback *item // past its TTL, but better than an error
	for {
		if ctx.Err() != nil {
			return served{}, endOf(ctx)
		}
		// guard: I4-fresh-read-skips-local
		if c.usesLocal(o) && !o.fresh {
			got, ok := c.fromLocal(ctx, h, key, load)
			if ok {
				return got, nil
			}
			fallback = got.it
		}
		since := c.s.takeSnapshot()
		f, leads, invalidations := c.s.table.join(nil, h, key, true)
		if f.key != key { // another key of the same hash: try again when its call has ended
			c.s.table.leave(f)
			if err := waitFor(ctx, &f.left); err != nil {
				return served{}, err
			}
			continue
		}
		if leads {
			f.name = c.ns.remoteName(h)
			if read := c.leadCall(ctx, f, load, o); read != nil {
				fallback = read
			}
		}
		instead, ended, err := c.await(ctx, f, fallback)
		c.s.table.leave(f)
		if err != nil || !ended {
			return instead, err
		}
		if !leads && !c.canShare(ctx, f, since, invalidations, o) || f.out.err == errAbandoned {
			if err := waitFor(ctx, &f.left); err != nil {
				return served{}, err
			}
			continue
		}
		if !leads && f.out.err == nil {
			c.countShared(&f.out)
		}
		return c.orStale(&f.out, fallback)
	}
}

// countShared counts an answer of a call that another caller led.
func (c *core) countShared(out *outcome) {
	c.ns.stats.shared.Add(1)
	if out.stale {
		c.ns.stats.stale.Add(1)
	}
}

func (c *core) usesLocal(o callConfig) bool { return !o.noLocal && !c.cfg.remoteOnly }

func waitFor(ctx context.Context, e *event) error {
	select {
	case <-e.wait():
		return nil
	case <-ctx.Done():
		return endOf(ctx)
	}
}

// orStale serves a value past its TTL instead of a loader's error, if the cache has
// WithStaleOnError.
func (c *core) orStale(out *outcome, fallback *item) (served, error) {
	if out.err == nil || errors.Is(out.err, ErrNotFound) || errors.Is(out.err, ErrClosed) {
		return out.served, out.err
	}
	if fallback == nil {
		fallback = out.staleFallback
	}
	if fallback != nil && c.ofType(fallback) && c.cfg.staleOnError > 0 && c.stillServable(fallback, c.cfg.staleOnError) {
		c.ns.stats.stale.Add(1)
		return served{it: fallback, origin: Local, stale: true}, nil
	}
	return served{}, out.err
}

// fromLocal serves a local copy if it is valid. If it is past its TTL but may be served
// if a load fails, it is returned with ok false.
func (c *core) fromLocal(ctx context.Context, h local.Key, key string, load loadFunc) (served, bool) {
	e := c.s.local.GetEntry(h)
	// guard: I2-read-of-own-kind
	if e == nil || !c.ofType(&e.Value) || e.Value.key != key {
		c.ns.stats.localMisses[Cold].Add(1)
		return served{}, false
	}
	it, now, v := &e.Value, mono.Now(), c.s.tail.View()
	if !c.s.isValid(it, v, now) {
		if c.servableInOutage(it, now) {
			c.countOutageHit()
			return served{it: it, origin: Local, outage: true}, true
		}
		cause := Unproven
		switch {
		case it.meta().epoch == epochNone:
			c.s.local.RemoveEntry(e)
		case c.s.proofFresh(v, now) && (it.extra().shard.Gone() || it.extra().shard.Age(now) <= c.s.cfg.maxStaleness):
			cause = Invalidated
			c.s.local.RemoveEntry(e)
		}
		c.ns.stats.localMisses[cause].Add(1)
		return served{}, false
	}
	if !it.servable(now) {
		c.ns.stats.localMisses[Expired].Add(1)
		return served{}, false
	}
	if now < it.meta().fresh {
		if c.refreshesEarly(it, now) {
			c.refreshLater(ctx, h, it, load)
		}
		c.ns.stats.localHits.add()
		return served{it: it, origin: Local}, true
	}
	if now < it.meta().fresh.Add(c.cfg.staleWhile) {
		if int64(now) >= it.meta().retry.Load() {
			c.refreshLater(ctx, h, it, load)
		}
		c.ns.stats.localHits.add()
		c.ns.stats.stale.Add(1)
		return served{it: it, origin: Local, stale: true}, true
	}
	c.ns.stats.localMisses[Expired].Add(1)
	return served{it: it}, false
}

// refreshesEarly reports, once for each item, that it is time to renew it ahead
// of its TTL.
func (c *core) refreshesEarly(it *item, now mono.Time) bool {
	if c.cfg.early == 0 || it.negative || now < it.earlyAt(&c.cfg) || !it.once(early) {
		return false
	}
	it.plan(&c.cfg)
	return true
}

// canShare decides R10: whether a caller, which began its read at since, may be answered
// by a call that was already under way then.
func (c *core) canShare(ctx context.Context, f *call, since snapshot, invalidations int, o callConfig) bool {
	out := &f.out
	if out.err == errAbandoned || out.it != nil && !c.ofType(out.it) { // an item of another kind: led by the last view of another shape
		return false
	}
	// guard: stale-value-of-another-view
	if out.stale && mono.Now() >= out.it.meta().fresh.Add(c.cfg.staleWhile) {
		return false // the view that leads the call serves it past its TTL, and this one does not
	}
	// guard: I4-fresh-read-that-joins
	if o.fresh {
		// guard: I4-fresh-read-shares-no-local-copy
		if out.begun < since.now || out.origin == Local {
			return false // invalidations from before the caller began may still be on their way
		}
		// This process does not know yet of all changes that others made up to now.
		// guard: I8-fresh-read-in-outage
		if c.s.conn.OpenOutage() != nil || c.s.conn.Of(f.name).Current.Load() != nil {
			return false
		}
		rctx := c.s.request(ctx)
		defer rctx.End()
		if c.s.tail.CatchUp(rctx) != nil || c.s.conn.Prove(rctx, f.name) != nil {
			return false
		}
		synced := since.synced
		since, invalidations = c.s.takeSnapshot(), c.s.table.invalidations(f)
		since.synced = synced
	}
	// guard: R10-call-older-than-change
	if invalidations > out.invalidations || since.view.Epoch > out.epoch || out.shard.Gone() {
		return false // the key changed, or may have, before the caller began
	}
	bound, recent := c.s.cfg.maxStaleness, out.begun
	if out.origin != Loaded {
		// guard: I2-shared-read-proof
		recent = min(recent, out.proof) // the proof that it was judged by
	}
	// A key that is loaded without its lease need not be tracked, so the server need not
	// have sent an invalidation when it changed.
	// guard: I2-unleased-load-age
	possiblyUntracked := f.skipLease && !c.cfg.localOnly
	// guard: I3-unleased-load-before-sync
	if possiblyUntracked && out.begun <= since.synced {
		return false
	}
	if (possiblyUntracked || since.view.Age(since.now) > bound) && since.now.Sub(recent) > bound {
		return false // the last proof is so old that anything may have changed
	}
	if out.seq >= since.view.Seq {
		return true
	}
	// guard: I5-shared-load
	return out.err == nil && c.stillValid(out.it)
}

// await waits for a call to end, for ctx, or for the soft timeout if there is a
// fallback, which is served in that case.
func (c *core) await(ctx context.Context, f *call, fallback *item) (instead served, ended bool, err error) {
	if ctx.Done() == nil && (fallback == nil || c.cfg.softTimeout == 0) {
		<-f.done.wait()
		return served{}, true, nil
	}
	return c.awaitAny(ctx, f, fallback)
}

func (c *core) awaitAny(ctx context.Context, f *call, fallback *item) (instead served, ended bool, err error) {
	var soft <-chan time.Time
	if fallback != nil && c.cfg.softTimeout > 0 {
		timer := time.NewTimer(c.cfg.softTimeout)
		defer timer.Stop()
		soft = timer.C
	}
	for {
		if f.finished() {
			return served{}, true, nil
		}
		select {
		case <-f.done.wait():
		case <-ctx.Done():
			return served{}, false, endOf(ctx)
		case <-soft:
			soft = nil
			if c.stillServable(fallback, c.cfg.staleWindow()) {
				c.s.table.detach(f)
				c.ns.stats.stale.Add(1)
				return served{it: fallback, origin: Local, stale: true}, false, nil
			}
		}
	}
}

// leadCall is the work of the caller that leads a call: read the remote tier in its own
// goroutine and, if that has no value, have the value loaded in another. It returns a
// valid value past its TTL, if it read one.
func (c *core) leadCall(ctx context.Context, f *call, load loadFunc, o callConfig) (fallback *item) {
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
func (c *core) endOnGoexit(fs ...*call) {
	for _, f := range fs {
		if f.finished() {
			continue
		}
		if f.refreshTarget != nil {
			f.refreshTarget.meta().retry.Store(int64(mono.Now().Add(refreshPause)))
		}
		c.finishAll([]*call{f}, outcome{err: &LoadPanic{}})
	}
}

func (c *core) lookupRemote(ctx context.Context, f *call, load loadFunc, o callConfig) (fallback *item) {
	var l *loadRun
	switch {
	case c.cfg.localOnly:
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
			return f.stale
		}
	case c.readRemote(ctx, f, load, o):
		return f.stale
	}
	fallback = f.stale
	if l == nil {
		l = c.newRun(load, o)
	}
	l.start(ctx, l.only(f))
	return fallback
}

// leasesFirst reports whether to ask for the lease together with the value: where the
// value is most likely missing, a plain read would be a wasted round trip.
func (c *core) leasesFirst(f *call, o callConfig) bool {
	// guard: I4-fresh-read-asks-no-lease-first
	return c.ns.mostlyMisses() && !o.fresh && f.refreshTarget == nil && c.s.canJudge(c.s.tail.View(), c.s.shardOf(f.name))
}

// countMiss counts a remote miss.
func (c *core) countMiss(why Cause) {
	c.ns.stats.remoteMisses[why].Add(1)
	c.ns.learn(true)
}

// proveIdle reads the log if the store was idle: nothing else would prove local copies before the
// next heartbeat, since no request of a cache that has only the local tier takes a delta along.
func (c *core) proveIdle(ctx context.Context) {
	if c.s.proofFresh(c.s.tail.View(), mono.Now()) || !c.s.tail.Idle() {
		return
	}
	rctx := c.s.request(ctx)
	defer rctx.End()
	_ = c.s.tail.CatchUp(rctx) // what is not proven is loaded
}

// recheckLocalOnly begins a load of a cache that has only the local tier. It ends the
// call instead if the key was set since the caller looked there: a load that began
// after a Set must not overwrite it. (In other caches, leases prevent that.)
func (c *core) recheckLocalOnly(f *call, o callConfig) bool {
	c.s.table.restart(f, c.s.tail.View(), mono.Now())
	if f.refreshTarget != nil || o.fresh {
		return false
	}
	it := c.peekLocal(f.h, f.key)
	if it == nil {
		return false
	}
	c.s.table.unregister(f)
	f.finish(outcome{served: served{it: it, origin: Local}})
	return true
}

// recheckLocal ends the call with a local copy that could not be served when its leader
// looked, and can be now: the copy of a call that ended in between.
//
//	A: has loaded k and answered; its write is under way, the copy provisional
//	reader goroutine: applies the write's invalidation, and suspends the copy
//	B: looks for k, and finds a copy that may be from before another change
//	A: its write is acknowledged; it commits the copy and ends its call
//	B: leads a call of its own, and would read remotely what is here
func (c *core) recheckLocal(f *call, o callConfig) bool {
	if f.refreshTarget != nil || f.force || o.fresh || !c.usesLocal(o) || c.peekLocal(f.h, f.key) == nil {
		return false
	}
	c.s.table.restart(f, c.s.tail.View(), mono.Now()) // the basis for sharing must be older than the check below
	it := c.peekLocal(f.h, f.key)
	if it == nil || it.extra().outage != nil {
		return false
	}
	c.ns.stats.shared.Add(1)
	c.s.table.unregister(f)
	f.finish(outcome{served: served{it: it, origin: Local}})
	return true
}

// readRemote reads the remote tier for f. It returns true if that ended the call.
func (c *core) readRemote(ctx context.Context, f *call, load loadFunc, o callConfig) bool {
	for range 3 {
		view := c.s.tail.View()
		c.s.table.restart(f, view, mono.Now())
		stored, done, err := c.readOne(ctx, f.name, o, view)
		if err != nil {
			return c.afterReadError(ctx, f, o, err)
		}
		if done {
			return c.finishFromRemote(ctx, f, stored, load, o)
		}
	}
	f.skipLease = true // the change log was replaced each time; a load does not need it
	return false
}

// readOne gets one key. If the caller wants it fresh, or the last proof is too old to
// judge the answer by, the same request reads a delta. done is false if the delta could
// not be used and the caller has to ask again.
func (c *core) readOne(ctx context.Context, name string, o callConfig, v *changelog.View) (stored backend.Item, done bool, err error) {
	rctx := c.s.request(ctx)
	defer rctx.End()
	shard := c.s.shardOf(name)
	// guard: I4-fresh-read-asks-delta
	if !o.fresh && c.s.canJudge(v, shard) {
		if stored, err = c.s.conn.GetOne(rctx, name); err == nil && c.s.connectionChanged(v, shard) {
			err = c.s.revalidate(rctx, name)
		}
		return stored, true, err
	}
	q := c.s.tail.Query(nil)
	items, d, err := c.s.conn.Get(rctx, []string{name}, &q.DeltaQuery)
	if err != nil {
		return stored, false, err
	}
	if done, err = c.s.tail.Apply(rctx, q, d); done && c.s.connectionChanged(v, nil) {
		err = c.s.revalidate(rctx, name)
	}
	return items[0], done, err
}

// afterReadError decides what to do when the remote tier did not answer: the loader
// answers, unless the caller itself gave up. It returns true if it ended the call.
func (c *core) afterReadError(ctx context.Context, f *call, o callConfig, err error) bool {
	if ctx.Err() != nil {
		f.finish(outcome{err: errAbandoned})
		c.s.table.unregister(f)
		return true
	}
	if errors.Is(err, remote.ErrClosed) {
		f.finish(outcome{err: ErrClosed})
		c.s.table.unregister(f)
		return true
	}
	// guard: I7-one-load-in-outage
	if breaker.Refused(err) && c.finishFromLocal(f, o) {
		return true
	}
	c.countRemoteError(err)
	f.skipLease = true
	return false
}

// countRemoteError counts a request that the remote tier did not answer. It does not
// count one that was not sent.
func (c *core) countRemoteError(err error) {
	if breaker.Refused(err) {
		return
	}
	c.ns.stats.remoteErrors.Add(1)
	c.s.observe(EventRemote, c.ns, 0, err)
}

// seenOf returns the version of what was read, for call.seen and call.empty.
func seenOf(stored backend.Item) (seen string, empty bool) {
	seen = stored.Seen()
	return seen, stored.Found() && seen == ""
}

// countUnusable counts a stored entry of which open made no item.
func (c *core) countUnusable(cause Cause, err error) {
	c.countMiss(cause)
	if err != nil {
		c.s.observe(EventBadEntry, c.ns, 0, err)
	}
}

// finishFromRemote ends the call with the entry that was read, if that is valid and fresh
// enough. If not, it sets the fields of f that a load needs.
func (c *core) finishFromRemote(ctx context.Context, f *call, stored backend.Item, load loadFunc, o callConfig) bool {
	f.seen, f.empty = seenOf(stored)
	now := mono.Now()
	it, cause, err := c.open(ctx, &storedValue{key: f.key, stored: stored, basis: f.basis, now: now, keeps: c.usesLocal(o)})
	if it == nil {
		c.countUnusable(cause, err)
		return false
	}
	late := now >= it.meta().fresh
	if late && (now >= it.meta().fresh.Add(c.cfg.staleWhile) || o.fresh || f.refreshTarget != nil) || f.replaces(it) {
		if late {
			c.countMiss(Expired)
			f.stale = it
		}
		it.release(c.s.tail)
		return false
	}
	c.ns.stats.remoteHits.Add(1)
	if late {
		c.ns.stats.stale.Add(1)
	}
	c.ns.learn(false)
	if !c.usesLocal(o) || !c.s.table.insertIfUnchanged(f.h, &f.watch, it) {
		// guard: I10-untracked-read
		c.removeOtherVersions(f.h, it, f)
		it.release(c.s.tail)
	}
	f.finish(outcome{served: served{it: it, origin: Remote, stale: late}})
	c.s.table.unregister(f)
	switch {
	case late:
		c.refreshLater(ctx, f.h, it, load)
	case !o.fresh && c.refreshesEarly(it, now):
		c.refreshLater(ctx, f.h, it, load)
	}
	return true
}
