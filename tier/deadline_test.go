package tier_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/tier"
)

// Else it would be the server that had not answered.
func TestACallersOwnDeadlineIsNoFaultOfTheServer(t *testing.T) {
	s := valkeytest.Start(t)
	store, err := tier.Open(t.Context(), tier.WithValkey(s.URL()), tier.WithRemoteTimeout(time.Minute),
		tier.WithHeartbeat(time.Hour), tier.WithMaxStaleness(3*time.Hour))
	require.NoError(t, err)
	defer store.Close()
	c := view[string](t, store, "docs")
	require.NoError(t, c.Set(t.Context(), "k", "v"))
	for range 10 {
		for range 100 {
			_, err := c.Get(t.Context(), "k", fails[string](errOrigin), tier.NoLocal())
			require.NoError(t, err)
		}
		s.Pause()
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			_, err = c.Get(ctx, "k", fails[string](errOrigin), tier.NoLocal())
			require.ErrorIs(t, err, context.DeadlineExceeded)
			cancel()
		}
		s.Resume()
	}
	stats := store.Stats()
	require.Zero(t, tier.Openings(store))
	require.Zero(t, stats.RemoteErrors)
	require.Zero(t, stats.Loads)
}
