package core

import (
	"context"
	"strings"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier/internal/config"
	"github.com/tiercache/tiercache/tier/internal/inflight"
	"github.com/tiercache/tiercache/tier/internal/pieces"
	"github.com/tiercache/tiercache/tier/internal/record"
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
// Calls that begin later have returned nothing before this caller began, and one that ended before the key is read has
// stored what it returned. So the table of calls is asked right before each piece.
func (c *Cache) readsUncoalesced(o config.Call) bool {
	return !c.usesLocal(o) && !o.Fresh && !c.cfg.LocalOnly && c.cfg.Early == 0 && c.cfg.StaleOnError == 0 && !c.s.Session.Sharded()
}

// readUncoalesced reads the remote tier for a batch and gives what is valid and fresh. The
// rest is returned, for calls. They need not read it before they ask for its lease, since
// that reads it, too. Keys take memory for a piece at a time: a batch of tens of thousands would have the garbage
// collector run several times, for milliseconds each, in which every other read waits. For the same reason one item
// is used again for all: give is to copy the value and to keep nothing of the item.
func (c *Cache) readUncoalesced(ctx context.Context, keys []string, give func(key string, it *record.Item)) (rest []keyLookup) {
	silence := pieces.SilenceOf(len(keys))
	piece := make([]keyLookup, 0, min(len(keys), pieces.Keys))
	var again *record.Item
	if c.compare == nil { // which keeps the items that it has seen
		again = c.typed.Empty()
	}
	var ended bool
	var failed error // of what was not asked for any more
	for !ended {
		for len(piece) < cap(piece) && len(keys) > 0 {
			t := c.lookupOf(ctx, keys[0])
			keys = keys[1:]
			// guard: I10-many-wait-for-fill
			if t.err != nil || c.s.Table.HasCall(t.h) {
				rest = append(rest, t)
			} else {
				piece = append(piece, t)
			}
		}
		if len(piece) == 0 {
			return rest
		}
		v := c.s.Session.Tail.View()
		// guard: I2-uncoalesced-read-proof
		if !c.s.Session.CanJudge(v, nil) {
			break // it takes a delta to judge it
		}
		items, err := c.readNames(ctx, piece, v)
		if err != nil {
			c.countReadError(ctx, err)
		} else {
			err = c.giveUncoalesced(ctx, piece, items, v, again, give)
		}
		// guard: uncoalesced-read-waits-once
		if endsBatch(ctx, &silence, err) {
			ended, failed = true, err
		}
		left := piece[:0]
		for i := range piece {
			switch t := &piece[i]; {
			case t.delivered:
			case t.read:
				rest = append(rest, *t)
			case ended:
				left = append(left, *t)
			case t.readErr != nil && !pieces.EndAfter(t.readErr):
				rest = append(rest, *t)
			default:
				t.readErr = nil // nothing was answered: it is asked for again
				left = append(left, *t)
			}
		}
		piece = left
	}
	for _, key := range keys {
		piece = append(piece, c.lookupOf(ctx, key))
	}
	for i := range piece {
		piece[i].readErr = failed
	}
	return append(rest, piece...)
}

// lookupOf begins the lookup of a key.
func (c *Cache) lookupOf(ctx context.Context, key string) keyLookup {
	t := keyLookup{key: key, err: c.admit(ctx, key)}
	if t.err == nil {
		t.h = c.ns.Hash(key)
	}
	return t
}

// giveUncoalesced gives what of a piece was read and can be used. It returns an error if what follows is not to be read.
func (c *Cache) giveUncoalesced(ctx context.Context, piece []keyLookup, items []backend.Item, v *changelog.View, again *record.Item, give func(key string, it *record.Item)) error {
	now, rests := mono.Now(), inflight.BasisOf(v)
	hits := int64(0)
	for i := range piece {
		t := &piece[i]
		if t.readErr = items[i].Err; t.readErr != nil {
			c.countReadError(ctx, t.readErr)
			continue
		}
		t.read = true
		it, cause, err := c.open(ctx, &storedValue{key: t.key, stored: items[i], Basis: rests, now: now, again: again})
		switch {
		case it == nil:
			// What stands beside it is believed only if it was read tracked: the call does that.
			if t.readAgain = linkOf(items[i], cause) != 0; t.readAgain {
				continue
			}
			t.seen, t.empty = seenOf(items[i])
			t.seen = strings.Clone(t.seen) // or a load would keep all that was read in memory
			c.countUnusable(ctx, cause, err)
			continue
		// guard: uncoalesced-read-is-fresh
		case now < it.Meta().Fresh:
			// guard: I10-untracked-many
			c.removeOtherVersions(t.h, it, nil)
			give(t.key, it)
			t.delivered = true
			hits++
			c.ns.CountRead(false)
		default:
			// Its call serves it, and would wait for a place in which to load it if it were not to read it.
			// guard: stale-value-of-batch-needs-no-place
			t.readAgain = now < it.Meta().Fresh.Add(c.cfg.StaleWhile)
		}
		// guard: uncoalesced-read-releases-marks
		it.Release(c.s.Session.Tail)
	}
	c.ns.Stats.RemoteHits.Add(hits)
	return pieces.SilentItem(items)
}

// readNames reads the entries of the lookups' keys, so that they can be judged by v.
func (c *Cache) readNames(ctx context.Context, asked []keyLookup, v *changelog.View) (items []backend.Item, err error) {
	names := make([]string, len(asked))
	c.ns.NameAll(len(asked), func(i int) local.Key { return asked[i].h }, func(i int, name string) { names[i] = name })
	return c.s.Session.ReadUntracked(ctx, names, v)
}
