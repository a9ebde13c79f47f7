package tier

import (
	"context"

	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier/internal/inflight"
	"github.com/tiercache/tiercache/tier/internal/record"
)

// Peek returns the value of key if a tier has it, and never loads. A remembered
// "not found" is no value, nor is one past its TTL. It does not fill the local tier. A value that was just
// loaded here and is still being stored is waited for. It returns ErrUnavailable
// if only the remote tier could tell and did not answer. It counts as a read.
func (c *Cache[V]) Peek(ctx context.Context, key string) (V, bool, error) {
	var zero V
	got, err := c.peek(ctx, key, false)
	if got.It == nil || got.It.Negative {
		return zero, false, err
	}
	return c.valueOf(got.It), true, err
}

// PeekResult is [Cache.Peek], and says where the value came from, how old it is and what it was made from. It also
// returns a value past its TTL, marked as Stale, that is kept since the view that stored it may serve it so.
func (c *Cache[V]) PeekResult(ctx context.Context, key string) (Result[V], bool, error) {
	got, err := c.peek(ctx, key, true)
	if got.It == nil || got.It.Negative {
		return Result[V]{}, false, err
	}
	r, _ := c.result(got)
	return r, true, err
}

// peek finds what the tiers have for key, also past its TTL if stale is set, and counts one read.
func (c *core) peek(ctx context.Context, key string, stale bool) (got inflight.Served, err error) {
	if c.s.closed.Load() { // it waits for no load, so it need not be admitted
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
				c.ns.stats.cancelled.Add(1)
			} else {
				c.ns.stats.absent.Add(1)
			}
			return got, err
		case err == nil && remote.It != nil && (got.It == nil || remote.It.Meta().Born > got.It.Meta().Born):
			got = remote
		}
	}
	switch {
	case got.It == nil:
		c.ns.stats.absent.Add(1)
	case got.Origin == inflight.FromRemote:
		c.ns.stats.remoteHits.Add(1)
	case got.Outage:
		c.countOutageHit()
	default:
		c.ns.stats.localHits.Add()
	}
	if got.Stale {
		c.ns.stats.stale.Add(1)
	}
	return got, nil
}

func (c *core) peekRemote(ctx context.Context, h local.Key, key string, stale bool) (got inflight.Served, err error) {
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
		v := c.s.session.Tail.View()
		stored, done, err := c.s.session.ReadOne(ctx, c.ns.RemoteName(h), false, v)
		if err != nil {
			c.countReadError(ctx, err)
			return got, c.s.remoteError(ctx, "peek", err)
		}
		if !done {
			continue
		}
		r := storedValue{key: key, stored: stored, Basis: inflight.BasisOf(v), now: mono.Now()}
		it, cause, err := c.open(ctx, &r)
		if link := linkOf(stored, cause); it == nil && link != 0 {
			if r.stored, done, err = c.s.session.ReadOne(ctx, c.besideName(h), false, c.s.session.Tail.View()); err != nil {
				c.countReadError(ctx, err)
				return got, c.s.remoteError(ctx, "peek", err)
			}
			if done {
				it, cause, err = c.openBeside(ctx, &r, link, cause)
			}
		}
		if it == nil {
			c.countMissed(ctx, cause, err)
			return got, nil
		}
		it.Release(c.s.session.Tail)
		late := mono.Now() >= it.Meta().Fresh
		if late && !stale {
			c.ns.stats.remoteMisses[Expired].Add(1)
			return got, nil
		}
		// guard: I10-untracked-peek
		c.removeOtherVersions(h, it, nil)
		return inflight.Served{It: it, Origin: inflight.FromRemote, Stale: late}, nil
	}
	return got, c.s.remoteError(ctx, "peek", changelog.ErrUnstable)
}

// awaitStored waits until what was loaded for h is stored as well, if that is under way.
func (c *core) awaitStored(ctx context.Context, h local.Key) error {
	if e := c.s.table.Storing(h); e != nil {
		return waitFor(ctx, e)
	}
	return nil
}

// peekLocal returns a local copy that is valid or servable in the outage, also past its TTL if stale is set, and counts a miss.
func (c *core) peekLocal(h local.Key, key string, stale bool) (got inflight.Served) {
	if c.cfg.RemoteOnly || c.ns.IsBypassed() {
		return got
	}
	it, outage, why := c.localCopy(h, key, stale)
	if it == nil {
		c.ns.stats.localMisses[why].Add(1)
		return got
	}
	return inflight.Served{It: it, Origin: inflight.FromLocal, Stale: mono.Now() >= it.Meta().Fresh, Outage: outage}
}

// freshCopy returns a local copy that is fresh, and valid or servable in the outage.
func (c *core) freshCopy(h local.Key, key string) *record.Item {
	if c.cfg.RemoteOnly || c.ns.IsBypassed() {
		return nil
	}
	it, _, _ := c.localCopy(h, key, false)
	return it
}

// localCopy returns a local copy that is valid, or servable in the outage; or nil, and why there is none.
func (c *core) localCopy(h local.Key, key string, stale bool) (it *record.Item, outage bool, why Cause) {
	e := c.s.local.PeekEntry(h)
	if e == nil {
		return nil, false, Cold
	}
	it, now, v := &e.Value, mono.Now(), c.s.session.Tail.View()
	// guard: I2-peek-of-own-kind
	if !c.ofType(it) || it.Key != key {
		return nil, false, Cold
	}
	if !it.Servable(now) || !stale && now >= it.Meta().Fresh {
		return nil, false, Expired
	}
	switch outage = !c.s.session.IsValid(it, v, now); {
	case !outage:
	case c.servableInOutage(it, now):
	case c.s.session.ProofFresh(v, now):
		return nil, false, Invalidated
	default:
		return nil, false, Unproven
	}
	return it, outage, 0
}
