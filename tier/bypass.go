package tier

import (
	"context"
	"fmt"
	"time"

	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/invalidation"
)

// Bypass has every process use neither tier for a namespace, and those below it, for the time d: their loaders answer, and what they
// return is kept nowhere. It is the switch to turn off a cache in an incident, and ends by itself; 0 ends it at once. At most 24 hours.
// What is stored stays, and is served again afterwards unless it was invalidated; Set and Delete are performed meanwhile. Processes
// follow within one push, and in any case within a heartbeat. If the server loses the key that says so, processes that start
// later do not follow. Processes that change what is bypassed at once wait for each other. [Health] tells what is bypassed.
func (s *Store) Bypass(ctx context.Context, namespace string, d time.Duration) error {
	if s.core.Closed.Load() {
		return ErrClosed
	}
	if err := invalidation.CheckNamespace(namespace); err != nil {
		return fmt.Errorf("tier: bypass: %w", err)
	}
	if d < 0 || d > changelog.MaxBypass {
		return fmt.Errorf("tier: bypass: %v: must be between 0, which ends it, and %v", d, changelog.MaxBypass)
	}
	return s.core.RemoteError(ctx, "bypass", s.core.Session.Bypass(ctx, namespace, d))
}
