package tier

import (
	"context"
	"time"

	"github.com/tiercache/tiercache/internal/recovery"
	"github.com/tiercache/tiercache/tier/internal/inflight"
	"github.com/tiercache/tiercache/tier/internal/record"
	"github.com/tiercache/tiercache/tier/internal/traced"
)

// Tracer is told when a store begins and ends something that takes time: a request to the remote
// tier, a load, a change, the wait for another caller's load. Not of a local hit.
//
// Its methods are called in the goroutine that does the work, without a lock, and must be quick.
// They must not read or write the store: what they are told of may be what they would wait for.
type Tracer interface {
	// Start returns ctx, or a context derived from it, which End is given. A loader runs under it, and a Set, Delete or
	// invalidation sends its requests under it. ctx has the values of the caller that the work is done for.
	Start(ctx context.Context, op Op) context.Context
	// End is called once for each Start. That of a load comes when its callers have been answered.
	End(ctx context.Context, out Outcome)
}

// Op is what a [Tracer] is told of.
type Op struct {
	// Name is "load" (one run of a loader), "wait" (for a call that another caller leads), "set", "delete",
	// "invalidate source", "invalidate namespace" or "invalidate all". Of requests to the remote tier
	// (Remote) it is "get", "lease", "extend", "release", "discard" (an entry of which the lease is held), "stage" (a
	// large value, ahead of its write), "write", "delete", "delta" (the changes since the last), "append" (to the change
	// log), "renew" (that log), "prove", "info" or "purge". More names may come.
	Name   string
	Remote bool
	// Namespace is that of the first key; empty where there is none.
	Namespace string
	// Keys is how many keys there are, or for changes and "append" scopes.
	Keys int
	// Server is that which a request goes to, or where several of them may be meant all that are known, without secrets;
	// empty unless Remote.
	Server string
	// Background: no caller waits for it.
	Background bool
}

// Outcome is how what an [Op] describes has ended.
type Outcome struct {
	// Err is nil if it went well; ErrNotFound of a load of one key is an answer. A request of which only some keys failed has
	// the error of one.
	Err error
	// Took is the time from its beginning to its end, which may be before the call of End.
	Took time.Duration
	// Found is how many keys of a "get" or "lease" have an entry.
	Found int
	// Leader is the context, as Start returned it, of the load that a "wait" was answered by; nil if it was not
	// answered by a load of this process.
	Leader context.Context
}

// WithTracer has t told of requests to the remote tier, loads and changes. Without it, and on a
// local hit in any case, nothing is done for it. Default none.
func WithTracer(t Tracer) Option {
	return storeOption(func(c *storeConfig) {
		c.Trace.Tracer = nil
		if t != nil {
			c.Trace.Tracer = tracer{t}
		}
	})
}

// tracer has the methods of a Tracer for packages below this one.
type tracer struct{ t Tracer }

func (t tracer) Start(ctx context.Context, op traced.Op) context.Context {
	return t.t.Start(ctx, Op(op))
}
func (t tracer) End(ctx context.Context, out traced.Outcome) { t.t.End(ctx, Outcome(out)) }

func (s *Store) tracerPanicked(p any) {
	s.cfg.Logger.Error("tiercache: the tracer panicked", "panic", recovery.Describe(p))
}

// traceChange tells the tracer of a change. done is called with its error.
func (s *Store) traceChange(ctx context.Context, name, namespace string, keys int) (traceCtx context.Context, done func(err error)) {
	if !s.cfg.Trace.On() {
		return ctx, func(error) {}
	}
	begun := time.Now()
	ctx = s.cfg.Trace.Start(ctx, traced.Op{Name: name, Namespace: namespace, Keys: keys})
	return ctx, func(err error) { s.cfg.Trace.End(ctx, traced.Outcome{Err: err, Took: time.Since(begun)}) }
}

// traceLoad returns the context that the loader runs under.
func (l *loadRun) traceLoad(fs []*inflight.Call) context.Context {
	if !l.s.cfg.Trace.On() {
		return &l.LoadContext
	}
	ctx := l.s.cfg.Trace.Start(&l.LoadContext, traced.Op{Name: "load", Namespace: l.ns.Path, Keys: len(fs)})
	for _, f := range fs {
		f.Loaded = ctx
	}
	return ctx
}

// told tells the tracer and the observer of a load, the callers of which have been answered.
func (l *loadRun) told(took time.Duration, err error) {
	l.s.loading.Add(-1)
	defer l.s.observe(Event{Kind: EventLoad, Namespace: l.ns.Path, Took: took, Err: err, Background: l.inBackground()})
	l.s.cfg.Trace.End(l.traced, traced.Outcome{Err: err, Took: took})
}

// awaitTraced is await, of which the tracer is told where a caller waits for the call of another.
func (c *core) awaitTraced(ctx context.Context, f *inflight.Call, leads bool, since snapshot, fallback *record.Item) (instead inflight.Served, ended bool, err error) {
	if leads || !c.s.cfg.Trace.On() || f.Finished() {
		return c.await(ctx, f, leads, since, fallback)
	}
	begun := time.Now()
	tctx := c.s.cfg.Trace.Start(ctx, traced.Op{Name: "wait", Namespace: c.ns.Path, Keys: 1})
	instead, ended, err = c.await(ctx, f, leads, since, fallback)
	out := traced.Outcome{Err: err, Took: time.Since(begun)}
	if ended { // else the call still belongs to its leader
		out.Err, out.Leader = f.Out.Err, f.Loaded
	}
	c.s.cfg.Trace.End(tctx, out)
	return instead, ended, err
}
