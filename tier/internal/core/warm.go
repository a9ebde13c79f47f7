package core

import (
	"slices"
	"strings"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/envelope"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier/internal/inflight"
	"github.com/tiercache/tiercache/tier/internal/keyspace"
)

// warmPiece is how many entries are read at once when a store starts.
const warmPiece = 128

// warmUp reads the entries of the view's namespace that are hot in other processes, until the local tier is full. They are read,
// judged and kept as by a GetMany; what is here already stays.
func (c *Cache) warmUp() {
	ctx, evicted := c.s.Goroutines.Ctx, c.s.Evictions.Capacity.Load()
	for names := range slices.Chunk(c.s.warm.Of(ctx, &c.ns.Namespace), warmPiece) {
		v, now := c.s.Session.Tail.View(), mono.Now()
		hashes, watches, shards := make([]local.Key, len(names)), make([]inflight.Watch, len(names)), make([]*backend.Shard, len(names))
		for i, name := range names {
			hashes[i], _, _ = keyspace.Parse(name)
			c.s.Table.Watch(hashes[i], &watches[i])
			// Before it is asked: by the time of the answer another server may have the key, or there is another connection, and
			// neither tells of its changes.
			shards[i] = c.s.Session.ShardOf(name)
		}
		items, done, err := c.s.Session.ReadMany(ctx, names, false, v)
		for i := range names {
			if err == nil && done && items[i].Err == nil {
				r := storedValue{stored: items[i], Basis: inflight.BasisOf(v), now: now, keeps: true}
				// guard: R9-warm-read-of-server
				r.Shard = shards[i]
				c.keepWarm(hashes[i], &watches[i], &r)
			}
			c.s.Table.Unwatch(hashes[i], &watches[i])
		}
		if err != nil || !done || c.s.Evictions.Capacity.Load() != evicted {
			return
		}
	}
}

// keepWarm keeps what was read of a key that is not known before.
func (c *Cache) keepWarm(h local.Key, w *inflight.Watch, r *storedValue) {
	e, err := envelope.DecodeWithin(r.stored.Envelope(), c.s.Config.MaxValue)
	if err != nil || c.ns.Hash(e.Key) != h {
		return
	}
	r.key = strings.Clone(e.Key)
	it, _, _ := c.open(c.s.Goroutines.Ctx, r)
	if it != nil && (mono.Now() >= it.Meta().Fresh || !c.s.Table.InsertMissing(h, w, it)) {
		it.Release(c.s.Session.Tail)
	}
}

// warms reports whether the view is the first that keeps copies of its namespace's entries, in a store that starts warm.
func (c *Cache) warms() bool {
	return c.s.Config.WarmStart > 0 && !c.cfg.LocalOnly && !c.cfg.RemoteOnly && c.ns.lasting.warmed.CompareAndSwap(false, true)
}
