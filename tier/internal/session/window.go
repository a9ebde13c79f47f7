package session

import (
	"context"
	"time"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/internal/remoteerr"
	"github.com/tiercache/tiercache/tier/internal/breaker"
)

// maxEarly is by how much the server's clock may be behind the time at which a write was sent when the write arrives:
// as much as a time service sets a clock back in one step.
const maxEarly = 5 * time.Millisecond

// Window returns the time, by the server's clock, in which the server of a key performs a write that is sent now and
// given up at until. At until the server's clock shows at least its lower bound, so a write that arrives later is
// refused. (With the upper bound, writes would be performed later, by as much as the delta read took that told the
// clock.)
//
//	A: Set(k, 1) gets no answer, and is given up
//	B: Set(k, 2) is acknowledged
//	server: receives the first one
//
// A write is also refused if it arrives before it was sent, by that clock: the clock has then been set back.
//
//	A: Set(k, 1) gets no answer, and is given up
//	server: its clock is set back by an hour
//	B: Set(k, 2) is acknowledged
//	server: receives the first one, half an hour late
//
// In a cluster it is the clock of the server that has the key. If no server is known to have it, while a slot is moved,
// it is the clock of the log's server, and the difference between the two clocks adds to the upper bound. So it does if
// the client sends the write to another server, or is redirected to one. There is no lower bound then: a server whose
// clock is behind by more than maxEarly would refuse all writes.
func (s *Session) Window(v *changelog.View, name string, until mono.Time) backend.Window {
	clock := v.Clock()
	if s.Sharded() {
		of, known := s.Conn.Shard(name).Clock()
		if !known {
			return backend.Window{Before: clock.Earliest(until)}
		}
		// guard: G1-clock-of-shard
		clock = of
	}
	// guard: G2-window-begin
	// guard: G1-window-end-lower-bound
	w := backend.Window{NotBefore: clock.Earliest(mono.Now()).Add(-maxEarly), Before: clock.Earliest(until)}
	if !s.Sharded() {
		w.Connection = v.Connection()
	}
	return w
}

// ensureClock returns a view with the clock by which writes of the keys can be bounded: the clock of the server that they
// are sent to, over the connection that they are sent over. After a new connection was made, it asks for that clock first.
//
//	replica: is promoted; its clock is behind that of the primary before
//	A:       Set(k, 1), with a window by the clock of the primary before, is given up; the window has ended
//	B:       Set(k, 2) is acknowledged
//	replica: performs the first, since the window has not ended by its clock
//
// After an idle time it reads the log first, so that what is lost in a server after this write is found out by what
// that read has told, as at other times:
//
//	server: its machine is saved
//	A:      is idle, and sets a key; what it knows of the server is from before
//	server: is set back; its counters are ahead of those that A knows
func (s *Session) ensureClock(ctx context.Context, names func(yield func(string) bool)) (*changelog.View, error) {
	// guard: idle-without-writes
	s.Activity.Add(1)
	idle := s.Tail.Idle() && s.Tail.View().Age(mono.Now()) > s.Cfg.Heartbeat
	// guard: I6-read-log-before-write-after-idling
	if idle && s.Conn.OpenOutage() == nil {
		if err := s.Tail.CatchUp(ctx); err != nil {
			return nil, err
		}
	}
	if s.Sharded() {
		var unproven []string
		for name := range names {
			if (idle || s.Conn.Shard(name).Proof() == 0) && s.Conn.Of(name).Current.Load() == nil {
				unproven = append(unproven, name)
			}
		}
		var err error
		if len(unproven) > 0 {
			err = s.Conn.Prove(ctx, unproven...)
		}
		return s.Tail.View(), err
	}
	for range maxRevalidate {
		v := s.Tail.View()
		// guard: G1-clock-of-new-connection
		if v.Proof != 0 || s.Conn.OpenOutage() != nil {
			return v, nil // the breaker refuses writes to a server that is away
		}
		if err := s.Tail.CatchUp(ctx); err != nil {
			return nil, err
		}
	}
	return nil, changelog.ErrUnstable
}

// SendWithinWindow calls send with the view for the windows of the keys. It calls it again if nothing was sent because
// another connection was made meanwhile: the clock can be another one then.
func (s *Session) SendWithinWindow(ctx context.Context, names func(yield func(string) bool), send func(v *changelog.View) error) error {
	for range maxRevalidate {
		v, err := s.ensureClock(ctx, names)
		if err != nil {
			return NotAttempted{Err: err}
		}
		if err = send(v); !remoteerr.NotSent(err) || ctx.Err() != nil || s.Sharded() || !s.ConnectionChanged(v, nil) {
			return err
		}
	}
	return NotAttempted{Err: changelog.ErrUnstable}
}

// AwaitWindowEnd returns at once if err tells whether a write was performed, and else when its window has ended: a write
// without an answer may be performed until then, whether the caller has given up, the connection was lost, or the server
// is slow. If the caller returned sooner, the write could be performed after a later Set over another connection.
func (s *Session) AwaitWindowEnd(ctx context.Context, until mono.Time, err error) {
	// guard: G3-unsent-write
	if err == nil || !remoteerr.Unreachable(err) || breaker.Refused(err) || remoteerr.NotSent(err) {
		return
	}
	// guard: G3-wait-out-window
	time.Sleep(until.Sub(mono.Now()))
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= 0 && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond): // the caller's context may end a little later than its deadline
		}
	}
}

// NotAttempted is the error of a write that was not sent, since its namespace could not be declared, or its window not
// be computed.
type NotAttempted struct{ Err error }

func (e NotAttempted) Error() string { return e.Err.Error() }

func (e NotAttempted) Unwrap() error { return e.Err }
