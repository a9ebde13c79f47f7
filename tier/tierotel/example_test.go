package tierotel_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/tiercache/tiercache/tier"
	"github.com/tiercache/tiercache/tier/tierotel"
)

// Open in place of tier.Open is all that it takes, where the global providers are set. Here a reader collects once.
func ExampleOpen() {
	ctx := context.Background()
	reader := metric.NewManualReader()
	store, err := tierotel.Open(ctx, // tier.WithValkey("valkey://127.0.0.1:6379"),
		tierotel.WithMeterProvider(metric.NewMeterProvider(metric.WithReader(reader))))
	if err != nil {
		panic(err)
	}
	defer store.Close()
	pages, err := tier.New[string](store, "pages", tier.WithTTL(time.Minute))
	if err != nil {
		panic(err)
	}
	load := func(context.Context, *tier.Entry) (string, error) { return "<html>", nil }
	for range 4 {
		if _, err := pages.Get(ctx, "/", load); err != nil {
			panic(err)
		}
	}

	var collected metricdata.ResourceMetrics
	if err := reader.Collect(ctx, &collected); err != nil {
		panic(err)
	}
	for _, m := range collected.ScopeMetrics[0].Metrics {
		if m.Name != "tiercache.requests" {
			continue
		}
		reads := int64(0)
		for _, p := range m.Data.(metricdata.Sum[int64]).DataPoints {
			reads += p.Value
		}
		fmt.Println(m.Name, reads)
	}
	// Output: tiercache.requests 4
}

// By default the attribute tiercache.namespace is the first segment of a namespace. Where that is a tenant, another one may say more.
func ExampleWithNamespace() {
	kind := tierotel.WithNamespace(func(namespace string) string { // tenant:kind:…
		_, rest, _ := strings.Cut(namespace, ":")
		kind, _, _ := strings.Cut(rest, ":")
		return kind
	})
	store, err := tierotel.Open(context.Background(), kind, tierotel.WithAttributes(attribute.String("store", "answers")))
	if err != nil {
		panic(err)
	}
	defer store.Close()
	// Output:
}

// The reads of one key in a hundred are written, for tierctl advise; here of every key.
func ExampleLog() {
	ctx := context.Background()
	store, err := tierotel.Open(ctx)
	if err != nil {
		panic(err)
	}
	defer store.Close()
	cache, err := tier.New[string](store, "pages", tier.WithTTL(time.Minute), tier.WithJitter(0))
	if err != nil {
		panic(err)
	}
	var file strings.Builder // in a service: a file
	log, err := tierotel.NewAccessLog(&file, 1, os.Getenv("ACCESS_LOG_SECRET")+"a secret of the fleet")
	if err != nil {
		panic(err)
	}
	pages := tierotel.Log(log, cache, "pages")
	if _, err := pages.Get(ctx, "/", func(context.Context, *tier.Entry) (string, error) { return "<html>", nil }); err != nil {
		panic(err)
	}

	var line struct {
		Namespace, Op string
		Size, TTL     int
	}
	if err := json.Unmarshal([]byte(file.String()), &line); err != nil {
		panic(err)
	}
	fmt.Printf("%+v\n", line)
	// Output: {Namespace:pages Op:get Size:6 TTL:60}
}
