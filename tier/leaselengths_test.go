package tier_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/tier"
)

// Two releases whose leases are of two lengths run side by side. A process that asks for a lease which is held
// shortens it to its own length, and the holder renews after a third of the holder's:
//
//	long:                       holds the lease, for 2·d
//	short:                      asks for it: it ends after d
//	long, at most 2/3·d later:  renews it
//
// So a load stays the only one if one length is at most twice the other.
func TestI7LeasesOfTwoLengthsKeepOneLoad(t *testing.T) {
	const d = backend.DefaultLeaseTTL
	for _, c := range []struct {
		holder, asker time.Duration
		one           bool
	}{
		{d, 2 * d, true},
		{2 * d, d, true},
		{d, 4 * d, true}, // a longer one shortens nothing
		{4 * d, d, false},
	} {
		t.Run(fmt.Sprintf("%v beside %v", c.holder, c.asker), func(t *testing.T) {
			inBubbles(t, func(t *testing.T, f *fleet) {
				a := view[string](t, f.process(tier.LeaseTTL(c.holder)), "docs", tier.WithLoadTimeout(time.Hour))
				b := view[string](t, f.process(tier.LeaseTTL(c.asker)), "docs", tier.WithLoadTimeout(time.Hour))
				var loads atomic.Int64
				slow := counted(&loads, func(ctx context.Context, _ *tier.Entry) (string, error) {
					select {
					case <-time.After(10 * d):
						return "v", nil
					case <-ctx.Done():
						return "", ctx.Err()
					}
				})
				loaded := make(chan struct{})
				go func() {
					defer close(loaded)
					find(t, a, "k", slow)
				}()
				for asked := true; asked; { // each call asks anew, at all times between two renewals
					select {
					case <-loaded:
						asked = false
					case <-time.After(d / 30):
						ctx, leave := context.WithTimeout(t.Context(), d/30)
						_, _ = b.Get(ctx, "k", slow)
						leave()
					}
				}
				assert.Equal(t, c.one, loads.Load() == 1, "%d loads", loads.Load())
			})
		})
	}
}
