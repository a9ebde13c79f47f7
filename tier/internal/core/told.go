package core

import (
	"context"
	"time"

	"github.com/tiercache/tiercache/internal/unawaited"
	"github.com/tiercache/tiercache/tier/internal/inflight"
	"github.com/tiercache/tiercache/tier/internal/traced"
)

// inBackground reports whether no caller waits for the run.
func (l *loadRun) inBackground() bool { return l.Values != nil && unawaited.Is(l.Values) } // there are none before it begins

// fillEvent is that of a value that was loaded.
func (l *loadRun) fillEvent(took time.Duration, err error) Event {
	return Event{Kind: EventFill, Namespace: l.ns.Path, Took: took, Err: err, Background: l.inBackground()}
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
