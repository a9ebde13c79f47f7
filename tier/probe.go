package tier

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/tiercache/tiercache/tier/internal/breaker"
)

// maxProbePause bounds the time between two probes, and so, with the remote
// timeout, how long a server that is back goes unnoticed.
const maxProbePause = 500 * time.Millisecond

// onOutageBegin is told that requests are refused from now on, perhaps by whoever reads
// the connection, whom no log may hold up.
func (s *Store) onOutageBegin(a *breaker.Outage) {
	s.spawn(func() {
		s.cfg.logger.Warn("tiercache: the remote tier does not answer, reads go to their loaders", "error", a.Cause)
		// guard: I8-probe-at-once
		s.probe(a)
	})
}

// onOutageEnd is told that they no longer are. Changes that could not be recorded
// need not wait for the next heartbeat.
func (s *Store) onOutageEnd(a *breaker.Outage) {
	away := time.Since(a.Since).Round(time.Millisecond)
	// guard: reader-does-not-log
	s.spawn(func() { s.cfg.logger.Info("tiercache: the remote tier answers again", "away", away) })
	if t := s.following.Load(); t != nil {
		// guard: I8-wake-after-outage
		t.Wake()
	}
}

// probe asks whether the server is back, until it is: heartbeats ask too, but
// may be hours apart. The answer renews the proof as well, so that local copies
// are served again at once. The pauses grow, and are random, so that a fleet does
// not ask in step.
func (s *Store) probe(a *breaker.Outage) {
	for pause := min(s.cfg.timeout, maxProbePause); ; pause = min(2*pause, maxProbePause) {
		timer := time.NewTimer(pause/2 + rand.N(pause/2+1))
		select {
		case <-timer.C:
		case <-a.Over:
			timer.Stop()
			return
		case <-s.ctx.Done():
			timer.Stop()
			return
		}
		s.probeOnce(a)
	}
}

// probeOnce asks once. The next time comes also after a panic.
func (s *Store) probeOnce(a *breaker.Outage) {
	defer s.panics.Recover("asking whether a server is back", s.onLost)
	ctx, cancel := context.WithTimeoutCause(s.ctx, s.cfg.timeout, breaker.ErrRemoteTimeout)
	defer cancel()
	a.Of.Probe(ctx)
}
