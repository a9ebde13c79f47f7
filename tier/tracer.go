package tier

import (
	"context"
	"time"

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
