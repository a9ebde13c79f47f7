package tier

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
)

// Explanation says what each tier holds for a key, whether that is believed,
// and if not, why.
type Explanation struct {
	Namespace, Key string
	// RemoteKey is the name under which the remote tier has the key.
	RemoteKey     string
	Local, Remote Holding
}

// Holding is what one tier has for a key.
type Holding struct {
	Present bool
	// Valid: a read would be answered with it. If not, Why says why not; Changed
	// and ChangedAt are set if that is a change: "source …", "namespace …" or
	// "everything".
	Valid     bool
	Why       string
	Changed   string
	ChangedAt AsOf
	Negative  bool
	// Outage: it is valid only as long as the remote tier is away (WithOutageTTL).
	Outage   bool
	AsOf     AsOf
	Age, TTL time.Duration
	Sources  []string
}

func (h Holding) String() string {
	if !h.Present {
		return "nothing"
	}
	verdict := "valid"
	if !h.Valid {
		verdict = "not valid: " + h.Why
	}
	if h.Outage {
		verdict += " while the remote tier is away"
	}
	return fmt.Sprintf("%s, as of %v, age %v, TTL %v, sources %q",
		verdict, h.AsOf, h.Age.Round(time.Millisecond), h.TTL.Round(time.Millisecond), h.Sources)
}

func (e Explanation) String() string {
	return fmt.Sprintf("%s/%.80q (%s)\n  local:  %v\n  remote: %v", e.Namespace, e.Key, e.RemoteKey, e.Local, e.Remote)
}

// Explain reads both tiers and the change log, changes nothing and never loads.
// A value that was just loaded here and is still being stored is waited for. It
// returns ErrUnavailable, with what is known locally, if the remote tier does
// not answer.
func (c *Cache[V]) Explain(ctx context.Context, key string) (Explanation, error) {
	if err := c.admitWrite(ctx, key); err != nil { // it waits for no load
		return Explanation{}, err
	}
	h := c.ns.hash(key)
	if err := c.s.table.awaitStored(ctx, h); err != nil {
		return Explanation{}, err
	}
	e := Explanation{Namespace: c.ns.path, Key: key, RemoteKey: c.ns.remoteName(h)}
	if held := c.s.local.PeekEntry(h); held != nil && held.Value.ns == c.ns && held.Value.key == key {
		e.Local = c.holdingOf(&held.Value)
		c.explainLocal(&e.Local, &held.Value)
	}
	if c.cfg.localOnly {
		return e, nil
	}
	rctx := c.s.request(ctx)
	defer rctx.End()
	if err := c.s.tail.CatchUp(rctx); err != nil {
		return e, remoteError(ctx, "explain", err)
	}
	stored, err := c.s.conn.GetOne(rctx, e.RemoteKey)
	if err != nil {
		return e, remoteError(ctx, "explain", err)
	}
	err = c.explainRemote(rctx, &e.Remote, key, stored)
	return e, remoteError(ctx, "explain", err)
}

func (c *core) holdingOf(it *item) Holding {
	now := mono.Now()
	f := it.meta()
	return Holding{Present: true, Negative: it.negative, AsOf: f.asOf,
		Age: now.Sub(f.born), TTL: f.fresh.Sub(now), Sources: it.sources()}
}

// explainLocal follows the steps of fromLocal.
func (c *core) explainLocal(h *Holding, it *item) {
	now, v := mono.Now(), c.s.tail.View()
	f := it.meta()
	switch {
	case it.extra().outage != nil && !c.s.isValid(it, v, now) && c.servableInOutage(it, now):
		h.Valid, h.Outage = true, true
	case f.epoch == epochNone && !it.extra().outage.outage.Lasts():
		h.Why = "it was kept for an outage that is over"
	case f.epoch == epochNone && (now >= it.extra().outage.until || now >= f.fresh):
		h.Why = "its TTL for an outage has passed"
	case f.epoch == epochNone:
		h.Why = "it changed while the remote tier is away"
	case v.Age(now) > c.s.cfg.maxStaleness:
		h.Why = fmt.Sprintf("the change log has not been read for %v, more than the maximum staleness", v.Age(now).Round(time.Millisecond))
	case f.epoch != v.Epoch:
		h.Why = "it was read before the connection was lost"
	case it.extra().shard.Gone():
		h.Why = "it was read from another server than the one that has its key now, or over another connection"
	case it.extra().shard.Age(now) > c.s.cfg.maxStaleness:
		h.Why = fmt.Sprintf("the server that has its key has not answered for %v, more than the maximum staleness", it.extra().shard.Age(now).Round(time.Millisecond))
	case !c.s.isValid(it, v, now):
		h.Why, h.Changed = "a change", "unknown"
		if !v.Covers(f.asOf) {
			h.Changed, h.ChangedAt = "everything", AsOf{Incarnation: v.Incarnation, Tick: v.Floor}
		}
		for _, m := range slices.Concat(f.common.Marks, it.marks()) {
			if m.Last() > f.asOf.Tick {
				h.Changed = scopeName(m.Scope(), it.sources())
				h.ChangedAt = AsOf{Incarnation: v.Incarnation, Tick: m.Last()}
			}
		}
		if m := it.extra().keyMark; m != nil && m.Last() > it.extra().keyTick {
			h.Changed, h.ChangedAt = "the key itself", AsOf{Incarnation: v.Incarnation, Tick: m.Last()}
		}
		h.Why = h.Changed + " changed"
	case now >= f.expires || now >= f.fresh:
		h.Why = "its TTL has passed"
	case !it.servable(now):
		h.Why = "it is still being stored"
	case !c.ofType(it):
		h.Why = "it was kept by views of another type or codec, or by views that differ from this one in WithLocalOnly"
	default:
		h.Valid = true
	}
}

func (c *core) explainRemote(ctx context.Context, h *Holding, key string, stored backend.Item) error {
	if !stored.Found() {
		return nil
	}
	h.Present = true
	e, err := envelope.Decode(stored.Envelope())
	if err != nil {
		h.Why = err.Error()
		return nil
	}
	h.AsOf, h.Negative, h.Sources = e.AsOf, e.Negative, cloneAll(e.Sources)
	if e.Namespace != c.ns.path || e.Key != key {
		h.Why = "it is the entry of another key of the same hash"
		return nil
	}
	it, _, err := c.itemOf(&storedValue{key: key, stored: stored, basis: basis{keyTick: c.s.AsOf().Tick}, now: mono.Now()}, &e)
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
func (c *core) explainChange(ctx context.Context, h *Holding, it *item) error {
	v := c.s.tail.View()
	f := it.meta()
	scopes := c.scopes(it.sources())
	last, err := c.s.tail.LastChanges(ctx, scopes)
	if err != nil {
		return err
	}
	switch {
	case f.asOf.Incarnation != v.Incarnation:
		h.Changed, h.Why = "everything", "the change log was lost since and begun anew"
		return nil
	case f.asOf.Tick < v.Floor:
		h.Changed, h.ChangedAt = "everything", AsOf{Incarnation: v.Incarnation, Tick: v.Floor}
		h.Why = "everything changed"
		return nil
	}
	for i, t := range last {
		if t > f.asOf.Tick {
			h.Changed, h.ChangedAt = scopeName(scopes[i], it.sources()), AsOf{Incarnation: v.Incarnation, Tick: t}
			h.Why = h.Changed + " changed"
			return nil
		}
	}
	switch {
	case mono.Now() >= f.fresh:
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
