//go:build !race

package tierotel_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/tier"
)

// The race detector allocates by itself.
func TestALocalHitAllocatesNothingWithTelemetry(t *testing.T) {
	w := open(t, tier.WithMaxStaleness(time.Minute), tier.WithHeartbeat(20*time.Second))
	c := view[string](t, w.Store, "docs")
	load := is("v")
	ctx, span := w.tracer.Start(context.Background(), "request")
	defer span.End()
	_, err := c.Get(ctx, "k", load)
	require.NoError(t, err)
	eventually(t, "stored", func() bool { return w.Stats().Fills == 1 })
	w.collect(t)
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if _, err := c.Get(ctx, "k", load); err != nil {
			t.Fatal(err)
		}
	}))
}
