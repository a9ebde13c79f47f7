package core

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/joined"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier/internal/config"
	"github.com/tiercache/tiercache/tier/internal/inflight"
	"github.com/tiercache/tiercache/tier/internal/inspect"
	"github.com/tiercache/tiercache/tier/internal/pieces"
	"github.com/tiercache/tiercache/tier/internal/record"
	"github.com/tiercache/tiercache/tier/internal/revalidate"
)

// GetMany gives the values of keys, from the first tier that has them or the loader, and returns the errors of the others.
func (c *Cache) GetMany(ctx context.Context, keys []string, load LoadFunc, o config.Call, give func(key string, it *record.Item)) error {
	p := &batchLookup{}
	c.lookupMany(ctx, p, keys, load, o, give)
	for _, key := range keys {
		c.s.Watch.Read(inspect.KindNone, 0, c.ns.Path, key)
	}
	for i := range p.lookups {
		if t := &p.lookups[i]; t.err == nil {
			give(t.key, t.out.It)
		}
	}
	errs := manyErrors(p.lookups)
	if len(errs) == 1 {
		return errs[0]
	}
	return joined.Errors(errs...)
}

// lookupMany gets the values of keys from the first tier that has them, or the loader.
func (c *Cache) lookupMany(ctx context.Context, p *batchLookup, keys []string, load LoadFunc, o config.Call, give func(key string, it *record.Item)) {
	since := c.s.takeSnapshot()
	if c.readsUncoalesced(o) && ctx.Err() == nil {
		p.lookups = c.readUncoalesced(ctx, keys, give)
	} else {
		p.lookups = make([]keyLookup, len(keys))
		for i, key := range keys {
			p.lookups[i] = c.lookupOf(ctx, key)
		}
	}
	lookups := p.lookups
	calls := p.newCalls()
	// guard: leave-shared-calls-on-goexit
	defer c.leaveAll(lookups) // the rest, if a loader or codec ends this goroutine
	for i := range lookups {
		t := &lookups[i]
		if t.err != nil {
			continue
		}
		if c.usesLocal(o) && !o.Fresh {
			got, ok, due := c.fromLocal(t.h, t.key)
			if due {
				p.due = append(p.due, got.It)
			}
			if ok {
				t.out = got
				continue
			}
			t.staleFallback = got.It
		}
		if ctx.Err() != nil {
			c.ns.Stats.Cancelled.Add(1)
			t.err = endOf(ctx)
			continue
		}
		t.call, t.leads, t.invalidations = c.s.Table.Join(&calls[0], t.h, t.key, true)
		if t.leads {
			calls = calls[1:]
			t.call.Seen, t.call.Empty, t.call.ReadAgain = t.seen, t.empty, t.readAgain
			p.lead, p.leaders = append(p.lead, t.call), append(p.leaders, t)
		}
	}
	c.ns.NameAll(len(p.lead), func(i int) local.Key { return p.lead[i].H }, func(i int, name string) { p.lead[i].Name = name })
	c.lookupBatch(ctx, p, load, o)
	c.refreshLater(ctx, load, p.due...)
	c.readPresentMany(ctx, p, o)
	for i := range lookups {
		if t := &lookups[i]; t.call != nil {
			t.out, t.err = c.awaitKey(ctx, t, since, load, o)
		}
	}
}

// leaveAll leaves the calls that were not left yet.
func (c *Cache) leaveAll(lookups []keyLookup) {
	for i := range lookups {
		if t := &lookups[i]; t.call != nil && !t.left {
			t.left = true
			c.s.Table.Leave(t.call)
		}
	}
}

// manyErrors returns the errors of the lookups, each text once.
func manyErrors(lookups []keyLookup) (errs []error) {
	failed := make(map[string][]string) // keys by the text of their error
	for i := range lookups {
		err := lookups[i].err
		if err == nil || errors.Is(err, ErrNotFound) {
			continue
		}
		text := err.Error()
		if failed[text] == nil {
			errs = append(errs, err)
		}
		failed[text] = append(failed[text], lookups[i].key)
	}
	for i, err := range errs {
		errs[i] = manyError(failed[err.Error()], err)
	}
	return errs
}

// manyError names one of the keys that have failed with err, and their number.
func manyError(keys []string, err error) error {
	if len(keys) == 1 {
		return fmt.Errorf("key %.80q: %w", keys[0], err)
	}
	return fmt.Errorf("%d keys, %.80q among them: %w", len(keys), keys[0], err)
}

// awaitKey waits for one key's call. If its result may not be shared the key
// is looked up on its own.
func (c *Cache) awaitKey(ctx context.Context, t *keyLookup, since snapshot, load LoadFunc, o config.Call) (inflight.Served, error) {
	t.left = true
	got, again, err := c.answer(ctx, t.call, t.key, t.leads, since.with(t.invalidations), t.staleFallback, o)
	if again {
		return c.Lookup(ctx, t.key, load, o)
	}
	return got, err
}

