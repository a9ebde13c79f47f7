package core

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/envelope"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/invalidation"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier/internal/inflight"
	"github.com/tiercache/tiercache/tier/internal/record"
)

// Explanation is an Explanation of package tier, holding a Holding.
type Explanation struct {
	Namespace, Key, RemoteKey string
	Local, Remote             Holding
}

type Holding struct {
	Present, Unknown, Valid bool
	Why, Changed            string
	ChangedAt               invalidation.AsOf
	Negative, Outage        bool
	AsOf                    invalidation.AsOf
	Age, TTL                time.Duration
	Sources                 []string
}

// Explain says what the tiers hold for key, and why that is believed or not.
func (c *Cache) Explain(ctx context.Context, key string) (Explanation, error) {
	if err := c.admitWrite(ctx, key); err != nil { // it waits for no load
		return c.unknown(key, err)
	}
	h := c.ns.Hash(key)
	if err := c.awaitStored(ctx, h); err != nil {
		return c.unknown(key, err)
	}
	e := Explanation{Namespace: c.ns.Path, Key: key, RemoteKey: c.ns.RemoteName(h)}
	if held := c.s.Local.PeekEntry(h); held != nil && held.Value.Space == any(c.ns) && held.Value.Key == key {
		e.Local = c.holdingOf(&held.Value)
		c.explainLocal(&e.Local, &held.Value)
	}
	if c.cfg.LocalOnly {
		e.Remote.Unknown, e.Remote.Why = true, "views with WithLocalOnly do not use it"
		return e, nil
	}
	err := c.explainStored(ctx, &e, h, key)
	if err != nil && (!e.Remote.Present || e.Remote.Why == "" && !e.Remote.Valid) {
		e.Remote = Holding{Unknown: true, Why: err.Error()}
	}
	return e, err
}

// unknown is what is said of a key that no tier could be asked for.
func (c *Cache) unknown(key string, err error) (Explanation, error) {
	h := Holding{Unknown: true, Why: err.Error()}
	return Explanation{Namespace: c.ns.Path, Key: key, Local: h, Remote: h}, err
}

// explainStored explains what the remote tier has.
func (c *Cache) explainStored(ctx context.Context, e *Explanation, h local.Key, key string) error {
	rctx := c.s.Session.Request(ctx)
	defer rctx.End()
	if err := c.s.Session.Tail.CatchUp(rctx); err != nil {
		return c.s.RemoteError(ctx, "explain", err)
	}
	stored, err := c.s.Session.Conn.GetOne(rctx, e.RemoteKey)
	if err != nil {
		return c.s.RemoteError(ctx, "explain", err)
	}
	if err = c.explainRemote(rctx, &e.Remote, key, stored); err != nil {
		return c.s.RemoteError(ctx, "explain", err)
	}
	err = c.explainBeside(rctx, e, h, stored)
	return c.s.RemoteError(ctx, "explain", err)
}

// explainBeside explains what stands beside an entry of another encoding, if there is something.
func (c *Cache) explainBeside(ctx context.Context, e *Explanation, h local.Key, stored backend.Item) error {
	entry, err := envelope.Decode(stored.Envelope())
	ours := err == nil && (entry.Negative || entry.Shape == c.typed.Shape)
	link, ok := envelope.NonceOf(stored.Envelope())
	if ours || !ok {
		return nil
	}
	beside, err := c.s.Session.Conn.GetOne(ctx, c.besideName(h))
	was, raw, ok := envelope.CutLink(beside.Envelope())
	if err != nil || !ok || was != link {
		return err
	}
	beside.Raw = raw
	e.RemoteKey, e.Remote = c.besideName(h), Holding{}
	return c.explainRemote(ctx, &e.Remote, e.Key, beside)
}

func (c *Cache) holdingOf(it *record.Item) Holding {
	now := mono.Now()
	f := it.Meta()
	return Holding{Present: true, Negative: it.Negative, AsOf: f.AsOf.Full(),
		Age: now.Sub(f.Born), TTL: f.Fresh.Sub(now), Sources: it.Sources()}
}

