package core

import (
	"context"
	"time"

	"github.com/tiercache/tiercache/internal/recovery"
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
