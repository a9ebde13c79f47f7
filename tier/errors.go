package tier

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/remoteerr"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier/internal/breaker"
	"github.com/tiercache/tiercache/tier/internal/session"
	"github.com/tiercache/tiercache/tier/internal/unavailable"
)

var (
	// ErrNotFound is what a loader returns for "there is no such value". It is
	// remembered for the negative TTL, and Get returns it.
	ErrNotFound = errors.New("tier: not found")

	// ErrClosed is returned by calls after Close.
	ErrClosed = errors.New("tier: store is closed")

	// ErrUnavailable says that the remote tier could not be reached and nothing
	// else could answer. Its text names the server, what was tried and for how long. It matches
	// context.DeadlineExceeded only if the caller's context has ended. A read that has a loader does not return it: the
	// loader answers. After a failed Set or Delete it is not known whether the
	// remote tier was changed, unless the text says that it came too late; it will
	// not be changed any more. A failed invalidation holds in this process, and is
	// sent again in the background.
	ErrUnavailable = errors.New("tier: remote tier unavailable")

	// ErrRecursiveLoad is returned by a Get inside a loader for a key that this
	// very loader (or one that called it) is loading, or whose loader waits for that one:
	// waiting for it would never end. Its text names the keys. It is recognised by the
	// context that the loader was given.
	ErrRecursiveLoad = errors.New("tier: a loader asked for the key it is loading")

	// ErrOverloaded is returned by reads without a value where as many loads run and wait as
	// WithMaxLoads allows, or where too many loaders do not return (WithDetachedLoads).
	ErrOverloaded = errors.New("tier: too many loads")

	// ErrNilLoader is returned by calls that were given no loader.
	ErrNilLoader = errors.New("tier: loader is nil")
)

// LoadPanic is the error of every caller of a load whose loader panicked, or
// whose loader or codec ended its goroutine with runtime.Goexit. (If that was the
// goroutine of a caller, it ends.) It is also their error if a panic of the library's
// own code ended the load: see Stats.Panics. It is not cached.
type LoadPanic struct {
	// Value is what was passed to panic; nil for Goexit, and for the library's own.
	Value any
	// Stack is the loader's, empty where Value is nil.
	Stack []byte
}

func (p *LoadPanic) Error() string {
	if p.Value == nil && len(p.Stack) == 0 {
		return "tier: loader or codec called runtime.Goexit, or a panic of the library ended the load (it is logged)"
	}
	return fmt.Sprintf("tier: loader panicked: %v", p.Value)
}

// Unwrap returns the panic's value if it was an error.
func (p *LoadPanic) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}

// errAbandoned ends a call whose leader gave up before a load had begun; the other
// callers start over. It is never returned to one.
var errAbandoned = errors.New("tier: call abandoned")

// endOf is the error of a call whose ctx has ended: it matches ctx.Err() and
// the cause, which need not match it.
func endOf(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// remoteError turns an error of the remote tier into one that tells the caller
// what to conclude. The end of the caller's own context stays its error.
func (s *Store) remoteError(ctx context.Context, doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("tier: %s: %w", doing, endOf(ctx))
	case errors.Is(err, backend.ErrClosed):
		return ErrClosed
	case errors.Is(err, remote.ErrFull), errors.Is(err, remote.ErrResume):
		return fmt.Errorf("tier: %s: %w", doing, err)
	}
	return s.unanswered(doing).Error(ErrUnavailable, nil, err)
}

// unanswered is a request that was not answered.
func (s *Store) unanswered(doing string) unavailable.Request {
	r := unavailable.Request{Doing: doing, Server: s.cfg.Backend.String(), Limit: s.cfg.Timeout}
	switch doing {
	case "purge": // has no limit of ours
		r.Limit = 0
	case "sync", "invalidate source", "invalidate namespace", "invalidate all": // see session.ChangeContext
		if s.session.Conn.OpenOutage() == nil {
			r.Limit = max(r.Limit, time.Second)
		}
	}
	return r
}

// writeError is remoteError for requests that set or delete keys: if something was sent, the error of the caller's
// context is only a part of the error.
func (s *Store) writeError(ctx context.Context, doing string, err error) error {
	notSent := breaker.Refused(err) || remoteerr.NotSent(err) || errors.As(err, new(session.NotAttempted))
	if err == nil || ctx.Err() == nil || notSent || errors.Is(err, backend.ErrClosed) || errors.Is(err, remote.ErrFull) {
		return s.remoteError(ctx, doing, err)
	}
	return s.unanswered(doing).Error(ErrUnavailable, endOf(ctx), err)
}
