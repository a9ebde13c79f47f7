package tier

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/invalidation"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/remote"
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

// arrival is what the process knew when a caller came.
type arrival struct {
	now    mono.Time
	view   *invalidation.View
	synced mono.Time // when the latest Sync that succeeded was called
}

func (s *Store) arrive() arrival {
	return arrival{mono.Now(), s.tail.View(), mono.Time(s.table.synced.Load())}
}

// lookup gets a key's value by whatever way is first.
//
// It and what it calls for those who share a flight need little stack: a crowd that
// asks for one key comes in goroutines that were made a moment ago, and to have a
// stack grow takes longer than all else that it does.
func (c *core) lookup(ctx context.Context, key string, load loadFunc, o callConfig) (served, error) {
	if err := c.admit(ctx, key); err != nil {
		return served{}, err
	}
	h := c.ns.hash(key)
	var spare *item // past its TTL, but better than an error
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
			spare = got.it
		}
		came := c.s.arrive()
		f, leads, notices := c.s.table.join(nil, h, key, true)
		if f.key != key { // another key of the same hash: after it
			c.s.table.leave(f)
			if err := waitFor(ctx, &f.left); err != nil {
				return served{}, err
			}
			continue
		}
		if leads {
			f.name = c.ns.remoteName(h)
			if read := c.fly(ctx, f, load, o); read != nil {
				spare = read
			}
		}
		instead, ended, err := c.await(ctx, f, spare)
		c.s.table.leave(f)
		if err != nil || !ended {
			return instead, err
		}
		if !leads && !c.accepts(ctx, f, came, notices, o) || f.out.err == errAbandoned {
			if err := waitFor(ctx, &f.left); err != nil {
				return served{}, err
			}
			continue
		}
		if !leads && f.out.err == nil {
			c.ns.stats.shared.Add(1)
		}
		return c.orSpare(&f.out, spare)
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

// orSpare serves a value past its TTL instead of a loader's error, where that
// was asked for.
func (c *core) orSpare(out *outcome, spare *item) (served, error) {
	if out.err == nil || errors.Is(out.err, ErrNotFound) || errors.Is(out.err, ErrClosed) {
		return out.served, out.err
	}
	if spare == nil {
		spare = out.spare
	}
	if spare != nil && c.ofType(spare) && c.cfg.staleOnError > 0 && c.stillServable(spare, c.cfg.staleOnError) {
		c.ns.stats.stale.Add(1)
		return served{it: spare, origin: Local, stale: true}, nil
	}
	return served{}, out.err
}

