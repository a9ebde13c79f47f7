package core

import (
	"context"
	"time"

	"github.com/tiercache/tiercache/internal/recovery"
	"github.com/tiercache/tiercache/tier/internal/inflight"
	"github.com/tiercache/tiercache/tier/internal/record"
	"github.com/tiercache/tiercache/tier/internal/traced"
)

func (s *Store) tracerPanicked(p any) {
	s.Config.Logger.Error("tiercache: the tracer panicked", "panic", recovery.Describe(p))
}

// traceChange tells the tracer of a change. done is called with its error.
func (s *Store) traceChange(ctx context.Context, name, namespace string, keys int) (traceCtx context.Context, done func(err error)) {
	if !s.Config.Trace.On() {
		return ctx, func(error) {}
	}
	begun := time.Now()
	ctx = s.Config.Trace.Start(ctx, traced.Op{Name: name, Namespace: namespace, Keys: keys})
	return ctx, func(err error) { s.Config.Trace.End(ctx, traced.Outcome{Err: err, Took: time.Since(begun)}) }
}

// traceLoad returns the context that the loader runs under.
func (l *loadRun) traceLoad(fs []*inflight.Call) context.Context {
	if !l.s.Config.Trace.On() {
		return &l.LoadContext
	}
	ctx := l.s.Config.Trace.Start(&l.LoadContext, traced.Op{Name: "load", Namespace: l.ns.Path, Keys: len(fs)})
	for _, f := range fs {
		f.Loaded = &ctx
	}
	return ctx
}

// told tells the tracer and the observer of a load, the callers of which have been answered.
func (l *loadRun) told(took time.Duration, err error) {
	l.s.Loading.Add(-1)
	defer l.s.observe(Event{Kind: EventLoad, Namespace: l.ns.Path, Took: took, Err: err, Background: l.inBackground()})
	l.s.Config.Trace.End(l.traced, traced.Outcome{Err: err, Took: took})
}

// awaitTraced is await, of which the tracer is told where a caller waits for the call of another.
func (c *Cache) awaitTraced(ctx context.Context, f *inflight.Call, leads bool, since snapshot, fallback *record.Item) (instead inflight.Served, ended bool, err error) {
	if leads || !c.s.Config.Trace.On() || f.Finished() {
		return c.await(ctx, f, leads, since, fallback)
	}
	begun := time.Now()
	tctx := c.s.Config.Trace.Start(ctx, traced.Op{Name: "wait", Namespace: c.ns.Path, Keys: 1})
	instead, ended, err = c.await(ctx, f, leads, since, fallback)
	out := traced.Outcome{Err: err, Took: time.Since(begun)}
	if ended { // else the call still belongs to its leader
		if out.Err = f.Out.Err; f.Loaded != nil {
			out.Leader = *f.Loaded
		}
	}
	c.s.Config.Trace.End(tctx, out)
	return instead, ended, err
}
