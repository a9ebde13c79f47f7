package core

import (
	"context"
	"slices"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/internal/unawaited"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier/internal/config"
	"github.com/tiercache/tiercache/tier/internal/inflight"
	"github.com/tiercache/tiercache/tier/internal/pieces"
	"github.com/tiercache/tiercache/tier/internal/record"
)

// refreshLater renews items in the background, those whose keys have no call yet: with one run of
// the loader.
func (c *Cache) refreshLater(ctx context.Context, load LoadFunc, items ...*record.Item) {
	if load.Loader == nil || len(items) == 0 {
		return
	}
	// guard: bounded-refreshes
	if !c.s.refreshes.TryAcquire(1) {
		for _, it := range items {
			c.refreshEarlyAt(it, mono.Now().Add(c.cfg.RetryFirst))
		}
		return
	}
	var calls []*inflight.Call
	for _, it := range items {
		h := c.ns.Hash(it.Key)
		f, leads, _ := c.s.Table.Renew(h, it.Key, false)
		if leads {
			c.s.Table.Detach(f)
			f.Name, f.RefreshTarget = c.ns.RemoteName(h), it
			calls = append(calls, f)
		}
	}
	ctx = unawaited.Mark(context.WithoutCancel(ctx))
	renew := func() {
		defer c.s.refreshes.Release(1)
		if len(calls) == 1 {
			c.LeadCall(ctx, calls[0], load, config.Call{})
		} else {
			p := &batchLookup{lead: calls}
			c.lookupBatch(ctx, p, load, config.Call{})
			defer c.refreshLater(ctx, load, p.due...)
		}
		for _, f := range calls {
			<-f.Done.Wait()
		}
	}
	if len(calls) == 0 || !c.s.Goroutines.Spawn(renew) {
		c.s.refreshes.Release(1)
		c.finishAll(calls, inflight.Outcome{Err: ErrClosed})
	}
}

// readPresent reads the remote tier for a caller that finds a renewal of the key under way: what is
// to be renewed is there, and need not be waited for. It returns nil if there is nothing that may be
// served, or if the remote tier did not answer.
//
// What the renewal has given out is waited for until it is stored, as by Peek: else the caller would
// be given the value from before it.
func (c *Cache) readPresent(ctx context.Context, h local.Key, key string, o config.Call) (it *record.Item, stale bool) {
	// guard: I10-read-beside-waits-for-fill
	if c.awaitStored(ctx, h) != nil {
		return nil, false
	}
	v := c.s.Session.Tail.View()
	stored, done, err := c.s.Session.ReadOne(ctx, c.ns.RemoteName(h), o.Fresh, v)
	if err != nil {
		c.countReadError(ctx, err)
		return nil, false
	}
	if !done {
		return nil, false
	}
	return c.present(ctx, h, key, stored, v, o)
}

// readPresentMany is readPresent for the keys of a batch of which renewals are under way.
func (c *Cache) readPresentMany(ctx context.Context, p *batchLookup, o config.Call) {
	var renewed []*keyLookup
	for i := range p.lookups {
		t := &p.lookups[i]
		// guard: batch-reads-beside-renewals
		if t.call != nil && !t.leads && t.call.Renews && t.call.Key == t.key && !c.cfg.LocalOnly && c.awaitStored(ctx, t.h) == nil {
			renewed = append(renewed, t)
		}
	}
	for piece := range slices.Chunk(renewed, pieces.Keys) {
		names := make([]string, len(piece))
		for i, t := range piece {
			names[i] = c.ns.RemoteName(t.h)
		}
		v := c.s.Session.Tail.View()
		items, done, err := c.s.Session.ReadMany(ctx, names, o.Fresh, v)
		if err != nil {
			c.countReadError(ctx, err)
		}
		if err != nil || !done {
			return
		}
		for i, t := range piece {
			if items[i].Err != nil {
				continue
			}
			if it, stale := c.present(ctx, t.h, t.key, items[i], v, o); it != nil {
				t.left = true
				c.s.Table.Leave(t.call)
				t.call, t.out = nil, inflight.Served{It: it, Origin: inflight.FromRemote, Stale: stale}
			}
		}
	}
}

// present returns what was read as of v if it may be served.
func (c *Cache) present(ctx context.Context, h local.Key, key string, stored backend.Item, v *changelog.View, o config.Call) (it *record.Item, stale bool) {
	now := mono.Now()
	it, _, _ = c.open(ctx, &storedValue{key: key, stored: stored, Basis: inflight.BasisOf(v), now: now})
	if it == nil {
		return nil, false
	}
	it.Release(c.s.Session.Tail)
	stale = now >= it.Meta().Fresh
	if stale && (o.Fresh || now >= it.Meta().Fresh.Add(c.cfg.StaleWhile)) {
		return nil, false
	}
	c.removeOtherVersions(h, it, nil)
	c.ns.Stats.RemoteHits.Add(1)
	if stale {
		c.ns.Stats.Stale.Add(1)
	}
	return it, stale
}

// Refresh loads key, whatever the tiers hold, and waits for a load that is under way before.
func (c *Cache) Refresh(ctx context.Context, key string, load LoadFunc) (inflight.Served, error) {
	if err := c.admit(ctx, key); err != nil {
		return inflight.Served{}, err
	}
	if ctx.Err() != nil {
		return inflight.Served{}, endOf(ctx)
	}
	h := c.ns.Hash(key)
	for since := c.s.takeSnapshot(); ; {
		f, leads, invalidations := c.s.Table.Renew(h, key, true)
		if leads {
			f.Name, f.Force = c.ns.RemoteName(h), true
			c.s.Table.Restart(f, c.s.Session.Tail.View(), mono.Now())
			l := c.newRun(load, config.Call{})
			l.start(ctx, []*inflight.Call{f})
		}
		done, err := awaits(ctx, f)
		if err == nil {
			err = waitFor(ctx, &f.Done)
			done()
		}
		c.s.Table.Leave(f)
		if err != nil {
			return inflight.Served{}, err
		}
		if leads || f.Key == key && f.Out.Overdue {
			return f.Out.Served, f.Out.Err
		}
		// A load that began after this caller asked is as good as its own.
		// guard: refresh-shares-later-load
		if f.Key == key && f.Force && f.Out.Begun >= since.now && c.canShare(ctx, f, since.with(invalidations), config.Call{}) {
			c.countShared(&f.Out)
			return f.Out.Served, f.Out.Err
		}
		if err := waitFor(ctx, &f.Left); err != nil {
			return inflight.Served{}, err
		}
	}
}
