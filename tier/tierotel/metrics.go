package tierotel

import (
	"context"
	"errors"
	"sync"
	"weak"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/tiercache/tiercache/tier"
)

// The names of metrics. They are stable: see docs/metrics.md.
const (
	requests     = "tiercache.requests"
	misses       = "tiercache.misses"
	stale        = "tiercache.stale"
	loads        = "tiercache.loads"
	loadFailures = "tiercache.load.failures"
	loadUnleased = "tiercache.load.unleased"
	fills        = "tiercache.fills"
	remoteErrors = "tiercache.remote.errors"

	loadDuration   = "tiercache.load.duration"
	changeDuration = "tiercache.change.duration"

	localEntries   = "tiercache.local.entries"
	localSize      = "tiercache.local.size"
	localEvictions = "tiercache.local.evictions"
	loadsRunning   = "tiercache.loads.running"
	proofAge       = "tiercache.proof.age"
	lag            = "tiercache.invalidation.lag"
	losses         = "tiercache.history.losses"
	away           = "tiercache.remote.away"
	breakers       = "tiercache.remote.breakers"
	outages        = "tiercache.remote.outages"
	changes        = "tiercache.changes"
	unacknowledged = "tiercache.changes.unacknowledged"
	panics         = "tiercache.panics"
)

// The names of attributes.
const (
	attrNamespace  = "tiercache.namespace"
	attrTier       = "tiercache.tier"
	attrResult     = "tiercache.result"
	attrCause      = "tiercache.cause"
	attrReason     = "tiercache.reason"
	attrKind       = "tiercache.kind"
	attrChange     = "tiercache.change"
	attrState      = "tiercache.state"
	attrBackground = "tiercache.background"
)

const scope = "github.com/tiercache/tiercache/tier/tierotel"

// ofNamespaces are the counters of namespaces.
var ofNamespaces = []struct{ name, unit, about string }{
	{requests, "{request}", "Reads, by the tier that answered and how."},
	{misses, "{miss}", "Reads that a tier could not answer, by cause. What the local tier misses the remote tier is asked for."},
	{stale, "{request}", "Reads answered past the TTL, or without proof in an outage."},
	{loads, "{load}", "Runs of loaders, per key: with a read that waits, or in the background."},
	{loadFailures, "{load}", "Runs of loaders that failed, or returned \"not found\", per key."},
	{loadUnleased, "{load}", "Loads without the fleet's lease, per key, since the server did not answer: other processes may load the same."},
	{fills, "{fill}", "Loaded values that were stored in the remote tier or were not, by result."},
	{remoteErrors, "{request}", "Requests to the remote tier that failed."},
}