// lookupBatch does the work of the calls that the batch leads: it reads them in pieces, unless they
// were read uncoalesced, and has one load for the rest.
func (c *Cache) lookupBatch(ctx context.Context, p *batchLookup, load LoadFunc, o config.Call) {
	fs := p.lead
	if len(fs) == 0 {
		return
	}
	if c.cfg.LocalOnly {
		c.loadRest(ctx, slices.DeleteFunc(slices.Clone(fs), func(f *inflight.Call) bool { return c.recheckLocalOnly(f, o) }), load, o)
		return
	}
	returned := false
	defer func() {
		if !returned {
			c.endOnGoexit(p.lead...)
		}
	}()
	fs, rest := c.splitByRead(ctx, p, o)
	fs, offline := c.splitByOutage(ctx, fs, o)
	rest = append(rest, offline...)
	var failed error
	silence := pieces.SilenceOf(len(fs))
	for len(fs) > 0 {
		piece := fs[:min(len(fs), pieces.Keys)]
		fs = fs[len(piece):]
		var items []backend.Item
		var copies []*record.Item
		err := failed
		// guard: silent-piece-is-the-last
		if failed == nil {
			if items, copies, err = c.readMany(ctx, piece, o); err != nil {
				// guard: one-request-one-error
				c.countReadError(ctx, err)
			}
			silent := cmp.Or(err, pieces.SilentItem(items))
			if endsBatch(ctx, &silence, silent) {
				failed = silent
			}
		}
		var again []*inflight.Call
		for i, f := range piece {
			err := err
			if items != nil {
				err = cmp.Or(err, items[i].Err)
			}
			switch {
			case err == nil && items == nil:
				f.Lease = inflight.LeaseSkipped
				rest = append(rest, f)
			case err == nil:
				switch ended, unread := c.finishOfBatch(ctx, p, f, copies[i], items[i], o); {
				case ended:
				case unread:
					fs = append(fs, f)
				default:
					rest = append(rest, f)
				}
			case failed == nil && pieces.EndAfter(err):
				again = append(again, f)
			default:
				if items != nil {
					c.countReadError(ctx, err)
				}
				if !c.afterReadError(ctx, f, o, err) {
					rest = append(rest, f)
				}
			}
		}
		if len(again) > 0 {
			fs = append(again, fs...)
		}
	}
	returned = true
	c.loadRest(ctx, rest, load, o)
}

// finishOfBatch ends a call of a batch with what was read for it: its entry, or the head by which a suspended copy is
// judged. If it is unread, the entry, or what stands beside it, is to be read in a piece at the end.
func (c *Cache) finishOfBatch(ctx context.Context, p *batchLookup, f *inflight.Call, suspended *record.Item, item backend.Item, o config.Call) (ended, unread bool) {
	var due *record.Item
	if suspended != nil {
		ended, unread, due = c.finishFromCopy(ctx, f, suspended, item, o)
	} else {
		wasLinked := f.Beside != nil
		ended, due = c.finishWith(ctx, f, item, o)
		unread = f.Beside != nil && !wasLinked
	}
	if due != nil {
		p.due = append(p.due, due)
	}
	return ended, unread
}

// loadRest has one load for the calls of a batch for which there is nothing, but for those that a pause ends.
func (c *Cache) loadRest(ctx context.Context, rest []*inflight.Call, load LoadFunc, o config.Call) {
	rest = slices.DeleteFunc(rest, c.finishPaused)
	if len(rest) > 0 {
		c.newRun(load, o).start(ctx, rest)
	}
}

// splitByRead separates the calls that are to be read from those that were asked for uncoalesced.
func (c *Cache) splitByRead(ctx context.Context, p *batchLookup, o config.Call) (unread, rest []*inflight.Call) {
	if p.leaders == nil {
		return p.lead, nil
	}
	unread = p.lead[:0:0]
	for i, f := range p.lead {
		switch t := p.leaders[i]; {
		case t.readErr != nil:
			if !c.afterReadError(ctx, f, o, t.readErr) {
				rest = append(rest, f)
			}
		case t.read && !f.ReadAgain:
			rest = append(rest, f)
		default:
			unread = append(unread, f)
		}
	}
	return unread, rest
}

// splitByOutage separates the calls whose server is away, so that the keys of a cluster's
// other servers are still read.
func (c *Cache) splitByOutage(ctx context.Context, fs []*inflight.Call, o config.Call) (there, offline []*inflight.Call) {
	// guard: I8-one-silent-server
	if !c.s.Session.Sharded() {
		return fs, nil
	}
	for _, f := range fs {
		if a := c.s.Session.Conn.Of(f.Name).Current.Load(); a == nil {
			there = append(there, f)
		} else if !c.afterReadError(ctx, f, o, a) {
			offline = append(offline, f)
		}
	}
	return there, offline
}

// readMany reads all calls' keys in one round trip. It returns neither items nor an error
// if the change log was replaced during each of its attempts. Of keys that have one, it returns the suspended copy, and the item
// is no more than the head of the entry.
func (c *Cache) readMany(ctx context.Context, fs []*inflight.Call, o config.Call) ([]backend.Item, []*record.Item, error) {
	copies := make([]*record.Item, len(fs))
	for range 3 {
		v, now := c.s.Session.Tail.View(), mono.Now()
		var heads, names []string
		for i, f := range fs {
			c.s.Table.Restart(f, v, now)
			if copies[i] = c.suspendedCopy(f, o); copies[i] != nil {
				heads = append(heads, f.Name)
			} else {
				names = append(names, f.Name)
			}
		}
		items, done, err := c.s.Session.ReadHeads(ctx, heads, names, o.Fresh, v)
		if err != nil {
			return nil, copies, err
		}
		if done {
			return revalidate.InOrder(items, len(heads), copies), copies, nil
		}
	}
	return nil, copies, nil
}
