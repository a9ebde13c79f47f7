package session

import (
	"context"
	"time"

	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/invalidation"
)

// EndOf returns when a value of the namespace ends that was made from the sources, is as of a, and was read or begun
// to be loaded at begun: changelog.Endless, or the time at which a change has settled that it may lack (S3).
// After an error, and where the log would have to be asked while it is away, it is not to be kept.
func (s *Session) EndOf(ctx context.Context, n *Namespace, a invalidation.AsOf, begun mono.Time, sources []string) (mono.Time, error) {
	if !s.Tail.MayBeUnsettled(begun) {
		return changelog.Endless, nil
	}
	rctx := s.Request(ctx)
	defer rctx.End()
	end, err := s.Tail.End(rctx, a, begun, n.Scopes(sources), s.Conn.OpenOutage() == nil)
	if err != nil || end == changelog.Endless {
		return end, err
	}
	// The server is told by its own clock, which is known within bounds.
	now, clock := mono.Now(), s.Tail.View().Clock()
	return end.Add(-max(0, clock.Latest(now).Sub(clock.Earliest(now)))), nil
}

// Limit shortens how long a value is fresh and kept, if it ends at end. It reports false if it is not to be kept at all.
func Limit(end mono.Time, fresh, kept time.Duration) (time.Duration, time.Duration, bool) {
	if end == changelog.Endless {
		return fresh, kept, true
	}
	left := end.Sub(mono.Now()).Truncate(time.Millisecond)
	return min(fresh, left), min(kept, left), left > 0
}
