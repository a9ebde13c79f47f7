package tierotel

import (
	"cmp"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/tiercache/tiercache/tier"
)

// Option is an option of [Open]. It is of the type of the store's options, so that all are given in one list; [tier.Open]
// refuses it.
type Option struct {
	tier.Option
	apply func(*config)
}

// config is what options say.
type config struct {
	meters     metric.MeterProvider
	tracers    trace.TracerProvider
	namespace  func(string) string
	attributes []attribute.KeyValue
}

func option(apply func(*config)) Option {
	// A prefix that no store can have: the error of tier.Open names it.
	return Option{Option: tier.WithPrefix("an option of tierotel is for tierotel.Open"), apply: apply}
}

// WithNamespace sets what the attribute tiercache.namespace is for a namespace. It is called with each metric that is
// recorded, from any goroutine, and must be quick. Default: the first segment, "docs" of "docs:technical". In any case
// there are at most 200 values, the first that come; what is beyond them is "other".
func WithNamespace(f func(namespace string) string) Option {
	return option(func(c *config) { c.namespace = f })
}

// WithMeterProvider sets where metrics go. Default: [otel.GetMeterProvider].
func WithMeterProvider(p metric.MeterProvider) Option {
	return option(func(c *config) { c.meters = p })
}

// WithTracerProvider sets where traces go. Default: [otel.GetTracerProvider].
func WithTracerProvider(p trace.TracerProvider) Option {
	return option(func(c *config) { c.tracers = p })
}

// WithAttributes adds attributes to all metrics of the store: where a process has several stores, what tells them apart.
// Default none.
func WithAttributes(attributes ...attribute.KeyValue) Option {
	return option(func(c *config) { c.attributes = append(c.attributes, attributes...) })
}

// split separates options for this package from those for the store.
func split(options []tier.Option) (c config, rest []tier.Option) {
	c = config{namespace: firstSegment}
	for _, o := range options {
		if ours, ok := o.(Option); ok && ours.apply != nil {
			ours.apply(&c)
			continue
		}
		rest = append(rest, o)
	}
	c.meters, c.tracers = cmp.Or(c.meters, otel.GetMeterProvider()), cmp.Or(c.tracers, otel.GetTracerProvider())
	if c.namespace == nil {
		c.namespace = firstSegment
	}
	return c, rest
}
