package tierotel

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.40.0"
	"go.opentelemetry.io/otel/semconv/v1.40.0/dbconv"
	"go.opentelemetry.io/otel/trace"

	"github.com/tiercache/tiercache/tier"
)

// tracer turns what a store tells of into spans and histograms.
type tracer struct {
	spans      trace.Tracer
	requests   dbconv.ClientOperationDuration
	loads      metric.Float64Histogram
	changes    metric.Float64Histogram
	names      *names
	attributes []attribute.KeyValue // of metrics
}

// seconds are the buckets that the conventions advise for durations of requests, and more for slow loaders.
var seconds = metric.WithExplicitBucketBoundaries(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

func newTracer(spans trace.Tracer, m metric.Meter, n *names, attributes []attribute.KeyValue) (*tracer, error) {
	t := &tracer{spans: spans, names: n, attributes: attributes}
	var errs [3]error
	t.requests, errs[0] = dbconv.NewClientOperationDuration(m, seconds)
	t.loads, errs[1] = m.Float64Histogram(loadDuration, metric.WithUnit("s"), seconds, metric.WithDescription("Time of a run of a loader, for one key or a batch."))
	t.changes, errs[2] = m.Float64Histogram(changeDuration, metric.WithUnit("s"), seconds, metric.WithDescription("Time of a Set, Delete or invalidation."))
	return t, errors.Join(errs[:]...)
}

// begun is an op that has begun.
type begun struct {
	tier.Op
	at   time.Time
	span trace.Span // nil: none
}

type begunKey struct{}

// Start implements [tier.Tracer].
func (t *tracer) Start(ctx context.Context, op tier.Op) context.Context {
	b := &begun{Op: op, at: time.Now()}
	// A request, or a wait, without a caller's span is not worth a trace of its own; heartbeats are such requests.
	if trace.SpanContextFromContext(ctx).IsValid() || !op.Remote && op.Name != "wait" {
		ctx, b.span = t.startSpan(ctx, b)
	}
	return context.WithValue(ctx, begunKey{}, b)
}

func (t *tracer) startSpan(ctx context.Context, b *begun) (context.Context, trace.Span) {
	name, kind := b.Name, trace.SpanKindInternal
	if b.Namespace != "" {
		name += " " + b.names(t)
	}
	var attributes []attribute.KeyValue
	if b.Remote {
		kind, attributes = trace.SpanKindClient, append(attributes, t.request(b)...)
	}
	if b.Namespace != "" {
		attributes = append(attributes, attribute.String(attrNamespace, b.Namespace))
	}
	if b.Keys > 0 {
		attributes = append(attributes, attribute.Int("tiercache.keys", b.Keys))
	}
	attributes = append(attributes, attribute.Bool(attrBackground, b.Background))
	return t.spans.Start(ctx, name, trace.WithSpanKind(kind), trace.WithTimestamp(b.at), trace.WithAttributes(attributes...))
}

func (b *begun) names(t *tracer) string { return t.names.name(b.Namespace) }

// End implements [tier.Tracer].
func (t *tracer) End(ctx context.Context, out tier.Outcome) {
	b, ok := ctx.Value(begunKey{}).(*begun)
	if !ok {
		return
	}
	failed := errorType(out.Err)
	if b.span != nil {
		t.endSpan(b, out, failed)
	}
	// The span's context, for exemplars.
	switch {
	case b.Remote:
		attributes := append(t.request(b), t.attributes...)
		if failed != "" {
			attributes = append(attributes, semconv.ErrorTypeKey.String(failed))
		}
		t.requests.Inst().Record(ctx, out.Took.Seconds(), metric.WithAttributes(attributes...))
	case b.Name == "load":
		result := "loaded"
		switch {
		case errors.Is(out.Err, tier.ErrNotFound):
			result = "not_found"
		case failed != "":
			result = "error"
		}
		t.loads.Record(ctx, out.Took.Seconds(), metric.WithAttributes(append([]attribute.KeyValue{
			attribute.String(attrNamespace, b.names(t)), attribute.String(attrResult, result), attribute.Bool(attrBackground, b.Background)}, t.attributes...)...))
	case b.Name != "wait":
		result := "done"
		if failed != "" {
			result = "error"
		}
		t.changes.Record(ctx, out.Took.Seconds(), metric.WithAttributes(append([]attribute.KeyValue{
			attribute.String(attrChange, strings.ReplaceAll(b.Name, " ", "_")), attribute.String(attrResult, result)}, t.attributes...)...))
	}
}

func (t *tracer) endSpan(b *begun, out tier.Outcome, failed string) {
	if out.Leader != nil {
		b.span.AddLink(trace.LinkFromContext(out.Leader))
	}
	if b.Remote && (b.Name == "get" || b.Name == "lease") {
		b.span.SetAttributes(attribute.Int("tiercache.found", out.Found))
	}
	if failed != "" {
		// Not the text of the error: a loader's may hold anything.
		b.span.SetAttributes(semconv.ErrorTypeKey.String(failed))
		b.span.SetStatus(codes.Error, "")
	}
	b.span.End(trace.WithTimestamp(b.at.Add(out.Took)))
}

// request returns the attributes of a request, by the conventions for databases.
func (t *tracer) request(b *begun) []attribute.KeyValue {
	attributes := []attribute.KeyValue{semconv.DBSystemNameKey.String(system), semconv.DBOperationNameKey.String(b.Name)}
	if host, port, ok := address(b.Server); ok {
		attributes = append(attributes, semconv.ServerAddress(host), semconv.ServerPort(port))
	}
	return attributes
}

// system is the name of Valkey, for which the conventions have none yet.
const system = "valkey"

// address finds the only address in the description of a server.
func address(server string) (host string, port int, ok bool) {
	if i := strings.LastIndexByte(server, ' '); i >= 0 {
		if strings.Contains(server, ",") {
			return "", 0, false // several
		}
		server = server[i+1:]
	}
	host, text, err := net.SplitHostPort(server)
	if err != nil {
		return "", 0, false
	}
	port, err = strconv.Atoi(text)
	return host, port, err == nil
}

// errorType is the attribute error.type of an error, of which there are few; empty if it is none.
func errorType(err error) string {
	var panicked *tier.LoadPanic
	switch {
	case err == nil, errors.Is(err, tier.ErrNotFound):
		return ""
	case errors.As(err, &panicked):
		return "panic"
	case errors.Is(err, tier.ErrUnavailable):
		return "unavailable"
	case errors.Is(err, tier.ErrClosed):
		return "closed"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	}
	return "_OTHER"
}
