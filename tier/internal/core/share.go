package core

import (
	"context"

	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/tier/internal/config"
	"github.com/tiercache/tiercache/tier/internal/inflight"
	"github.com/tiercache/tiercache/tier/internal/pace"
	"github.com/tiercache/tiercache/tier/internal/record"
)

// snapshot is what the process knew when a caller began its read.
type snapshot struct {
	now           mono.Time
	began         mono.Time // when the caller's call of a method began: the soft timeout counts from there
	view          *changelog.View
	synced        mono.Time // when the latest Sync that succeeded was called
	invalidations int       // of the key, by then
}

// takeSnapshot leaves the invalidations to the caller, which learns of them by joining a call.
func (s *Store) takeSnapshot() snapshot {
	now := mono.Now()
	return snapshot{now: now, began: now, view: s.Session.Tail.View(), synced: mono.Time(s.Table.Synced.Load())}
}

// with returns the snapshot with the invalidations of a key.
func (s snapshot) with(invalidations int) snapshot {
	s.invalidations = invalidations
	return s
}

// canShare decides R10: whether a caller, which began its read at since, may be answered
// by a call that was already under way then.
func (c *Cache) canShare(ctx context.Context, f *inflight.Call, since snapshot, o config.Call) bool {
	if !c.canServe(&f.Out) {
		return false
	}
	// guard: I4-fresh-read-that-joins
	if o.Fresh && !c.confirmFresh(ctx, f, &since) {
		return false
	}
	// A key that is loaded without its lease need not be tracked, so the server need not
	// have sent an invalidation when it changed. Nor need it have when the entry beside which a
	// value was loaded changed again:
	//
	//	A: reads the entry of another version, and goes beside it
	//	B: sets the key; the server tells A, which is not told again before it reads that entry
	//	A: takes the lease beside, and loads
	//	B: sets the key, and is acknowledged; C joins A's load
	//
	// guard: I2-unleased-load-age
	// guard: I2-unlinked-load-age
	possiblyUntracked := f.WithoutLease() && !c.cfg.LocalOnly || f.Unlinked()
	// guard: S4-caller-after-end
	if f.Out.Ends != 0 && since.now >= f.Out.Ends {
		return false
	}
	// What was read ends with its entry, which a change that settles has shortened (S3). To judge or decode it may take a
	// while:
	//
	//	A: reads the entry, and asks the log about its sources; the entry ends
	//	B: begins, and joins A; the log answers
	//
	// guard: S4-caller-after-end-of-entry
	if f.Out.Origin != inflight.FromLoader && f.Out.It != nil && since.now >= f.Out.It.Meta().Expires {
		return false
	}
	return !changedSince(&f.Out, since) && c.provenSince(&f.Out, since, possiblyUntracked) && c.validSince(&f.Out, since)
}

// canServe reports whether a caller by this view can be given the outcome of a call that
// another view may lead.
func (c *Cache) canServe(out *inflight.Outcome) bool {
	if out.Err == errAbandoned || out.It != nil && !c.ofType(out.It) { // an item of another kind: led by the last view of another shape
		return false
	}
	// guard: evicted-value-is-not-shared
	if out.It != nil && out.It.Has(record.Left) {
		return false
	}
	if out.Paused {
		// guard: pause-of-another-view
		return c.cfg.FailFast && out.Err != pace.ErrElsewhere || c.servesOnError(out.StaleFallback)
	}
	// The view that leads the call may serve the item past its TTL, and this one not.
	// guard: stale-value-of-another-view
	return !out.Stale || mono.Now() < min(out.It.Meta().Fresh.Add(c.cfg.StaleWhile), out.It.Meta().Expires)
}

// confirmFresh reports whether a call began after a caller that wants it fresh, and learns of
// all changes that others made up to now. since is then what this process knows now.
func (c *Cache) confirmFresh(ctx context.Context, f *inflight.Call, since *snapshot) bool {
	// guard: I4-fresh-read-shares-no-local-copy
	if f.Out.Begun < since.now || f.Out.Origin == inflight.FromLocal {
		return false // invalidations from before the caller began may still be on their way
	}
	// guard: I8-fresh-read-in-outage
	if c.s.Session.Conn.OpenOutage() != nil || c.s.Session.Conn.Of(f.Name).Current.Load() != nil {
		return false
	}
	rctx := c.s.Session.Request(ctx)
	defer rctx.End()
	if c.s.Session.Tail.CatchUp(rctx) != nil || c.s.Session.Conn.Prove(rctx, f.Name) != nil {
		return false
	}
	synced := since.synced
	*since = c.s.takeSnapshot()
	since.synced, since.invalidations = synced, c.s.Table.Invalidations(f)
	return true
}

// changedSince reports whether the key changed, or may have, after the call began and before
// the caller did.
func changedSince(out *inflight.Outcome, since snapshot) bool {
	// guard: R10-call-older-than-change
	return since.invalidations > out.Invalidations || since.view.Epoch > out.Epoch || out.Shard.Gone()
}

// provenSince reports whether an outcome rests on a proof that was recent enough when the caller
// began: if not, anything may have changed in between.
func (c *Cache) provenSince(out *inflight.Outcome, since snapshot, possiblyUntracked bool) bool {
	bound, recent := c.s.Config.MaxStaleness, out.Begun
	if out.Origin != inflight.FromLoader {
		// guard: I2-shared-read-proof
		recent = min(recent, out.Proof) // the proof that it was judged by
	}
	// guard: I3-unleased-load-before-sync
	if possiblyUntracked && out.Begun <= since.synced {
		return false
	}
	return !possiblyUntracked && since.view.Age(since.now) <= bound || since.now.Sub(recent) <= bound
}

// validSince reports whether what the outcome depends on has not changed between the call and
// the caller.
func (c *Cache) validSince(out *inflight.Outcome, since snapshot) bool {
	// guard: I5-shared-load
	return out.Seq >= since.view.Seq || out.Err == nil && c.stillValid(out.It)
}
