package tierotel_test

import (
	"context"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/tiercache/tiercache/tier"
	"github.com/tiercache/tiercache/tier/tierotel"
)

// BenchmarkLocalHit is a local hit with and without metrics and traces, which a reader collects each 10 ms.
func BenchmarkLocalHit(b *testing.B) {
	for _, on := range []bool{false, true} {
		name := "off"
		if on {
			name = "on"
		}
		b.Run(name, func(b *testing.B) {
			open := tier.Open
			options := []tier.Option{tier.WithMaxStaleness(time.Minute), tier.WithHeartbeat(time.Second)}
			if on {
				open = tierotel.Open
				reader := metric.NewManualReader()
				options = append(options, tierotel.WithMeterProvider(metric.NewMeterProvider(metric.WithReader(reader))), tierotel.WithTracerProvider(sdktrace.NewTracerProvider()))
				ctx, cancel := context.WithCancel(b.Context())
				defer cancel()
				go func() {
					for tick := time.NewTicker(10 * time.Millisecond); ; {
						select {
						case <-tick.C:
							_ = reader.Collect(ctx, &metricdata.ResourceMetrics{})
						case <-ctx.Done():
							tick.Stop()
							return
						}
					}
				}()
			}
			s, err := open(b.Context(), options...)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			c := view[string](b, s, "docs")
			load := is("v")
			ctx := context.Background()
			if _, err := c.Get(ctx, "k", load); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Get(ctx, "k", load); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
