package session

import (
	"context"
	"time"

	"github.com/tiercache/tiercache/internal/bound"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/tier/internal/breaker"
)

// requestDeadline is a context that ends at the deadline of the requests that share it,
// so that a request needs neither a context nor a timer of its own.
type requestDeadline struct {
	context.Context
	cancel context.CancelFunc
	until  mono.Time // requests that begin later get another one
	ends   mono.Time // no later than the context ends

	silence time.Duration
}

// waits is how long a request may be waited for. It is shorter than the remote
// timeout, by the time until its caller is woken and starts the loader: an idle Go
// process waits for timers in whole milliseconds, so they can be one millisecond late.
func (s *Session) waits() time.Duration {
	// guard: I8-request-ends-within-budget
	return s.Cfg.Timeout - min(s.Cfg.Timeout/16, 2*time.Millisecond)
}

// Silence implements [bound.Patient]: a request goes on beyond its end while the server sends or takes as much as it can.
func (p *requestDeadline) Silence() time.Duration { return p.silence }

// End implements [requestContext]. It does nothing, since other requests share p.
func (p *requestDeadline) End() {}

// requestContext is the context of one request; End is called when the request ends.
type requestContext interface {
	context.Context
	End()
}

// Request bounds one request to the remote tier: it is given up before the remote
// timeout has passed, by up to an eighth of it.
func (s *Session) Request(ctx context.Context) requestContext {
	p := s.currentDeadline(mono.Now())
	if ctx.Done() == nil && !s.Cfg.Trace.On() { // else the tracer has the caller's values
		return p
	}
	return bound.New(ctx, p, breaker.ErrRemoteTimeout)
}

// WriteRequest is request for requests that set or delete keys. No server performs one after until, which is no later
// than the end of the request and than the caller's deadline: see window and AwaitWindowEnd. A cancellation does not
// shorten that, since it is not known when the request is sent.
func (s *Session) WriteRequest(ctx context.Context) (rctx requestContext, until mono.Time) {
	now := mono.Now()
	p := s.currentDeadline(now)
	if deadline, ok := ctx.Deadline(); ok {
		// guard: G1-window-ends-with-deadline
		if own := now.Add(time.Until(deadline)); own < p.ends {
			// guard: I8-short-deadline-is-no-failure
			return bound.Until(ctx, deadline, context.DeadlineExceeded), own
		}
	}
	if ctx.Done() == nil && !s.Cfg.Trace.On() {
		// guard: I1-write-window-end
		return p, p.ends
	}
	return bound.New(ctx, p, breaker.ErrRemoteTimeout), p.ends
}

func (s *Session) currentDeadline(now mono.Time) *requestDeadline {
	p := s.deadline.Load()
	if p == nil || now >= p.until {
		p = s.newDeadline(p)
	}
	return p
}

func (s *Session) newDeadline(old *requestDeadline) *requestDeadline {
	now := mono.Now()
	p := &requestDeadline{until: now.Add(s.Cfg.Timeout / 16), ends: now.Add(s.waits()), silence: s.waits()}
	p.Context, p.cancel = context.WithTimeoutCause(context.Background(), s.waits(), breaker.ErrRemoteTimeout)
	if !s.deadline.CompareAndSwap(old, p) {
		p.cancel()
		return s.deadline.Load()
	}
	return p
}

// EndDeadline stops the timer of the latest requestDeadline; earlier ones end by
// themselves.
func (s *Session) EndDeadline() {
	if p := s.deadline.Load(); p != nil {
		p.cancel()
	}
}