// ofStore are the counters and gauges of the store as a whole.
var ofStore = []struct {
	name, unit, about string
	counter           bool
	of                func(*tier.Stats) float64
	attributes        []attribute.KeyValue
}{
	{name: localEntries, unit: "{entry}", about: "Entries in the local tier.", of: func(s *tier.Stats) float64 { return float64(s.LocalEntries) }},
	{name: localSize, unit: "By", about: "Estimated heap bytes of the local tier.", of: func(s *tier.Stats) float64 { return float64(s.LocalBytes) }},
	{name: localEvictions, unit: "{entry}", about: "Entries that left the local tier, by cause, or were not kept since they are too large.", counter: true,
		of: func(s *tier.Stats) float64 { return float64(s.LocalEvictions) }, attributes: []attribute.KeyValue{attribute.String(attrCause, "capacity")}},
	{name: localEvictions, counter: true, of: func(s *tier.Stats) float64 { return float64(s.LocalExpired) }, attributes: []attribute.KeyValue{attribute.String(attrCause, "expired")}},
	{name: localEvictions, counter: true, of: func(s *tier.Stats) float64 { return float64(s.LocalInvalidated) }, attributes: []attribute.KeyValue{attribute.String(attrCause, "invalidated")}},
	{name: localEvictions, counter: true, of: func(s *tier.Stats) float64 { return float64(s.LocalTooLarge) }, attributes: []attribute.KeyValue{attribute.String(attrCause, "too_large")}},
	{name: loadsRunning, unit: "{load}", about: "Runs of loaders that have not ended.", of: func(s *tier.Stats) float64 { return float64(s.LoadsRunning) }},
	{name: proofAge, unit: "s", about: "Age of the proof that changes are heard of: beyond the maximum staleness no local copy is served.", of: func(s *tier.Stats) float64 { return min(s.Staleness.Seconds(), 1e6) }},
	{name: lag, unit: "s", about: "The longest time from a change's record until it was applied here, of the last 10 to 20 s.", of: func(s *tier.Stats) float64 { return s.InvalidationLag.Seconds() }},
	{name: losses, unit: "{loss}", about: "How often the change log had lost history, so that every entry was loaded again.", counter: true, of: func(s *tier.Stats) float64 { return float64(s.HistoryLosses) }},
	{name: away, unit: "{outage}", about: "1 while the remote tier, or a server of it, is taken to be away: its breaker is open.", of: func(s *tier.Stats) float64 {
		if s.AwaySince.IsZero() {
			return 0
		}
		return 1
	}},
	{name: breakers, unit: "{breaker}", about: "Breakers by state: one for each server that was asked, and in a cluster one more for the change log.",
		of: func(s *tier.Stats) float64 { return float64(s.BreakersClosed) }, attributes: []attribute.KeyValue{attribute.String(attrState, "closed")}},
	{name: breakers, of: func(s *tier.Stats) float64 { return float64(s.BreakersSuspect) }, attributes: []attribute.KeyValue{attribute.String(attrState, "suspect")}},
	{name: breakers, of: func(s *tier.Stats) float64 { return float64(s.BreakersOpen) }, attributes: []attribute.KeyValue{attribute.String(attrState, "open")}},
	{name: outages, unit: "{outage}", about: "How often the remote tier was away for a second or more.", counter: true, of: func(s *tier.Stats) float64 { return float64(s.Outages) }},
	{name: changes, unit: "{change}", about: "Invalidations of this process.", counter: true, of: func(s *tier.Stats) float64 { return float64(s.Changes) }},
	{name: unacknowledged, unit: "{scope}", about: "What this process has invalidated and the change log has not recorded.", of: func(s *tier.Stats) float64 { return float64(s.Undelivered) }},
	{name: panics, unit: "{panic}", about: "Panics of the library's own code, recovered.", counter: true, of: func(s *tier.Stats) float64 { return float64(s.Panics) }},
}

// observe has a store's figures read whenever metrics are collected, until the store is closed. Nothing here keeps a closed
// store in memory. done ends it.
func observe(s *tier.Store, m metric.Meter, n *names, c *config) (done func(), err error) {
	instruments := make(map[string]metric.Observable)
	var errs []error
	make1 := func(name, unit, about string, counter, whole bool) {
		if instruments[name] != nil {
			return
		}
		var o metric.Observable
		var err error
		switch {
		case counter && whole:
			o, err = m.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(about))
		case counter:
			o, err = m.Float64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(about))
		default:
			o, err = m.Float64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(about))
		}
		instruments[name] = o
		errs = append(errs, err)
	}
	for _, i := range ofNamespaces {
		make1(i.name, i.unit, i.about, true, true)
	}
	for _, i := range ofStore {
		make1(i.name, i.unit, i.about, i.counter, false)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	all := make([]metric.Observable, 0, len(instruments))
	for _, i := range instruments {
		all = append(all, i)
	}
	store, own := weak.Make(s), append([]attribute.KeyValue(nil), c.attributes...)
	var mu sync.Mutex // guards sum: readers may collect at the same time
	sum := newSums(n)
	r, err := m.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		s := store.Value()
		if s == nil {
			return nil
		}
		st := s.Stats()
		for _, i := range ofStore {
			set := metric.WithAttributes(append(i.attributes[:len(i.attributes):len(i.attributes)], own...)...)
			switch o := instruments[i.name].(type) {
			case metric.Float64Observable:
				to.ObserveFloat64(o, i.of(&st), set)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		sum.add(&st)
		for name, values := range sum.told {
			for i, f := range figures { // zeros as well: a series that begins with 1 has no increase
				attributes := append([]attribute.KeyValue{attribute.String(attrNamespace, name)}, own...)
				for _, a := range f.attributes {
					attributes = append(attributes, attribute.String(a[0], a[1]))
				}
				to.ObserveInt64(instruments[f.metric].(metric.Int64Observable), values[i], metric.WithAttributes(attributes...))
			}
		}
		return nil
	}, all...)
	if err != nil {
		return nil, err
	}
	return func() { _ = r.Unregister() }, nil
}
