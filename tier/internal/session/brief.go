package session

import (
	"time"

	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/tier/internal/breaker"
)

// IsBrief reports whether whatever is wrong with the remote tier has not lasted long enough to be more than a stall. unanswered:
// the server was asked just now, and has not told of itself. It is to be called whenever the server was asked.
//
// A silence is told by what was heard last, also where the connection was lost and made again. While the store is idle little is
// heard; then it counts how long no question was answered, as it does in a cluster, where another server may be away
// than the log's. Such a question also has the log read, which is what finds an outage.
func (s *Session) IsBrief(unanswered bool, t *changelog.Health) bool {
	now := mono.Now()
	if !unanswered {
		s.unanswered.Store(0)
	} else if s.unanswered.CompareAndSwap(0, int64(now)) {
		s.Tail.Wake()
	}
	if since := s.unanswered.Load(); since != 0 && now.Sub(mono.Time(since)) >= breaker.Brief {
		return false
	}
	if since, _ := s.Conn.AwaySince(); !since.IsZero() && time.Since(since) >= breaker.Brief {
		return false
	}
	// guard: brief-without-failures
	// guard: brief-without-silence
	return t.Failing < breaker.Brief && (t.Idle || t.Silence <= breaker.Brief+s.Cfg.Heartbeat)
}
