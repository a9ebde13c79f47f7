// Package profile labels the goroutines of loaders, so that a CPU or goroutine profile tells the namespaces apart.
package profile

import (
	"context"
	"runtime/pprof"
	"sync/atomic"
)

// Label is the name of the label; its value is the namespace.
const Label = "tiercache"

// Labels are those of a namespace's loads.
type Labels struct {
	alone atomic.Pointer[context.Context]
}

// Set labels this goroutine, whose caller's context has the labels that are kept as well.
func (l *Labels) Set(caller context.Context, namespace string) {
	more := false
	pprof.ForLabels(caller, func(string, string) bool {
		more = true
		return false
	})
	if more {
		pprof.SetGoroutineLabels(pprof.WithLabels(caller, pprof.Labels(Label, namespace)))
		return
	}
	// Most callers have none: then all loads share what was made for the first.
	ctx := l.alone.Load()
	if ctx == nil {
		made := pprof.WithLabels(context.Background(), pprof.Labels(Label, namespace))
		ctx = &made
		l.alone.Store(ctx)
	}
	pprof.SetGoroutineLabels(*ctx)
}
