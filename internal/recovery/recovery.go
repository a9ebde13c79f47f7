// Package recovery keeps a panic of this library's own code from ending the process that
// uses it: each of its goroutines, timers and callbacks recovers what panics in it, and
// makes good what that may have left half done. docs/goroutines.md says what that is for
// each.
package recovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// ErrPanicked is the error of what a panic has ended.
var ErrPanicked = errors.New("tiercache: a panic in its own code ended this (the log has where)")

// Panics counts panics and logs them. A nil Panics recovers them all the same.
type Panics struct {
	log    *slog.Logger
	count  atomic.Int64
	logged atomic.Int64 // when, in ns since the epoch
}

// New returns a Panics that logs to l. What l itself panics with is counted, and lost.
func New(l *slog.Logger) *Panics {
	p := &Panics{}
	p.log = p.Logger(l)
	return p
}

// Count is how many panics there were.
func (p *Panics) Count() int64 { return p.count.Load() }

// Recover is to be deferred. It recovers a panic of the function that defers it, and calls
// each of then, which are to make good what was left half done and may panic themselves.
// where says what was going on. Without a panic, or at the end of the goroutine by
// runtime.Goexit, it does nothing.
func (p *Panics) Recover(where string, then ...func()) {
	v := recover()
	if v == nil {
		return
	}
	p.Report(where, v)
	for _, f := range then {
		p.call(where, f)
	}
}

func (p *Panics) call(where string, f func()) {
	defer func() {
		if v := recover(); v != nil {
			p.Report(where+", making good a panic", v)
		}
	}()
	f()
}

// pause is the time between two log lines: what panics with each invalidation would fill a disk.
const pause = time.Second

// Report counts and logs what was recovered.
func (p *Panics) Report(where string, v any) {
	if p == nil {
		return
	}
	n, now, last := p.count.Add(1), time.Now().UnixNano(), p.logged.Load()
	if last != 0 && now-last < int64(pause) || !p.logged.CompareAndSwap(last, now) {
		return
	}
	p.log.Error("tiercache: recovered from a panic in its own code; local copies are not believed until they have been read again",
		"in", where, "panic", Describe(v), "panics", n, "stack", string(debug.Stack()))
}

// Describe says what was panicked with. Keys and values are kept out of logs, so it is no
// more than the type of what may hold one.
func Describe(v any) string {
	if err, ok := v.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("%T", v)
}

// Logger returns a logger to l that never panics.
func (p *Panics) Logger(l *slog.Logger) *slog.Logger { return slog.New(handler{l.Handler(), p}) }

// handler is a slog.Handler of which a panic is counted, and the record lost.
type handler struct {
	slog.Handler
	p *Panics
}

func (h handler) caught() {
	if v := recover(); v != nil && h.p != nil {
		h.p.count.Add(1)
	}
}

// Enabled implements [slog.Handler].
func (h handler) Enabled(ctx context.Context, l slog.Level) bool {
	defer h.caught()
	return h.Handler.Enabled(ctx, l)
}

// Handle implements [slog.Handler].
func (h handler) Handle(ctx context.Context, r slog.Record) error {
	defer h.caught()
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements [slog.Handler].
func (h handler) WithAttrs(attrs []slog.Attr) (out slog.Handler) {
	out = h
	defer h.caught()
	return handler{h.Handler.WithAttrs(attrs), h.p}
}

// WithGroup implements [slog.Handler].
func (h handler) WithGroup(name string) (out slog.Handler) {
	out = h
	defer h.caught()
	return handler{h.Handler.WithGroup(name), h.p}
}
