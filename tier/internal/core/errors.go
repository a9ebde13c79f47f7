package core

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/joined"
	"github.com/tiercache/tiercache/internal/remoteerr"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier/internal/breaker"
	"github.com/tiercache/tiercache/tier/internal/session"
	"github.com/tiercache/tiercache/tier/internal/unavailable"
)

// What package tier says of them holds.
var (
	ErrNotFound      = errors.New("tier: not found")
	ErrClosed        = errors.New("tier: store is closed")
	ErrUnavailable   = errors.New("tier: remote tier unavailable")
	ErrRecursiveLoad = errors.New("tier: a loader asked for the key it is loading")
	ErrOverloaded    = errors.New("tier: too many loads")
)

// errAbandoned ends a call whose leader gave up before a load had begun; the other
// callers start over. It is never returned to one.
var errAbandoned = errors.New("tier: call abandoned")

// joinDistinct joins errors, of those with one text the first: all keys of a request may have failed for one reason.
func joinDistinct(errs []error) error {
	said := make(map[string]bool)
	var out []error
	for _, err := range errs {
		// guard: one-error-for-one-reason
		if err != nil && !said[err.Error()] {
			said[err.Error()] = true
			out = append(out, err)
		}
	}
	return joined.Errors(out...)
}

// endOf is the error of a call whose ctx has ended: it matches ctx.Err() and
// the cause, which need not match it.
func endOf(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// RemoteError turns an error of the remote tier into one that tells the caller
// what to conclude. The end of the caller's own context stays its error.
func (s *Store) RemoteError(ctx context.Context, doing string, err error) error {
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
	r := unavailable.Request{Doing: doing, Server: s.Config.Backend.String(), Limit: s.Config.Timeout}
	switch doing {
	case "purge": // has no limit of ours
		r.Limit = 0
	case "sync", "invalidate source", "invalidate namespace", "invalidate all": // see session.ChangeContext
		if s.Session.Conn.OpenOutage() == nil {
			r.Limit = max(r.Limit, time.Second)
		}
	}
	return r
}

// writeError is RemoteError for requests that set or delete keys: if something was sent, the error of the caller's
// context is only a part of the error.
func (s *Store) writeError(ctx context.Context, doing string, err error) error {
	notSent := breaker.Refused(err) || remoteerr.NotSent(err) || errors.As(err, new(session.NotAttempted))
	if err == nil || ctx.Err() == nil || notSent || errors.Is(err, backend.ErrClosed) || errors.Is(err, remote.ErrFull) {
		return s.RemoteError(ctx, doing, err)
	}
	return s.unanswered(doing).Error(ErrUnavailable, endOf(ctx), err)
}
