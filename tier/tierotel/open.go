package tierotel

import (
	"context"
	"fmt"
	"runtime"

	"github.com/tiercache/tiercache/tier"
)

// Open is [tier.Open] of a store that reports to OpenTelemetry. Options of the store and of this package are given in one list.
// It sets [tier.WithTracer], and no other option. A store that is closed is reported once more if it is still referred to, and
// forgotten when it is not.
func Open(ctx context.Context, options ...tier.Option) (*tier.Store, error) {
	c, rest := split(options)
	meter := c.meters.Meter(scope)
	n := newNames(c.namespace)
	t, err := newTracer(c.tracers.Tracer(scope), meter, n, c.attributes)
	if err != nil {
		return nil, fmt.Errorf("tierotel: open: %w", err)
	}
	s, err := tier.Open(ctx, append(rest, tier.WithTracer(t))...)
	if err != nil {
		return nil, err
	}
	done, err := observe(s, meter, n, &c)
	if err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("tierotel: open: %w", err)
	}
	runtime.AddCleanup(s, func(done func()) { done() }, done)
	return s, nil
}
