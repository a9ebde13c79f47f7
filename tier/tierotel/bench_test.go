package tierotel_test

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/tiercache/tiercache/tier"
	"github.com/tiercache/tiercache/tier/tierdebug"
	"github.com/tiercache/tiercache/tier/tierotel"
)

// BenchmarkLocalHitSideBySide is a local hit of four stores in turns, 10,000 hits of each at a time: one as it is; one with metrics and
// traces, collected every 10 ms; one with the page of tierdebug; and one whose page is open. Other work on the machine then slows all of
// them, and ratios mean something. A round is the unit; the figures are quartiles of the rounds.
func BenchmarkLocalHitSideBySide(b *testing.B) {
	const hits = 10_000
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	load := is("v")
	ready := func(open func(context.Context, ...tier.Option) (*tier.Store, error), options ...tier.Option) (*tier.Store, *tier.Cache[string]) {
		s, err := open(ctx, append(options, tier.WithMaxStaleness(time.Minute), tier.WithHeartbeat(time.Second))...)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = s.Close() })
		c := view[string](b, s, "docs")
		if _, err := c.Get(ctx, "k", load); err != nil {
			b.Fatal(err)
		}
		return s, c
	}
	reader := metric.NewManualReader()
	_, plain := ready(tier.Open)
	_, telemetry := ready(tierotel.Open, tierotel.WithMeterProvider(metric.NewMeterProvider(metric.WithReader(reader))), tierotel.WithTracerProvider(sdktrace.NewTracerProvider()))
	mounted, page := ready(tier.Open)
	_ = tierdebug.New(mounted)
	shown, open := ready(tier.Open)
	server := httptest.NewServer(tierdebug.New(shown))
	defer server.Close()
	watch(ctx, b, server.URL)
	go func() { // ends with ctx
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

	views := []*tier.Cache[string]{plain, telemetry, page, open}
	took := make([][]float64, len(views)) // ns a hit, of each round
	round := 0
	for b.Loop() {
		for i := range views {
			i = (i + round) % len(views)
			begun := time.Now()
			for range hits {
				if _, err := views[i].Get(ctx, "k", load); err != nil {
					b.Fatal(err)
				}
			}
			took[i] = append(took[i], float64(time.Since(begun).Nanoseconds())/hits)
		}
		round++
	}
	cancel()
	b.ReportMetric(0, "ns/op") // of a round, which says nothing
	for i, name := range []string{"plain", "otel", "page", "open-page"} {
		ratios := make([]float64, len(took[i]))
		for r := range ratios {
			ratios[r] = took[i][r] / took[0][r]
		}
		slices.Sort(ratios)
		b.ReportMetric(slices.Sorted(slices.Values(took[i]))[len(took[i])/4], "ns/hit-"+name)
		if i > 0 {
			b.ReportMetric(ratios[len(ratios)/4], "x-"+name+"-p25")
			b.ReportMetric(ratios[len(ratios)/2], "x-"+name+"-p50")
			b.ReportMetric(ratios[3*len(ratios)/4], "x-"+name+"-p75")
		}
	}
}

// watch looks at a page until ctx ends.
func watch(ctx context.Context, b *testing.B, url string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/events", nil)
	if err != nil {
		b.Fatal(err)
	}
	events, err := http.DefaultClient.Do(request)
	if err != nil {
		b.Fatal(err)
	}
	lines := bufio.NewScanner(events.Body)
	lines.Buffer(nil, 1<<20)
	go func() { // ends with the request
		defer events.Body.Close()
		for lines.Scan() {
		}
	}()
}
