package tierotel_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/tiercache/tiercache/tier"
	"github.com/tiercache/tiercache/tier/tierotel"
)

// world is a store that reports to memory.
type world struct {
	*tier.Store
	reader *metric.ManualReader
	spans  *tracetest.SpanRecorder
	tracer trace.Tracer
}

func open(t testing.TB, options ...tier.Option) *world {
	t.Helper()
	w := &world{reader: metric.NewManualReader(), spans: tracetest.NewSpanRecorder()}
	tp := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(w.spans))
	w.tracer = tp.Tracer("test")
	s, err := tierotel.Open(t.Context(), append(append([]tier.Option{tier.WithRemoteTimeout(10 * time.Second)}, options...), tierotel.WithTracerProvider(tp),
		tierotel.WithMeterProvider(metric.NewMeterProvider(metric.WithReader(w.reader))))...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	w.Store = s
	return w
}

// collect returns all points: "name{attributes}" and value, or count of a histogram.
func (w *world) collect(t testing.TB) map[string]float64 {
	t.Helper()
	var rm metricdata.ResourceMetrics
	require.NoError(t, w.reader.Collect(context.Background(), &rm))
	out := make(map[string]float64)
	add := func(name string, set attribute.Set, v float64) {
		var parts []string
		for _, a := range set.ToSlice() {
			parts = append(parts, strings.TrimPrefix(string(a.Key), "tiercache.")+"="+a.Value.Emit())
		}
		out[name+"{"+strings.Join(parts, ",")+"}"] = v
	}
	for _, scope := range rm.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch d := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range d.DataPoints {
					add(m.Name, p.Attributes, float64(p.Value))
				}
			case metricdata.Sum[float64]:
				for _, p := range d.DataPoints {
					add(m.Name, p.Attributes, p.Value)
				}
			case metricdata.Gauge[float64]:
				for _, p := range d.DataPoints {
					add(m.Name, p.Attributes, p.Value)
				}
			case metricdata.Histogram[float64]:
				for _, p := range d.DataPoints {
					add(m.Name, p.Attributes, float64(p.Count))
				}
			}
		}
	}
	return out
}

func view[V any](t testing.TB, s *tier.Store, path string, options ...tier.CacheOption) *tier.Cache[V] {
	t.Helper()
	c, err := tier.New[V](s, path, options...)
	require.NoError(t, err)
	return c
}

func is[V any](v V) tier.Loader[V] {
	return func(context.Context, *tier.Entry) (V, error) { return v, nil }
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, 30*time.Second, 2*time.Millisecond, what)
}

var errOrigin = errors.New("the origin is down: password=hunter2")

