package tier

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/invalidation"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier/internal/breaker"
)

// maxEarly is how long before it was sent, by its clock, the server may find that it is when a write arrives: what a
// time service takes back at once.
const maxEarly = 5 * time.Millisecond

// window is when the server of a key performs a write that is sent now and given up at until. By then the server's
// clock says at least what its lower bound says, so a write that arrives later is refused. (By the upper bound, it
// would be performed for as long as the answer took from which the clock is known.)
//
//	A: Set(k, 1) gets no answer, and is given up
//	B: Set(k, 2) is acknowledged
//	the first one arrives
//
// It also is refused before it was sent, by that clock, since that has been set back then:
//
//	the server's clock is set back by an hour
//	the first one arrives, half an hour late
//
// In a cluster it is the clock of the server that has the key. If none is known to, while a slot is moved, it is that
// of the server of the log, and by how much the two differ adds to the upper bound. So it
// does if the client sends it to another server than this, or is sent there. There is no lower bound then: a server that is behind by more than
// maxEarly would refuse everything.
func (s *Store) window(v *invalidation.View, name string, until mono.Time) remote.Window {
	clock := v.Clock()
	if s.sharded {
		of, known := s.conn.Shard(name).Clock()
		if !known {
			return remote.Window{Before: clock.Earliest(until)}
		}
		// guard: G1-clock-of-shard
		clock = of
	}
	// guard: G2-window-begin
	// guard: G1-window-end-lower-bound
	w := remote.Window{NotBefore: clock.Earliest(mono.Now()).Add(-maxEarly), Before: clock.Earliest(until)}
	if !s.sharded {
		w.Connection = v.Connection()
	}
	return w
}

// ensureClock returns a view by whose clock writes of the keys can be bounded: what the server says that they go to, over
// the connection that they go over. After a connection was dialled that is asked first.
//
//	replica: is promoted; its clock is behind that of the primary before
//	A:       Set(k, 1), by the clock of the primary before, is given up, and its time is over
//	B:       Set(k, 2) is acknowledged
//	replica: performs the first, whose time is not over there
func (s *Store) ensureClock(ctx context.Context, names func(yield func(string) bool)) (*invalidation.View, error) {
	if s.sharded {
		var unproven []string
		for name := range names {
			if s.conn.Shard(name).Proof() == 0 && s.conn.Of(name).Current.Load() == nil {
				unproven = append(unproven, name)
			}
		}
		var err error
		if len(unproven) > 0 {
			err = s.conn.Prove(ctx, unproven...)
		}
		return s.tail.View(), err
	}
	for range maxRevalidate {
		v := s.tail.View()
		// guard: G1-clock-of-new-connection
		if v.Proof != 0 || s.conn.OpenOutage() != nil {
			return v, nil // who is away is not written to
		}
		if err := s.tail.CatchUp(ctx); err != nil {
			return nil, err
		}
	}
	return nil, invalidation.ErrUnstable
}

// sendWithinWindow has send send a write of keys with their windows. It is done again if nothing was sent, since the connection
// was dialled meanwhile: the clock is another's then.
func (s *Store) sendWithinWindow(ctx context.Context, names func(yield func(string) bool), send func(v *invalidation.View) error) error {
	for range maxRevalidate {
		v, err := s.ensureClock(ctx, names)
		if err != nil {
			return notAttempted{err}
		}
		if err = send(v); !remote.NotSent(err) || ctx.Err() != nil || s.sharded || !s.connectionChanged(v, nil) {
			return err
		}
	}
	return notAttempted{invalidation.ErrUnstable}
}

// awaitWindowEnd returns at once if err says whether a write was performed, and else when its time is over: what the answer
// was not heard of may be performed until then, whether the caller has given up, the connection was lost, or it only
// is slow. A Set that follows on another connection would be overtaken.
func (s *Store) awaitWindowEnd(ctx context.Context, until mono.Time, err error) {
	// guard: G3-unsent-write
	if err == nil || !remote.Unreachable(err) || breaker.Refused(err) || remote.NotSent(err) {
		return
	}
	// guard: G3-wait-out-window
	time.Sleep(until.Sub(mono.Now()))
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= 0 && ctx.Err() == nil {
		late := time.NewTimer(5 * time.Millisecond) // the caller's context may say so a little later than the clock
		defer late.Stop()
		select {
		case <-ctx.Done():
		case <-late.C:
		}
	}
}

// notAttempted is the error of a write that was not sent, since it could not be declared, or its time not be told.
type notAttempted struct{ error }

func (u notAttempted) Unwrap() error { return u.error }

// writeError is remoteError for what sets or deletes keys: that the caller's context has ended is no more than a part
// of the error, unless nothing was sent.
func writeError(ctx context.Context, doing string, err error) error {
	notSent := breaker.Refused(err) || remote.NotSent(err) || errors.As(err, new(notAttempted))
	if err == nil || ctx.Err() == nil || notSent || errors.Is(err, remote.ErrClosed) || errors.Is(err, remote.ErrFull) {
		return remoteError(ctx, doing, err)
	}
	if !errors.Is(err, ctx.Err()) {
		err = fmt.Errorf("%w: %w", endOf(ctx), err)
	}
	return fmt.Errorf("%w: %s: %w", ErrUnavailable, doing, err)
}