// fromLocal serves a local copy if it can be believed. If it cannot be served
// as it is but may be once a load fails, it is returned with ok false.
func (c *core) fromLocal(ctx context.Context, h local.Key, key string, load loadFunc) (served, bool) {
	e := c.s.local.GetEntry(h)
	// guard: I2-read-of-own-kind
	if e == nil || !c.ofType(&e.Value) || e.Value.key != key {
		c.ns.stats.localMisses[Cold].Add(1)
		return served{}, false
	}
	it, now, v := &e.Value, mono.Now(), c.s.tail.View()
	if !c.s.believes(it, v, now) {
		if c.permitted(it, now) {
			c.countOutageHit()
			return served{it: it, origin: Local, outage: true}, true
		}
		cause := Unproven
		switch {
		case it.facts().epoch == unprovable:
			c.s.local.RemoveEntry(e)
		case c.s.proven(v, now) && (it.more().shard.Gone() || it.more().shard.Age(now) <= c.s.cfg.maxStaleness):
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
	if now < it.facts().fresh {
		if c.refreshesEarly(it, now) {
			c.refreshLater(ctx, h, it, load)
		}
		c.ns.stats.localHits.add()
		return served{it: it, origin: Local}, true
	}
	if now < it.facts().fresh.Add(c.cfg.staleWhile) {
		if int64(now) >= it.facts().retry.Load() {
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

// accepts decides R10: whether a caller that came when it did may be answered
// by a flight that was already under way.
func (c *core) accepts(ctx context.Context, f *flight, came arrival, notices int, o callConfig) bool {
	out := &f.out
	if out.err == errAbandoned || out.it != nil && !c.ofType(out.it) { // the latter by the last of views of another kind
		return false
	}
	// guard: I4-fresh-read-that-joins
	if o.fresh {
		// guard: I4-fresh-read-shares-no-local-copy
		if out.begun < came.now || out.origin == Local {
			return false // notices of before the caller came may still be on their way
		}
		// Others' changes up to now are not known here yet.
		// guard: I8-fresh-read-in-outage
		if c.s.conn.away() != nil || c.s.conn.of(f.name).current.Load() != nil {
			return false
		}
		rctx := c.s.request(ctx)
		defer rctx.End()
		if c.s.tail.CatchUp(rctx) != nil || c.s.conn.Prove(rctx, f.name) != nil {
			return false
		}
		synced := came.synced
		came, notices = c.s.arrive(), c.s.table.notices(f)
		came.synced = synced
	}
	// guard: R10-call-older-than-change
	if notices > out.notices || came.view.Epoch > out.epoch || out.shard.Gone() {
		return false // the key changed before the caller came, or may have
	}
	stale, recent := c.s.cfg.maxStaleness, out.begun
	if out.origin != Loaded {
		// guard: I2-shared-read-proof
		recent = min(recent, out.proof) // by which it was judged
	}
	// Nobody need have told of a change of a key that is loaded without its lease.
	// guard: I2-unleased-load-age
	untold := f.offline && !c.cfg.localOnly
	// guard: I3-unleased-load-before-sync
	if untold && out.begun <= came.synced {
		return false
	}
	if (untold || came.view.Age(came.now) > stale) && came.now.Sub(recent) > stale {
		return false // nothing was heard for so long that anything may have changed
	}
	if out.seq >= came.view.Seq {
		return true
	}
	// guard: I5-shared-load
	return out.err == nil && c.trueNow(out.it)
}

// await waits for a flight to end, for ctx, or for the soft timeout if there
// is a spare value; in the last case that is served instead.
func (c *core) await(ctx context.Context, f *flight, spare *item) (instead served, ended bool, err error) {
	if ctx.Done() == nil && (spare == nil || c.cfg.softTimeout == 0) {
		<-f.done.wait()
		return served{}, true, nil
	}
	return c.awaitAny(ctx, f, spare)
}

func (c *core) awaitAny(ctx context.Context, f *flight, spare *item) (instead served, ended bool, err error) {
	var soft <-chan time.Time
	if spare != nil && c.cfg.softTimeout > 0 {
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
			if c.stillServable(spare, c.cfg.staleWindow()) {
				c.s.table.pin(f)
				c.ns.stats.stale.Add(1)
				return served{it: spare, origin: Local, stale: true}, false, nil
			}
		}
	}
}

// fly is what the caller that leads a flight does: read the remote tier in its
// own goroutine and, if that does not answer, have the value loaded in another.
// It returns the best value past its TTL that it came by.
func (c *core) fly(ctx context.Context, f *flight, load loadFunc, o callConfig) (spare *item) {
	over := false
	defer func() {
		if !over {
			c.cutOff(f)
		}
	}()
	spare = c.flyOne(ctx, f, load, o)
	over = true
	return spare
}

// cutOff ends flights whose goroutine is being ended, by a codec that called
// runtime.Goexit: nobody would ever do so.
func (c *core) cutOff(fs ...*flight) {
	for _, f := range fs {
		if f.finished() {
			continue
		}
		if f.resident != nil {
			f.resident.facts().retry.Store(int64(mono.Now().Add(refreshPause)))
		}
		c.finishAll([]*flight{f}, outcome{err: &LoadPanic{}})
	}
}

func (c *core) flyOne(ctx context.Context, f *flight, load loadFunc, o callConfig) (spare *item) {
	var l *loadRun
	switch {
	case c.cfg.localOnly:
		if c.setMeanwhile(f, o) {
			return nil
		}
	// guard: recheck-local
	case c.keptMeanwhile(f, o):
		return nil
	case c.leasesFirst(f, o):
		l = c.newRun(load, o)
		if l.readOrLease(ctx, f) {
			return f.stale
		}
	case c.readFor(ctx, f, load, o):
		return f.stale
	}
	spare = f.stale
	if l == nil {
		l = c.newRun(load, o)
	}
	l.start(ctx, l.only(f))
	return spare
}

// leasesFirst reports whether to ask for the lease along with the value: where
// that is most likely missing, and the plain read would be a round trip lost.
func (c *core) leasesFirst(f *flight, o callConfig) bool {
	// guard: I4-fresh-read-asks-no-lease-first
	return c.ns.mostlyMisses() && !o.fresh && f.resident == nil && c.s.heard(c.s.tail.View(), c.s.shardOf(f.name))
}

// missed counts a remote miss.
func (c *core) missed(why Cause) {
	c.ns.stats.remoteMisses[why].Add(1)
	c.ns.learn(true)
}

// setMeanwhile begins a load of a cache that has only the local tier. It ends the
// flight instead if the key was set since the caller looked there: a load that
// began after that is not to overwrite it, any more than where leases see to it.
func (c *core) setMeanwhile(f *flight, o callConfig) bool {
	c.s.table.restart(f, c.s.tail.View(), mono.Now())
	if f.resident != nil || o.fresh {
		return false
	}
	it := c.peekLocal(f.h, f.key)
	if it == nil {
		return false
	}
	c.s.table.land(f)
	f.finish(outcome{served: served{it: it, origin: Local}})
	return true
}

// keptMeanwhile ends the flight with a copy that was not to be served when its
// leader looked, and is now: that of a flight which ended in between.
//
//	A: has loaded k and answered; its write is under way, the copy provisional
//	reading goroutine: hands over the write's notice, and suspends the copy
//	B: looks for k, and finds a copy that may be of before another's change
//	A: hears that its write was stored, keeps the copy, lands
//	B: leads a flight of its own, and would read remotely what is here
func (c *core) keptMeanwhile(f *flight, o callConfig) bool {
	if f.resident != nil || f.force || o.fresh || !c.usesLocal(o) || c.peekLocal(f.h, f.key) == nil {
		return false
	}
	c.s.table.restart(f, c.s.tail.View(), mono.Now()) // what others share it by is older than the judgement
	it := c.peekLocal(f.h, f.key)
	if it == nil || it.more().outage != nil {
		return false
	}
	c.ns.stats.shared.Add(1)
	c.s.table.land(f)
	f.finish(outcome{served: served{it: it, origin: Local}})
	return true
}

// readFor reads the remote tier for f. It returns true if that ended the flight.
func (c *core) readFor(ctx context.Context, f *flight, load loadFunc, o callConfig) bool {
	for range 3 {
		view := c.s.tail.View()
		c.s.table.restart(f, view, mono.Now())
		stored, done, err := c.readOne(ctx, f.name, o, view)
		if err != nil {
			return c.unread(ctx, f, o, err)
		}
		if done {
			return c.serve(ctx, f, stored, load, o)
		}
	}
	f.offline = true // the log changes hands; a load needs none of it
	return false
}

// readOne gets one key. If the caller wants it fresh, or nothing has been heard
// for too long to judge what is read, the delta comes with it. done is false
// if that has to be asked again.
func (c *core) readOne(ctx context.Context, name string, o callConfig, v *invalidation.View) (stored remote.Item, done bool, err error) {
	rctx := c.s.request(ctx)
	defer rctx.End()
	shard := c.s.shardOf(name)
	// guard: I4-fresh-read-asks-delta
	if !o.fresh && c.s.heard(v, shard) {
		if stored, err = c.s.conn.GetOne(rctx, name); err == nil && c.s.moved(v, shard) {
			err = c.s.confirm(rctx, name)
		}
		return stored, true, err
	}
	q := c.s.tail.Query(nil)
	items, d, err := c.s.conn.Get(rctx, []string{name}, &q.DeltaQuery)
	if err != nil {
		return stored, false, err
	}
	if done, err = c.s.tail.Apply(rctx, q, d); done && c.s.moved(v, nil) {
		err = c.s.confirm(rctx, name)
	}
	return items[0], done, err
}

// unread decides what to do when the remote tier did not answer: the loader
// does, unless it is the caller itself that gave up.
func (c *core) unread(ctx context.Context, f *flight, o callConfig, err error) bool {
	if ctx.Err() != nil {
		f.finish(outcome{err: errAbandoned})
		c.s.table.land(f)
		return true
	}
	if errors.Is(err, remote.ErrClosed) {
		f.finish(outcome{err: ErrClosed})
		c.s.table.land(f)
		return true
	}
	// guard: I7-one-load-in-outage
	if refused(err) && c.landOnCopy(f, o) {
		return true
	}
	c.failed(err)
	f.offline = true
	return false
}

// failed counts a request that the remote tier did not answer. One that was not
// sent is none.
func (c *core) failed(err error) {
	if refused(err) {
		return
	}
	c.ns.stats.remoteErrors.Add(1)
	c.s.observe(EventRemote, c.ns, 0, err)
}

// seenOf says which version was read, for who finds it wanting.
func seenOf(stored remote.Item) (seen string, empty bool) {
	seen = stored.Seen()
	return seen, stored.Found() && seen == ""
}

// unusable counts what open made no item of.
func (c *core) unusable(cause Cause, err error) {
	c.missed(cause)
	if err != nil {
		c.s.observe(EventBadEntry, c.ns, 0, err)
	}
}

// serve ends the flight with what was read, if it can be believed and is fresh
// enough; if not, f remembers what is of use to a load.
func (c *core) serve(ctx context.Context, f *flight, stored remote.Item, load loadFunc, o callConfig) bool {
	f.seen, f.empty = seenOf(stored)
	now := mono.Now()
	it, cause, err := c.open(ctx, &reading{key: f.key, stored: stored, basis: f.basis, now: now, keeps: c.usesLocal(o)})
	if it == nil {
		c.unusable(cause, err)
		return false
	}
	late := now >= it.facts().fresh
	if late && (now >= it.facts().fresh.Add(c.cfg.staleWhile) || o.fresh || f.resident != nil) || f.replaces(it) {
		if late {
			c.missed(Expired)
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
	if !c.usesLocal(o) || !c.s.table.keep(f.h, &f.watch, it) {
		// guard: I10-untracked-read
		c.outdate(f.h, it, f)
		it.release(c.s.tail)
	}
	f.finish(outcome{served: served{it: it, origin: Remote, stale: late}})
	c.s.table.land(f)
	switch {
	case late:
		c.refreshLater(ctx, f.h, it, load)
	case !o.fresh && c.refreshesEarly(it, now):
		c.refreshLater(ctx, f.h, it, load)
	}
	return true
}
