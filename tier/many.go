package tier

import (
	"context"
	"errors"
	"fmt"

	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/invalidation"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/remote"
)

// GetMany is Get of several keys: one round trip to the remote tier, and one
// run of the loader for those that no tier has and nobody else is loading. A
// key that is not found is absent from the result, and that is no error. If
// some keys fail, what was found is returned with the joined errors.
func (c *Cache[V]) GetMany(ctx context.Context, keys []string, load BatchLoader[V], options ...CallOption) (map[string]V, error) {
	if load == nil {
		return nil, ErrNilLoader
	}
	found := make(map[string]V, len(keys))
	var missing []string
	if len(options) > 0 {
		missing = make([]string, 0, len(keys))
	}
	for _, key := range keys {
		if len(options) == 0 {
			if it := c.hit(key); it != nil {
				c.ns.stats.localHits.add()
				found[key] = *valueIn[V](it)
				continue
			}
		}
		missing = append(missing, key)
	}
	if len(missing) == 0 {
		return found, nil
	}
	p := &party{trips: make([]trip, len(missing))}
	give := func(key string, it *item) {
		if !it.negative {
			found[key] = c.valueOf(it)
		}
	}
	c.lookupMany(ctx, p, missing, loadFunc{c.typed.batch, load}, callOptions(options), give)
	for i := range p.trips {
		if t := &p.trips[i]; t.err == nil && !t.given {
			give(t.key, t.out.it)
		}
	}
	return found, errors.Join(manyErrors(p.trips)...)
}

// runBatch runs a BatchLoader[V].
func runBatch[V any](ctx context.Context, k *kind, loader any, fs []*flight, es []*Entry, out []loaded) {
	keys, entries := make([]string, len(fs)), Entries{make(map[string]*Entry, len(fs))}
	for i, f := range fs {
		keys[i], entries.byKey[f.key] = f.key, es[i]
	}
	values, err := loader.(BatchLoader[V])(ctx, keys, entries)
	for i, f := range fs {
		v, ok := values[f.key]
		switch {
		case ok:
			out[i].it = newItemOf(k, v) // also beside an error: what was found is returned
		case err != nil:
			out[i].err = err
		default:
			out[i].err = ErrNotFound
		}
	}
}

// trip is one key of a GetMany on its way.
type trip struct {
	key     string
	h       local.Key
	busy    bool    // had a flight when the caller came
	given   bool    // its value was read aside
	seen    string  // what was read aside and is no good, as of flight.seen
	empty   bool    // likewise
	f       *flight // nil if the local tier had it, it was given, or err
	leads   bool
	left    bool
	notices int
	spare   *item
	out     served
	err     error
}

// party is what a GetMany needs for its keys.
type party struct {
	trips []trip
	lead  []*flight

	aside bool  // the remote tier was asked already, past the flights
	err   error // that it did not answer then
}

// newFlights returns a flight for each trip that may need one, in one piece of memory:
// most will be needed.
func (p *party) newFlights() []flight {
	n := 0
	for i := range p.trips {
		if t := &p.trips[i]; t.err == nil && !t.given {
			n++
		}
	}
	return make([]flight, n)
}

// lookupMany gets the values of keys by whatever ways are first.
func (c *core) lookupMany(ctx context.Context, p *party, keys []string, load loadFunc, o callConfig, give func(key string, it *item)) {
	trips := p.trips
	came := c.s.arrive()
	aside := c.readsAside(o)
	for i, key := range keys {
		t := &trips[i]
		t.key = key
		if t.err = c.admit(ctx, key); t.err == nil {
			t.h = c.ns.hash(key)
			// guard: I10-many-wait-for-fill
			t.busy = aside && c.s.table.flies(t.h)
		}
	}
	if aside {
		c.readAside(ctx, p, give)
	}
	flights := p.newFlights()
	// guard: leave-shared-calls-on-goexit
	defer c.leaveAll(trips) // those of whom a loader or codec has ended this goroutine
	for i := range trips {
		t := &trips[i]
		if t.err != nil || t.given {
			continue
		}
		if c.usesLocal(o) && !o.fresh {
			got, ok := c.fromLocal(ctx, t.h, t.key, load)
			if ok {
				t.out = got
				continue
			}
			t.spare = got.it
		}
		t.f, t.leads, t.notices = c.s.table.join(&flights[0], t.h, t.key, true)
		if t.leads {
			flights = flights[1:]
			t.f.seen, t.f.empty = t.seen, t.empty
			p.lead = append(p.lead, t.f)
		}
	}
	c.ns.nameAll(len(p.lead), func(i int) local.Key { return p.lead[i].h }, func(i int, name string) { p.lead[i].name = name })
	c.flyMany(ctx, p, load, o)
	for i := range trips {
		if t := &trips[i]; t.f != nil {
			t.out, t.err = c.arriveAt(ctx, t, came, load, o)
		}
	}
}

// leaveAll leaves the flights that were not left yet.
func (c *core) leaveAll(trips []trip) {
	for i := range trips {
		if t := &trips[i]; t.f != nil && !t.left {
			t.left = true
			c.s.table.leave(t.f)
		}
	}
}