func TestAReadIsCountedByTheTierThatAnswered(t *testing.T) {
	w := open(t)
	c := view[string](t, w.Store, "docs:technical")
	ctx := t.Context()
	_, err := c.Get(ctx, "k", is("v"))
	require.NoError(t, err)
	eventually(t, "stored", func() bool { return w.Stats().Fills == 1 })
	for range 3 {
		_, err = c.Get(ctx, "k", is("v"))
		require.NoError(t, err)
	}
	_, err = c.Get(ctx, "k", is("v"), tier.NoLocal())
	require.NoError(t, err)
	_, err = c.Get(ctx, "bad", func(context.Context, *tier.Entry) (string, error) { return "", errOrigin })
	require.ErrorIs(t, err, errOrigin)
	_, _, err = c.Peek(ctx, "none")
	require.NoError(t, err)
	require.NoError(t, c.Set(ctx, "k", "w"))
	_, err = w.InvalidateSource(ctx, "doc-1")
	require.NoError(t, err)
	eventually(t, "each load is recorded, after its caller was answered", func() bool {
		got := w.collect(t)
		return got["tiercache.load.duration{background=false,namespace=docs,result=loaded}"] == 1 && got["tiercache.load.duration{background=false,namespace=docs,result=error}"] == 1
	})
	got := w.collect(t)
	for want, n := range map[string]float64{
		"tiercache.requests{namespace=docs,result=hit,tier=local}":                     3,
		"tiercache.requests{namespace=docs,result=hit,tier=remote}":                    1,
		"tiercache.requests{namespace=docs,result=load,tier=loader}":                   2,
		"tiercache.requests{namespace=docs,result=absent,tier=none}":                   1,
		"tiercache.misses{cause=cold,namespace=docs,tier=local}":                       3,
		"tiercache.misses{cause=cold,namespace=docs,tier=remote}":                      3,
		"tiercache.loads{kind=foreground,namespace=docs}":                              2,
		"tiercache.load.failures{namespace=docs,reason=error}":                         1,
		"tiercache.load.duration{background=false,namespace=docs,result=loaded}":       1,
		"tiercache.load.duration{background=false,namespace=docs,result=error}":        1,
		"tiercache.change.duration{change=set,result=done}":                            1,
		"tiercache.local.evictions{cause=capacity}":                                    0,
		"tiercache.local.evictions{cause=expired}":                                     0,
		"tiercache.local.evictions{cause=invalidated}":                                 1,
		"tiercache.remote.breakers{state=closed}":                                      1,
		"tiercache.remote.breakers{state=suspect}":                                     0,
		"tiercache.remote.breakers{state=open}":                                        0,
		"tiercache.change.duration{change=invalidate_source,result=done}":              1,
		"tiercache.fills{namespace=docs,result=stored}":                                1,
		"tiercache.changes{}":                                                          1,
		"tiercache.local.entries{}":                                                    1,
		"tiercache.remote.away{}":                                                      0,
		"tiercache.history.losses{}":                                                   0,
		"tiercache.changes.unacknowledged{}":                                           0,
		"tiercache.loads.running{}":                                                    0,
		"db.client.operation.duration{db.operation.name=append,db.system.name=valkey}": 1,
	} {
		v, there := got[want]
		assert.True(t, there, "%s is missing in %v", want, got)
		assert.Equal(t, n, v, want)
	}
	assert.Positive(t, got["tiercache.local.size{}"])
	assert.Less(t, got["tiercache.proof.age{}"], 10.0)
	for name := range got {
		assert.NotContains(t, name, "hunter2")
	}
}

func TestSpansAreUnderTheirCallersAndFollowersAreLinked(t *testing.T) {
	w := open(t)
	c := view[string](t, w.Store, "docs:technical")
	ctx, root := w.tracer.Start(t.Context(), "request")
	started, release := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		_, err := c.Get(ctx, "k", func(ctx context.Context, _ *tier.Entry) (string, error) {
			close(started)
			<-release
			_, inner := w.tracer.Start(ctx, "query")
			inner.End()
			return "", errOrigin
		})
		assert.ErrorIs(t, err, errOrigin)
	})
	<-started
	other, second := w.tracer.Start(t.Context(), "other request")
	all.Go(func() { _, _ = c.Get(other, "k", is("unused")) })
	eventually(t, "the other waits", func() bool {
		for _, s := range w.spans.Started() {
			if s.Name() == "wait docs" {
				return true
			}
		}
		return false
	})
	close(release)
	all.Wait()
	root.End()
	second.End()
	ended := func(name string) (s sdktrace.ReadOnlySpan) {
		eventually(t, name+" has ended", func() bool {
			for _, s = range w.spans.Ended() {
				if s.Name() == name {
					return true
				}
			}
			return false
		})
		return s
	}
	load, wait, query := ended("load docs"), ended("wait docs"), ended("query")
	assert.Equal(t, root.SpanContext().SpanID(), load.Parent().SpanID())
	assert.Equal(t, load.SpanContext().SpanID(), query.Parent().SpanID(), "the loader runs under its span")
	assert.Equal(t, second.SpanContext().SpanID(), wait.Parent().SpanID())
	require.Len(t, wait.Links(), 1)
	assert.Equal(t, load.SpanContext().SpanID(), wait.Links()[0].SpanContext.SpanID())
	assert.Equal(t, codes.Error, load.Status().Code)
	assert.Empty(t, load.Status().Description)
	remote := 0
	for _, s := range w.spans.Ended() {
		assert.NotContains(t, fmt.Sprint(s.Attributes(), s.Status(), s.Events()), "hunter2", "the text of an error may hold anything")
		if s.SpanKind() == trace.SpanKindClient {
			remote++
			assert.Equal(t, root.SpanContext().TraceID(), s.SpanContext().TraceID(), s.Name())
			assert.Contains(t, s.Attributes(), attribute.String("db.system.name", "valkey"))
		}
		assert.False(t, s.EndTime().Before(s.StartTime()))
	}
	assert.Positive(t, remote)
	_, err := c.Get(ctx, "l", is("v"))
	require.NoError(t, err)
	eventually(t, "stored", func() bool { return w.Stats().Fills == 1 })
	before := len(w.spans.Started())
	_, err = c.Get(ctx, "l", is("v"))
	require.NoError(t, err)
	assert.Len(t, w.spans.Started(), before, "none on a local hit")
}

