package tier_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/tier"
)

// Regression: a loaded value was in the local tier, and had been read there, when the last caller of its load gave up, just before the
// write was handed over. The call was taken out of the table, so that reads past the local tier did not wait for the write,
// and were given the value from before it; without tracking that was kept as well.
func TestI1NoReadGoesBehindACopyWhoseCallersHaveLeft(t *testing.T) {
	test := func(t *testing.T, w *world, options ...tier.Option) {
		s, hooks := w.open(options...)
		c, remoteOnly := cacheOf[int](t, s), cacheOf[int](t, s, tier.WithRemoteOnly())
		for way, read := range ways(c, remoteOnly) {
			require.NoError(t, c.Set(t.Context(), "k", 1))
			ctx, leave := context.WithCancel(t.Context())
			left := make(chan struct{})
			got, settled := make(chan int, 1), make(chan struct{})
			hooks.Handed(func() {
				hooks.Handed(nil)
				defer close(settled)
				if v, there, _ := c.Peek(t.Context(), "k"); !there || v != 2 {
					got <- 2 // it is not kept before it is stored here: nothing was given out
					return
				}
				leave()
				<-left
				go func() { got <- read(t.Context()) }()
				within(t, "the read is answered, or waits for the write", func() bool { return len(got) == 1 || tier.Waits(c, "k") })
			})
			_, err := c.Refresh(ctx, "k", is(2))
			if err != nil {
				require.ErrorIs(t, err, context.Canceled)
			}
			close(left)
			<-settled
			assert.Equal(t, 2, <-got, way)
			within(t, "it is stored", func() bool { return !tier.Flies(c, "k") })
			leave()
		}
	}
	eachWorld(t, func(t *testing.T, w *world) { test(t, w, quiet...) })
	t.Run("without tracking", func(t *testing.T) {
		w := &world{t, embeddedFleet(t, nil).hub, "test", nil}
		test(t, w, append([]tier.Option{tier.WithoutTracking()}, quiet...)...)
	})
}
