package tier_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// Get looks first whether an entry needs no closer look. These are the reasons why it
// would.

func got[V any](t *testing.T, c *tier.Cache[V], v V) (got V, loads int) {
	t.Helper()
	got, err := c.Get(bg, "k", func(context.Context, *tier.Entry) (V, error) { loads++; return v, nil })
	require.NoError(t, err)
	return got, loads
}

func TestI1AHitIsOfWhatHasNotChanged(t *testing.T) {
	s := embeddedFleet(t, nil).process()
	c := view[string](t, s, "docs", tier.WithLocalOnly())
	require.NoError(t, c.Set(bg, "k", "v", tier.WithSources("doc")))
	require.NoError(t, c.Set(bg, "other", "v"))
	for i, change := range []func() error{
		func() error { _, err := s.InvalidateSource(bg, "doc"); return err },
		func() error { _, err := c.Invalidate(bg); return err },
	} {
		require.NoError(t, change())
		_, loads := got(t, c, "w")
		require.Equal(t, 1, loads, i)
		_, loads = got(t, c, "w")
		require.Zero(t, loads, i)
	}
}

func TestI2AHitIsProven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t, remote.NewEmbedded(0), "test", nil}
		s, hooks := w.open()
		c := cacheOf[string](t, s)
		got(t, c, "v")
		synctest.Wait() // it is stored
		_, loads := got(t, c, "w")
		require.Zero(t, loads)
		hooks.Before(func(interpose.Op) error { return errCut })
		hooks.Filter(func(interpose.Event) bool { return false })
		time.Sleep(2 * time.Second) // fake time
		_, loads = got(t, c, "w")
		require.Equal(t, 1, loads)
	})
}