func TestManyTenantsMakeFewAttributes(t *testing.T) {
	w := open(t)
	const tenants = 10_000
	for i := range tenants {
		c := view[string](t, w.Store, fmt.Sprintf("tenant-%d:docs", i), tier.WithLocalOnly())
		_, err := c.Get(t.Context(), "k", is("v"))
		require.NoError(t, err)
	}
	check := func(want float64) {
		got := w.collect(t)
		series, sum := 0, 0.0
		for name, v := range got {
			if strings.HasPrefix(name, "tiercache.requests{") && strings.Contains(name, "tier=loader") {
				series++
				sum += v
			}
		}
		assert.Equal(t, 201, series)
		assert.Equal(t, want, sum)
		assert.Less(t, len(got), 201*40)
		assert.Positive(t, got["tiercache.requests{namespace=other,result=load,tier=loader}"])
	}
	check(tenants)
	c := view[string](t, w.Store, "tenant-9999:docs", tier.WithLocalOnly())
	_, err := c.Get(t.Context(), "l", is("v"))
	require.NoError(t, err)
	check(tenants + 1)
}

func TestTheAttributeOfANamespaceCanBeChosen(t *testing.T) {
	w := open(t, tierotel.WithNamespace(func(ns string) string { return strings.ToUpper(ns) }), tierotel.WithAttributes(attribute.String("store", "a")))
	_, err := view[string](t, w.Store, "docs:a").Get(t.Context(), "k", is("v"))
	require.NoError(t, err)
	eventually(t, "the load is recorded", func() bool {
		return w.collect(t)["tiercache.load.duration{store=a,background=false,namespace=DOCS:A,result=loaded}"] == 1
	})
	got := w.collect(t)
	assert.Contains(t, got, "tiercache.requests{store=a,namespace=DOCS:A,result=load,tier=loader}")
	assert.Contains(t, got, "tiercache.remote.away{store=a}")
}

func TestOptionsOfThisPackageAreRefusedByTierOpen(t *testing.T) {
	_, err := tier.Open(t.Context(), tierotel.WithNamespace(strings.ToUpper))
	require.ErrorContains(t, err, "tierotel.Open")
	_, err = tierotel.Open(t.Context(), tier.WithMaxStaleness(-1))
	require.ErrorContains(t, err, "WithMaxStaleness")
}

// A store that was closed, and is not referred to, is not kept by what would read its figures.
func TestAClosedStoreIsForgotten(t *testing.T) {
	reader := metric.NewManualReader()
	provider := metric.NewMeterProvider(metric.WithReader(reader))
	freed := make(chan struct{})
	func() {
		s, err := tierotel.Open(t.Context(), tierotel.WithMeterProvider(provider))
		require.NoError(t, err)
		runtime.AddCleanup(s, func(c chan struct{}) { close(c) }, freed)
		var rm metricdata.ResourceMetrics
		require.NoError(t, reader.Collect(t.Context(), &rm))
		require.NotEmpty(t, rm.ScopeMetrics)
		require.NoError(t, s.Close())
		require.NoError(t, reader.Collect(t.Context(), &rm))
		require.NotEmpty(t, rm.ScopeMetrics, "it is reported once more")
	}()
	eventually(t, "it is freed", func() bool {
		runtime.GC()
		select {
		case <-freed:
			return true
		default:
			return false
		}
	})
	eventually(t, "nothing is read of it", func() bool {
		var rm metricdata.ResourceMetrics
		require.NoError(t, reader.Collect(t.Context(), &rm))
		for _, scope := range rm.ScopeMetrics {
			for _, m := range scope.Metrics {
				if m.Name == "tiercache.local.entries" {
					return false
				}
			}
		}
		return true
	})
}
