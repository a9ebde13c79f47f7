package tier

import (
	"context"
	"strings"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/local"
)

// readsUncoalesced reports whether keys of a GetMany can be read without calls. A call
// counts the invalidations of a key whose value is to be kept, and lets other callers
// share what is read. A value that is not kept, and is there, can be returned without
// one, in a fraction of the time. Not in a cluster, where each key is judged by the
// proof of its own server.
//
// A key that has a call is left to that call:
//
//	A: has loaded k and returned its value; the write is on its way
//	B: begins, and would read what was there before
//
// Calls that begin later have returned nothing before this caller began.
func (c *core) readsUncoalesced(o callConfig) bool {
	return !c.usesLocal(o) && !o.fresh && !c.cfg.localOnly && c.cfg.early == 0 && !c.s.sharded
}

// readUncoalesced reads the remote tier for a batch and gives what is valid and fresh. The
// rest is left to calls. They need not read it before they ask for its lease, since
// that reads it, too.
func (c *core) readUncoalesced(ctx context.Context, p *batchLookup, give func(key string, it *item)) {
	v := c.s.tail.View()
	// guard: I2-uncoalesced-read-proof
	if !c.s.canJudge(v, nil) {
		return // it takes a delta to judge it
	}
	asked := make([]*keyLookup, 0, len(p.lookups))
	for i := range p.lookups {
		if t := &p.lookups[i]; t.err == nil && !t.hasCall {
			asked = append(asked, t)
		}
	}
	if len(asked) == 0 {
		return
	}
	items, err := c.readNames(ctx, asked, v)
	// guard: uncoalesced-read-waits-once
	p.uncoalesced, p.err = true, err
	if err != nil {
		return
	}
	now, rests := mono.Now(), basis{epoch: v.Epoch, keyTick: v.Watermark}
	hits := int64(0)
	for i, t := range asked {
		it, cause, err := c.open(ctx, &storedValue{key: t.key, stored: items[i], basis: rests, now: now})
		switch {
		case it == nil:
			t.seen, t.empty = seenOf(items[i])
			t.seen = strings.Clone(t.seen) // or a load would keep all that was read in memory
			c.countUnusable(cause, err)
			continue
		// guard: uncoalesced-read-is-fresh
		case now < it.meta().fresh:
			// guard: I10-untracked-many
			c.removeOtherVersions(t.h, it, nil)
			give(t.key, it)
			t.delivered = true
			hits++
			c.ns.learn(false)
		}
		// guard: uncoalesced-read-releases-marks
		it.release(c.s.tail)
	}
	c.ns.stats.remoteHits.Add(hits)
}

// readNames reads the entries of the lookups' keys, so that they can be judged by v.
func (c *core) readNames(ctx context.Context, asked []*keyLookup, v *changelog.View) (items []backend.Item, err error) {
	names := make([]string, len(asked))
	c.ns.nameAll(len(asked), func(i int) local.Key { return asked[i].h }, func(i int, name string) { names[i] = name })
	rctx := c.s.request(ctx)
	defer rctx.End()
	items, err = c.s.conn.GetUntracked(rctx, names)
	if err == nil && c.s.connectionChanged(v, nil) {
		err = c.s.revalidate(rctx, names...)
	}
	return items, err
}