// manyErrors is what went wrong on the trips, each error once.
func manyErrors(trips []trip) (errs []error) {
	failed := make(map[string][]string) // keys by the text of their error
	for i := range trips {
		err := trips[i].err
		if err == nil || errors.Is(err, ErrNotFound) {
			continue
		}
		text := err.Error()
		if failed[text] == nil {
			errs = append(errs, err)
		}
		failed[text] = append(failed[text], trips[i].key)
	}
	for i, err := range errs {
		errs[i] = manyError(failed[err.Error()], err)
	}
	return errs
}

// manyError says once what may have failed for many keys.
func manyError(keys []string, err error) error {
	if len(keys) == 1 {
		return fmt.Errorf("key %.80q: %w", keys[0], err)
	}
	return fmt.Errorf("%d keys, %.80q among them: %w", len(keys), keys[0], err)
}

// arriveAt waits for one key's flight. If its result may not be shared the key
// is looked up on its own.
func (c *core) arriveAt(ctx context.Context, t *trip, came arrival, load loadFunc, o callConfig) (served, error) {
	instead, ended, err := c.await(ctx, t.f, t.spare)
	t.left = true
	c.s.table.leave(t.f)
	if err != nil || !ended {
		return instead, err
	}
	if t.f.key != t.key || t.f.out.err == errAbandoned || !t.leads && !c.accepts(ctx, t.f, came, t.notices, o) {
		if err := waitFor(ctx, &t.f.left); err != nil {
			return served{}, err
		}
		return c.lookup(ctx, t.key, load, o)
	}
	if !t.leads && t.f.out.err == nil {
		c.ns.stats.shared.Add(1)
	}
	return c.orSpare(&t.f.out, t.spare)
}

// flyMany is fly for the flights that the party leads: one read, unless that was done
// aside, and one load for the rest.
func (c *core) flyMany(ctx context.Context, p *party, load loadFunc, o callConfig) {
	fs := p.lead
	if len(fs) == 0 {
		return
	}
	if c.cfg.localOnly {
		var rest []*flight
		for _, f := range fs {
			if !c.setMeanwhile(f, o) {
				rest = append(rest, f)
			}
		}
		if len(rest) > 0 {
			c.newRun(load, o).start(ctx, rest)
		}
		return
	}
	over := false
	defer func() {
		if !over {
			c.cutOff(p.lead...)
		}
	}()
	fs, rest := c.apart(ctx, fs, o)
	var items []remote.Item
	err := p.err
	if len(fs) > 0 && !p.aside {
		items, err = c.readMany(ctx, fs, o)
	}
	for i, f := range fs {
		switch {
		case err != nil:
			if !c.unread(ctx, f, o, err) {
				rest = append(rest, f)
			}
		case p.aside:
			rest = append(rest, f)
		case items == nil:
			f.offline = true
			rest = append(rest, f)
		case !c.serve(ctx, f, items[i], load, o):
			rest = append(rest, f)
		}
	}
	over = true
	if len(rest) > 0 {
		c.newRun(load, o).start(ctx, rest)
	}
}

// apart ends the remote part of the flights whose server is away, so that those of
// a cluster's other servers need not do without.
func (c *core) apart(ctx context.Context, fs []*flight, o callConfig) (there, offline []*flight) {
	// guard: I8-one-silent-server
	if !c.s.sharded {
		return fs, nil
	}
	for _, f := range fs {
		if a := c.s.conn.of(f.name).current.Load(); a == nil {
			there = append(there, f)
		} else if !c.unread(ctx, f, o, a) {
			offline = append(offline, f)
		}
	}
	return there, offline
}

// readMany reads all flights' keys in one round trip. Without items and error
// the log was changing hands.
func (c *core) readMany(ctx context.Context, fs []*flight, o callConfig) ([]remote.Item, error) {
	for range 3 {
		v, now := c.s.tail.View(), mono.Now()
		for _, f := range fs {
			c.s.table.restart(f, v, now)
		}
		rctx := c.s.request(ctx)
		defer rctx.End()
		names := leasedNames(fs)
		if !o.fresh && c.s.heardAll(v, fs) {
			items, _, err := c.s.conn.Get(rctx, names, nil)
			if err == nil && c.s.movedAny(v, fs) {
				err = c.s.confirm(rctx, names...)
			}
			return items, err
		}
		q := c.s.tail.Query(nil)
		items, d, err := c.s.conn.Get(rctx, names, &q.DeltaQuery)
		if err != nil {
			return nil, err
		}
		done, err := c.s.tail.Apply(rctx, q, d)
		if done && c.s.moved(v, nil) {
			err = c.s.confirm(rctx, names...)
		}
		if done || err != nil {
			return items, err
		}
	}
	return nil, nil
}

// heardAll is heard of all keys.
func (s *Store) heardAll(v *invalidation.View, fs []*flight) bool {
	if !s.heard(v, nil) {
		return false
	}
	for _, f := range fs {
		if s.sharded && !s.heard(v, f.shard) {
			return false
		}
	}
	return true
}

// movedAny is moved of any key.
func (s *Store) movedAny(v *invalidation.View, fs []*flight) bool {
	for _, f := range fs {
		if s.sharded && f.shard.Gone() {
			return true
		}
	}
	return s.moved(v, nil)
}