// explainLocal follows the steps of fromLocal.
func (c *Cache) explainLocal(h *Holding, it *record.Item) {
	now, v := mono.Now(), c.s.Session.Tail.View()
	f := it.Meta()
	switch {
	case it.Extra().Outage != nil && !c.s.Session.IsValid(it, v, now) && c.servableInOutage(it, now):
		h.Valid, h.Outage = true, true
	case f.Epoch == record.EpochNone && !it.Extra().Outage.Outage.Lasts():
		h.Why = "it was kept for an outage that is over"
	case f.Epoch == record.EpochNone && (now >= it.Extra().Outage.Until || now >= f.Fresh):
		h.Why = "its TTL for an outage has passed"
	case f.Epoch == record.EpochNone:
		h.Why = "it changed while the remote tier is away"
	case v.Age(now) > c.s.Config.MaxStaleness:
		h.Why = fmt.Sprintf("the change log has not been read for %v, more than the maximum staleness", v.Age(now).Round(time.Millisecond))
	case f.Epoch != v.Epoch && f.Epoch != v.LogEpoch():
		h.Why = "it was read before the connection was lost"
		if c.s.Session.IsSuspended(it, v) {
			h.Why += ", and is believed again if the next read finds the same entry"
		}
	case it.Extra().Shard.Gone():
		h.Why = "it was read from another server than the one that has its key now, or over another connection"
	case it.Extra().Shard.Age(now) > c.s.Config.MaxStaleness:
		h.Why = fmt.Sprintf("the server that has its key has not answered for %v, more than the maximum staleness", it.Extra().Shard.Age(now).Round(time.Millisecond))
	case !c.s.Session.IsValid(it, v, now):
		h.Why, h.Changed = "a change", "unknown"
		if !v.Covers(f.AsOf.Full()) {
			h.Changed, h.ChangedAt = "everything", invalidation.AsOf{Incarnation: v.Incarnation, Tick: v.Floor}
		}
		for _, m := range slices.Concat(f.Common.Marks, it.Marks()) {
			if m.Last() > f.AsOf.Tick {
				h.Changed = scopeName(m.Scope(), it.Sources())
				h.ChangedAt = invalidation.AsOf{Incarnation: v.Incarnation, Tick: m.Last()}
			}
		}
		if m := it.Extra().KeyMark; m != nil && m.Last() > it.Extra().KeyTick {
			h.Changed, h.ChangedAt = "the key itself", invalidation.AsOf{Incarnation: v.Incarnation, Tick: m.Last()}
		}
		h.Why = h.Changed + " changed"
	case now >= f.Expires || now >= f.Fresh:
		h.Why = "its TTL has passed"
	case !it.Servable(now):
		h.Why = "it is still being stored"
	case !c.ofType(it):
		h.Why = "it was kept by views of another type or codec, or by views that differ from this one in WithLocalOnly"
	default:
		h.Valid = true
	}
}

func (c *Cache) explainRemote(ctx context.Context, h *Holding, key string, stored backend.Item) error {
	if !stored.Found() {
		return nil
	}
	h.Present = true
	e, err := envelope.DecodeWithin(stored.Envelope(), c.s.Config.MaxValue)
	if err != nil {
		h.Why = err.Error()
		return nil
	}
	h.AsOf, h.Negative, h.Sources = e.AsOf, e.Negative, record.CloneAll(e.Sources)
	if e.Namespace != c.ns.Path || e.Key != key {
		h.Why = "it is the entry of another key of the same hash"
		return nil
	}
	it, _, err := c.itemOf(&storedValue{key: key, stored: stored, Basis: inflight.Basis{KeyTick: c.s.AsOf().Tick}, now: mono.Now()}, &e)
	if it == nil {
		h.Why = "its TTL has passed"
		if err != nil {
			h.Why = err.Error()
		}
		return nil
	}
	*h = c.holdingOf(it)
	return c.explainChange(ctx, h, it)
}

// explainChange reads the log itself, so that it can name the change.
func (c *Cache) explainChange(ctx context.Context, h *Holding, it *record.Item) error {
	v := c.s.Session.Tail.View()
	f := it.Meta()
	scopes := c.ns.Scopes(it.Sources())
	last, err := c.s.Session.Tail.LastChanges(ctx, scopes)
	if err != nil {
		return err
	}
	switch {
	case f.AsOf.Incarnation != v.Incarnation:
		h.Changed, h.Why = "everything", "the change log was lost since and begun anew"
		return nil
	case f.AsOf.Tick < v.Floor:
		h.Changed, h.ChangedAt = "everything", invalidation.AsOf{Incarnation: v.Incarnation, Tick: v.Floor}
		h.Why = "everything changed"
		return nil
	}
	for i, t := range last {
		if t > f.AsOf.Tick {
			h.Changed, h.ChangedAt = scopeName(scopes[i], it.Sources()), invalidation.AsOf{Incarnation: v.Incarnation, Tick: t}
			h.Why = h.Changed + " changed"
			return nil
		}
	}
	switch {
	case mono.Now() >= f.Fresh:
		h.Why = "its TTL has passed"
	default:
		h.Valid = true
	}
	return nil
}

// scopeName describes a scope, with the source's own name if it is among sources.
func scopeName(s invalidation.Scope, sources []string) string {
	for _, id := range sources {
		if invalidation.Source(id) == s {
			return fmt.Sprintf("source %.80q", id)
		}
	}
	kind, name := string(s[:1]), string(s[2:])
	switch kind {
	case "n":
		return "namespace " + name
	case "k":
		return "the key itself"
	}
	return strings.TrimSpace("source " + name)
}
