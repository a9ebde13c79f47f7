package session

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/tiercache/tiercache/tier/internal/breaker"
)

// maxProbePause bounds the time between two probes, and so, with the remote
// timeout, how long a server that is back goes unnoticed.
const maxProbePause = 500 * time.Millisecond

// OnOutageBegin is called when the breaker opens: requests are refused from now on. It may
// run on the reader goroutine of a connection, which must not wait for the logger.
func (s *Session) OnOutageBegin(a *breaker.Outage) {
	// guard: I8-probe-at-once
	s.goroutines.Spawn(func() { s.probe(a) })
	s.goroutines.Spawn(func() { s.tell(a) })
}

// tell logs an outage once it is no longer brief.
func (s *Session) tell(a *breaker.Outage) {
	select {
	case <-time.After(time.Until(a.Since.Add(breaker.Brief))):
	case <-a.Over:
	case <-s.goroutines.Ctx.Done():
	}
	if a.Tell() {
		s.Cfg.Logger.Warn("tiercache: the remote tier does not answer, reads go to their loaders", "error", a.Cause, "since", a.Since)
	}
	if !a.Told() {
		return
	}
	select {
	case <-a.Over:
		s.Cfg.Logger.Info("tiercache: the remote tier answers again", "away", time.Since(a.Since).Round(time.Millisecond), "requests_not_sent", a.NotAsked.Load())
	case <-s.goroutines.Ctx.Done():
	}
}

// OnOutageEnd is called when the breaker closes. It wakes the tail, so that changes that
// could not be recorded need not wait for the next heartbeat.
func (s *Session) OnOutageEnd(*breaker.Outage) {
	if t := s.following.Load(); t != nil {
		// guard: I8-wake-after-outage
		t.Wake()
	}
}

// onRefusal is called when the server begins to refuse requests of a kind, and with nil when it has performed one again. It
// may run on the reader goroutine of a connection.
func (s *Session) onRefusal(k breaker.Kind, err error) {
	s.goroutines.Spawn(func() {
		if err != nil {
			s.Cfg.Logger.Warn("tiercache: the server refuses a kind of request", "kind", k.String(), "error", err)
			return
		}
		s.Cfg.Logger.Info("tiercache: the server performs a kind of request again", "kind", k.String())
	})
}

// probe asks until the server answers again. Heartbeats ask too, but may be hours
// apart. The answer renews the proof as well, so that local copies are served again at
// once. The pauses grow, and are random, so that the processes of a fleet do not all
// ask at the same time.
func (s *Session) probe(a *breaker.Outage) {
	for pause := min(s.Cfg.Timeout, maxProbePause); ; pause = min(2*pause, maxProbePause) {
		select {
		case <-time.After(pause/2 + rand.N(pause/2+1)):
		case <-a.Over:
			return
		case <-s.goroutines.Ctx.Done():
			return
		}
		s.probeOnce(a)
	}
}

// probeOnce asks once. A panic does not keep probe from asking again.
func (s *Session) probeOnce(a *breaker.Outage) {
	defer s.goroutines.Panics.Recover("asking whether a server is back", s.Lost)
	ctx, cancel := context.WithTimeoutCause(s.goroutines.Ctx, s.Cfg.Timeout, breaker.ErrRemoteTimeout)
	defer cancel()
	a.Of.Probe(ctx)
}
