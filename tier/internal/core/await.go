package core

import (
	"context"
	"fmt"
	"time"

	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier/internal/config"
	"github.com/tiercache/tiercache/tier/internal/inflight"
	"github.com/tiercache/tiercache/tier/internal/loads"
	"github.com/tiercache/tiercache/tier/internal/record"
	"github.com/tiercache/tiercache/tier/internal/traced"
)

func waitFor(ctx context.Context, e *inflight.Event) error {
	select {
	case <-e.Wait():
		return nil
	case <-ctx.Done():
		return endOf(ctx)
	}
}

// await waits for a call to end, for ctx, or for the soft timeout, counted from since, if there is
// a value past its TTL, which is served in that case: the caller's own fallback, or the one that the
// call has read remotely, if the caller may share that.
func (c *Cache) await(ctx context.Context, f *inflight.Call, leads bool, since snapshot, fallback *record.Item, o config.Call) (instead inflight.Served, ended bool, err error) {
	// First: what a caller has is not given up because its context has ended by now.
	// guard: answer-before-end-of-context
	if f.Finished() {
		return inflight.Served{}, true, nil
	}
	done, err := awaits(ctx, f)
	if err != nil {
		return inflight.Served{}, false, err
	}
	defer done()
	var closed <-chan struct{}
	if !leads {
		// What waits for itself, as a codec that reads the key of its value, is not to be waited for by Close.
		// guard: close-ends-waiting
		closed = c.s.Goroutines.Ctx.Done()
	}
	var soft <-chan time.Time // never, without a soft timeout
	if c.cfg.SoftTimeout != 0 {
		soft = time.After(c.cfg.SoftTimeout - mono.Now().Sub(since.began))
	}
	for looked := false; ; {
		select {
		case <-f.Done.Wait():
			return inflight.Served{}, true, nil
		case <-closed:
			return inflight.Served{}, false, ErrClosed
		case <-ctx.Done():
			return inflight.Served{}, false, endOf(ctx)
		case <-soft:
			it, refused := c.newerFallback(f, leads, since, fallback, o)
			if it == nil && refused && !looked {
				// guard: refused-fallback-is-read
				looked, it = true, c.readFallback(ctx, f, o)
			}
			if it != nil && c.stillServable(it, c.cfg.StaleWindow()) {
				c.s.Table.Detach(f)
				late := mono.Now() >= it.Meta().Fresh
				if late {
					c.ns.Stats.Stale.Add(1)
				}
				return inflight.Served{It: it, Origin: inflight.FromLocal, Stale: late}, false, nil
			}
			soft = time.After(max(c.cfg.SoftTimeout/2, time.Millisecond)) // the call may be about to find one
		}
	}
}

// newerFallback returns the newer of a caller's fallback and of what its call has found remotely. refused says that the call has found
// something that is not for this caller.
//
//	A: leads a call, and reads 1 past its TTL
//	B: sets the key to 2
//	C: begins, and must not be given 1
//
// A caller that wants the value fresh is given nothing that another one has read: of what had changed before it began this process may
// not have been told yet.
func (c *Cache) newerFallback(f *inflight.Call, leads bool, since snapshot, fallback *record.Item, o config.Call) (it *record.Item, refused bool) {
	found := f.Found.Load()
	if found == nil || !c.ofType(found.It) {
		return fallback, false
	}
	// guard: I4-fresh-read-is-given-nothing-found
	// guard: R10-found-older-than-change
	if !leads && (o.Fresh || changedSince(found, since) || !c.provenSince(found, since, false)) {
		return fallback, true
	}
	if fallback != nil && fallback.Meta().Born > found.It.Meta().Born {
		return fallback, false
	}
	return found.It, false
}

// readFallback reads the remote tier for a caller whose call has found a value past its TTL that this caller may not share:
//
//	B: begins, in a store that was idle, and knows of no change of the last seconds
//	A: has begun a call before; its read takes the changes along, and finds 1 past its TTL; its loader takes long
//	B: joins the call, whose read is of before B knew what has changed
func (c *Cache) readFallback(ctx context.Context, f *inflight.Call, o config.Call) *record.Item {
	if c.awaitStored(ctx, f.H) != nil {
		return nil
	}
	v := c.s.Session.Tail.View()
	// guard: I4-fresh-fallback-asks-delta
	stored, done, err := c.s.Session.ReadOne(ctx, c.ns.RemoteName(f.H), o.Fresh, v)
	if err != nil {
		c.countReadError(ctx, err)
	}
	if err != nil || !done {
		return nil
	}
	it, _, _ := c.open(ctx, &storedValue{key: f.Key, stored: stored, Basis: inflight.BasisOf(v), now: mono.Now()})
	if it == nil || it.Negative {
		return nil
	}
	it.Release(c.s.Session.Tail)
	c.removeOtherVersions(f.H, it, nil)
	return it
}

// awaitStored waits until what was loaded for h is stored as well, if that is under way.
func (c *Cache) awaitStored(ctx context.Context, h local.Key) error {
	if e := c.s.Table.Storing(h); e != nil {
		return waitFor(ctx, e)
	}
	return nil
}

// awaits notes that the loader to which ctx was given waits for f, until done is called. It returns an error
// if f waits for that loader.
func awaits(ctx context.Context, f *inflight.Call) (done func(), err error) {
	in := inflight.LoadOf(ctx)
	if in == nil {
		return func() {}, nil
	}
	done, cycle := in.Await(&f.Target)
	if cycle != nil {
		return nil, fmt.Errorf("%w: %s", ErrRecursiveLoad, loads.Describe(cycle))
	}
	return done, nil
}

// awaitTraced is await, of which the tracer is told where a caller waits for the call of another.
func (c *Cache) awaitTraced(ctx context.Context, f *inflight.Call, leads bool, since snapshot, fallback *record.Item, o config.Call) (instead inflight.Served, ended bool, err error) {
	if leads || !c.s.Config.Trace.On() || f.Finished() {
		return c.await(ctx, f, leads, since, fallback, o)
	}
	begun := time.Now()
	tctx := c.s.Config.Trace.Start(ctx, traced.Op{Name: "wait", Namespace: c.ns.Path, Keys: 1})
	instead, ended, err = c.await(ctx, f, leads, since, fallback, o)
	out := traced.Outcome{Err: err, Took: time.Since(begun)}
	if ended { // else the call still belongs to its leader
		if out.Err = f.Out.Err; f.Loaded != nil {
			out.Leader = *f.Loaded
		}
	}
	c.s.Config.Trace.End(tctx, out)
	return instead, ended, err
}
