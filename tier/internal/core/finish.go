package core

import (
	"context"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/tier/internal/breaker"
	"github.com/tiercache/tiercache/tier/internal/config"
	"github.com/tiercache/tiercache/tier/internal/inflight"
	"github.com/tiercache/tiercache/tier/internal/pieces"
	"github.com/tiercache/tiercache/tier/internal/record"
)

// seenOf returns the version of what was read, for call.seen and call.empty.
func seenOf(stored backend.Item) (seen string, empty bool) {
	seen = stored.Seen()
	return seen, stored.Found() && seen == ""
}

// servesLate reports whether a value past its TTL answers a call, while it is renewed in the
// background: not a caller that wants it fresh, nor that renewal.
func (c *Cache) servesLate(f *inflight.Call, it *record.Item, now mono.Time, o config.Call) bool {
	return now < it.Meta().Fresh.Add(c.cfg.StaleWhile) && !o.Fresh && f.RefreshTarget == nil
}

// finishWith is finishFromRemote, and leaves it to its caller to renew the item that is due.
func (c *Cache) finishWith(ctx context.Context, f *inflight.Call, stored backend.Item, o config.Call) (ended bool, due *record.Item) {
	f.Seen, f.Empty = seenOf(stored)
	now := mono.Now()
	r := storedValue{key: f.Key, stored: stored, Basis: f.Basis, now: now, keeps: c.usesLocal(o)}
	var it *record.Item
	var cause MissCause
	var err error
	if f.Beside != nil {
		// The two entries were right together when the other one was read. This one may have been
		// read later, together with a lease.
		// guard: P1-as-of-link
		f.Basis, r.Basis = f.Beside.Basis, f.Beside.Basis
		it, cause, err = c.openBeside(ctx, &r, f.Beside.Nonce, MissCause(f.Beside.Cause))
	} else {
		it, cause, err = c.open(ctx, &r)
		// guard: P2-no-replacing
		if link := linkOf(stored, cause); it == nil && link != 0 && !f.Force {
			c.s.Table.GoBeside(f, c.besideName(f.H), link, uint8(cause))
			return false, nil
		}
	}
	if it == nil {
		c.countUnusable(ctx, cause, err)
		return false, nil
	}
	return c.finishItem(f, it, now, o)
}

// finishItem is finishWith of an item.
func (c *Cache) finishItem(f *inflight.Call, it *record.Item, now mono.Time, o config.Call) (ended bool, due *record.Item) {
	late := now >= it.Meta().Fresh
	if late && !c.servesLate(f, it, now, o) || f.Replaces(it) {
		if late {
			c.countMiss(CauseExpired)
			f.Stale = it
			// Callers may be given it, if the load fails or takes long, and it is put into no local tier:
			//
			//	A: has a copy of 1, within its TTL
			//	B: refreshes the key, with 2 and a short TTL, which ends
			//	A: reads 2 past the local tier; its loader fails, and 2 is returned
			//	A: reads 1 from the local tier
			// guard: I10-untracked-late-read
			c.removeOtherVersions(f.H, it, f)
			if c.cfg.SoftTimeout > 0 && !o.Fresh && f.Beside == nil {
				f.Found.Store(&inflight.Outcome{Served: inflight.Served{It: it, Origin: inflight.FromRemote, Stale: true}, Basis: f.Basis})
			}
		}
		it.Release(c.s.Session.Tail)
		return false, nil
	}
	if f.RefreshTarget == nil { // else it is no read
		c.ns.Stats.RemoteHits.Add(1)
		if late {
			c.ns.Stats.Stale.Add(1)
		}
	}
	if !late {
		c.s.pauses.Learn(f.H, it.Meta().Born)
	}
	c.ns.CountRead(false)
	if !c.usesLocal(o) || !c.s.Table.InsertIfUnchanged(f.H, &f.Watch, it) {
		// guard: I10-untracked-read
		c.removeOtherVersions(f.H, it, f)
		it.Release(c.s.Session.Tail)
	}
	f.Finish(inflight.Outcome{Served: inflight.Served{It: it, Origin: inflight.FromRemote, Stale: late}})
	c.s.Table.Unregister(f)
	// guard: no-refresh-in-pause-of-remote-value
	if _, paused := c.s.pauses.Paused(f.H, now); late && !paused || !late && !o.Fresh && c.refreshesEarly(f.H, it, now) {
		return true, it
	}
	return true, nil
}

// finishAll ends calls with a result that no tier keeps. It unregisters them first: a
// caller that is given an error and tries again at once gets a new load and not the old
// error.
func (c *Cache) finishAll(fs []*inflight.Call, out inflight.Outcome) {
	for _, f := range fs {
		c.s.Table.Unregister(f)
		f.Finish(out)
	}
}

// endsBatch is told of the error of each piece of a batch, or nil, and reports whether no other piece is to be read.
func endsBatch(ctx context.Context, silence *pieces.Silence, err error) bool {
	return silence.Ends(err) || err != nil && (ctx.Err() != nil || breaker.Refused(err) || !pieces.EndAfter(err))
}
