package core

import (
	"context"

	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier/internal/inflight"
)

// Peek finds what the tiers have for key, also past its TTL if stale is set, and counts one read.
func (c *Cache) Peek(ctx context.Context, key string, stale bool) (got inflight.Served, err error) {
	if c.s.Closed.Load() { // it waits for no load, so it need not be admitted
		return got, ErrClosed
	}
	if err := checkKey(key); err != nil {
		return got, err
	}
	h := c.ns.Hash(key)
	got = c.peekLocal(h, key, stale)
	found := got.It != nil && !got.Stale
	if !found && !c.cfg.LocalOnly {
		remote, err := c.peekRemote(ctx, h, key, stale)
		switch {
		case err != nil && got.It == nil:
			if ctx.Err() != nil {
				c.ns.Stats.Cancelled.Add(1)
			} else {
				c.ns.Stats.Absent.Add(1)
			}
			return got, err
		case err == nil && remote.It != nil && (got.It == nil || remote.It.Meta().Born > got.It.Meta().Born):
			got = remote
		}
	}
	switch {
	case got.It == nil:
		c.ns.Stats.Absent.Add(1)
	case got.Origin == inflight.FromRemote:
		c.ns.Stats.RemoteHits.Add(1)
	case got.Outage:
		c.countOutageHit()
	default:
		c.ns.Stats.LocalHits.Add()
	}
	if got.Stale {
		c.ns.Stats.Stale.Add(1)
	}
	return got, nil
}

func (c *Cache) peekRemote(ctx context.Context, h local.Key, key string, stale bool) (got inflight.Served, err error) {
	if ctx.Err() != nil {
		return got, endOf(ctx)
	}
	for range 3 {
		// The write of a value that a call has returned may be under way, and this would read
		// the value from before it.
		// guard: I10-peek-waits-for-fill
		if err := c.awaitStored(ctx, h); err != nil {
			return got, err
		}
		v := c.s.Session.Tail.View()
		stored, done, err := c.s.Session.ReadOne(ctx, c.ns.RemoteName(h), false, v)
		if err != nil {
			c.countReadError(ctx, err)
			return got, c.s.RemoteError(ctx, "peek", err)
		}
		if !done {
			continue
		}
		r := storedValue{key: key, stored: stored, Basis: inflight.BasisOf(v), now: mono.Now()}
		it, cause, err := c.open(ctx, &r)
		if link := linkOf(stored, cause); it == nil && link != 0 {
			if r.stored, done, err = c.s.Session.ReadOne(ctx, c.besideName(h), false, c.s.Session.Tail.View()); err != nil {
				c.countReadError(ctx, err)
				return got, c.s.RemoteError(ctx, "peek", err)
			}
			if done {
				it, cause, err = c.openBeside(ctx, &r, link, cause)
			}
		}
		if it == nil {
			c.countMissed(ctx, cause, err)
			return got, nil
		}
		it.Release(c.s.Session.Tail)
		late := mono.Now() >= it.Meta().Fresh
		if late && !stale {
			c.ns.Stats.RemoteMisses[CauseExpired].Add(1)
			return got, nil
		}
		// guard: I10-untracked-peek
		c.removeOtherVersions(h, it, nil)
		return inflight.Served{It: it, Origin: inflight.FromRemote, Stale: late}, nil
	}
	return got, c.s.RemoteError(ctx, "peek", changelog.ErrUnstable)
}

// peekLocal returns a local copy that is valid or servable in the outage, also past its TTL if stale is set, and counts a miss.
func (c *Cache) peekLocal(h local.Key, key string, stale bool) (got inflight.Served) {
	if c.cfg.RemoteOnly || c.ns.IsBypassed() {
		return got
	}
	it, outage, why := c.localCopy(h, key, stale)
	if it == nil {
		c.ns.Stats.LocalMisses[why].Add(1)
		return got
	}
	return inflight.Served{It: it, Origin: inflight.FromLocal, Stale: mono.Now() >= it.Meta().Fresh, Outage: outage}
}
