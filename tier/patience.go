package tier

import (
	"context"
	"time"

	"github.com/tiercache/tiercache/internal/bound"
	"github.com/tiercache/tiercache/internal/mono"
)

// patience is a context that ends when the requests which share it have waited
// long enough, so that none needs a context and a timer of its own.
type patience struct {
	context.Context
	cancel context.CancelFunc
	until  mono.Time // requests that begin later get another
}

// waits is how long a request may be waited for. It is shorter than the remote
// timeout by what may pass until its caller knows and asks the loader: an idle Go
// process waits for timers in whole milliseconds, and so finds them up to one late.
func (c *storeConfig) waits() time.Duration {
	return c.timeout - min(c.timeout/16, 2*time.Millisecond)
}

// waitsAtLeast is how long a request is waited for that shares the patience of the
// earliest.
func (c *storeConfig) waitsAtLeast() time.Duration { return c.timeout - c.timeout/8 }

// End implements [requestContext]. Others have the same.
func (p *patience) End() {}

// requestContext is to be ended when the request is.
type requestContext interface {
	context.Context
	End()
}

// request bounds one request to the remote tier: it is given up before the remote
// timeout is over, by up to an eighth of it.
func (s *Store) request(ctx context.Context) requestContext {
	p := s.patience.Load()
	if p == nil || mono.Now() >= p.until {
		p = s.newPatience(p)
	}
	if ctx.Done() == nil {
		return p
	}
	return bound.New(ctx, p, errPatience)
}

func (s *Store) newPatience(old *patience) *patience {
	p := &patience{until: mono.Now().Add(s.cfg.timeout / 16)}
	p.Context, p.cancel = context.WithTimeoutCause(context.Background(), s.cfg.waits(), errPatience)
	if !s.patience.CompareAndSwap(old, p) {
		p.cancel()
		return s.patience.Load()
	}
	return p
}

// endPatience stops the timer of the latest; those before it end by themselves.
func (s *Store) endPatience() {
	if p := s.patience.Load(); p != nil {
		p.cancel()
	}
}
