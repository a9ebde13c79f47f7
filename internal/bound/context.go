// Package bound makes contexts of requests that end with the caller's context, or with a
// limit that many requests share.
//
// [context.WithDeadlineCause] sets a timer for each request, makes five allocations, and
// registers with the caller's context: with 32 callers, a ninth of the cost of a read of
// the remote tier. A goroutine that waits for an answer can wait for two contexts instead.
package bound

import (
	"context"
	"sync/atomic"
	"time"
)

// Context has the values of the caller's context.
type Context struct {
	context.Context                    // the caller's
	limit           context.Context    // has a deadline
	why             error              // the cause of its end
	stop            context.CancelFunc // ends the limit, if no other context shares it; or nil

	joined atomic.Pointer[joined] // nil until the first call of Done
	ending atomic.Pointer[ending] // nil until the end was seen
}

// ending is why a context has ended. It does not change.
type ending struct{ err, cause error }

// joined is a context of the standard library.
type joined struct {
	context.Context
	cancel context.CancelFunc
}

// New returns a context that ends with caller's, or with limit, which has a deadline;
// why is the cause then.
func New(caller, limit context.Context, why error) *Context {
	return &Context{Context: caller, limit: limit, why: why}
}

// Patient is a limit that is a bound for silence: a request that is answered meanwhile goes on beyond it.
type Patient interface {
	context.Context
	// Silence is for how long nothing may come.
	Silence() time.Duration
}

// Silence returns for how long a request with ctx may be without progress, and the context of its caller, which ends it in any
// case; 0 and ctx if its deadline is fixed.
func Silence(ctx context.Context) (d time.Duration, caller context.Context) {
	switch c := ctx.(type) {
	case *Context:
		if limit, ok := c.limit.(Patient); ok {
			return limit.Silence(), c.Context
		}
	case Patient:
		return c.Silence(), context.Background()
	}
	return 0, ctx
}

// Ended returns why no request is to be begun with ctx, or nil: its caller has gone, or its deadline has passed, if that is
// fixed. A request that is begun later than others with one limit has its own silence.
func Ended(ctx context.Context) error {
	_, caller := Silence(ctx)
	return caller.Err()
}

// Until is New with a limit of its own, which ends at deadline.
func Until(caller context.Context, deadline time.Time, why error) *Context {
	limit, stop := context.WithDeadlineCause(context.Background(), deadline, why)
	return &Context{Context: caller, limit: limit, why: why, stop: stop}
}

// Limit returns the limit of ctx, without the end of the caller's context: for requests that were sent, and whose answers
// are awaited even if the caller gives up. A context that is not of this package is returned as it is.
func Limit(ctx context.Context) context.Context {
	if c, ok := ctx.(*Context); ok {
		return c.limit
	}
	return ctx
}

// Ends returns the channels that are closed when the caller's context ends, and when the limit does.
func (c *Context) Ends() (caller, limit <-chan struct{}) { return c.Context.Done(), c.limit.Done() }

// Deadline implements [context.Context].
func (c *Context) Deadline() (time.Time, bool) {
	at, _ := c.limit.Deadline()
	if own, ok := c.Context.Deadline(); ok && own.Before(at) {
		at = own
	}
	return at, true
}

// Done implements [context.Context]. The first call costs as much as New saves.
func (c *Context) Done() <-chan struct{} {
	if j := c.joined.Load(); j != nil {
		return j.Done()
	}
	at, _ := c.limit.Deadline()
	// guard: limit-has-cause-of-server
	ctx, cancel := context.WithDeadlineCause(c.Context, at, c.why)
	j := &joined{ctx, cancel}
	if !c.joined.CompareAndSwap(nil, j) {
		cancel()
		j = c.joined.Load()
	}
	return j.Done()
}

// Err implements [context.Context].
func (c *Context) Err() error {
	if e := c.ended(); e != nil {
		return e.err
	}
	return nil
}

func (c *Context) ended() *ending {
	if e := c.ending.Load(); e != nil {
		return e
	}
	if j := c.joined.Load(); j != nil {
		// guard: context-ends-with-either
		if err := j.Err(); err != nil {
			return c.ends(err, context.Cause(j.Context))
		}
	} // its timer may fire later than the limit's
	caller, limit := c.Context.Err(), c.limit.Err()
	// guard: earlier-deadline-is-cause
	if caller != nil && (limit == nil || !c.limitIsFirst()) {
		return c.ends(caller, context.Cause(c.Context))
	}
	// guard: limit-has-cause
	return c.ends(limit, c.why)
}

// limitIsFirst reports whether the limit's deadline is the earlier one, when both have passed.
func (c *Context) limitIsFirst() bool {
	at, _ := c.limit.Deadline()
	own, ok := c.Context.Deadline()
	return ok && c.Context.Err() == context.DeadlineExceeded && at.Before(own)
}

// ends keeps the end that was seen first: the other may follow.
func (c *Context) ends(err, cause error) *ending {
	if err == nil {
		return nil
	}
	// guard: context-ends-once
	c.ending.CompareAndSwap(nil, &ending{err, cause})
	return c.ending.Load()
}

// End is called when the context is not needed any more.
func (c *Context) End() {
	if j := c.joined.Load(); j != nil {
		j.cancel()
	}
	if c.stop != nil {
		c.stop()
	}
}

// Cause is [context.Cause], which does not know of limits.
func Cause(ctx context.Context) error {
	c, ok := ctx.(*Context)
	if !ok {
		return context.Cause(ctx)
	}
	if e := c.ended(); e != nil {
		return e.cause
	}
	return nil
}
