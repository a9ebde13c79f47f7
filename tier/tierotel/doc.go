// Package tierotel reports a store to OpenTelemetry: metrics and traces. [Open] instead of [tier.Open] is all that it takes:
//
//	store, err := tierotel.Open(ctx, tier.WithValkey("valkey://127.0.0.1:6379"))
//
// Names and attributes are stable. What each means, and what to do, is in docs/metrics.md of the repository; a dashboard for
// Grafana and alert rules for Prometheus are in the folders grafana and prometheus beside this file.
//
// # Metrics
//
// Counters and gauges are read from [tier.Store.Stats] when they are collected, which asks no server. So a local hit costs what
// it costs without them. Durations of loads, changes and requests to Valkey are histograms, recorded when they end.
//
// The attribute tiercache.namespace is the first segment of a namespace, or what [WithNamespace] makes of it: at most 200
// values, and "other" beyond them.
//
// # Traces
//
// Under a caller's span there are spans of its requests to Valkey, of loads, of changes, and of the wait for another caller's
// load, which has a link to that load's span. What is done without a caller (heartbeats) has no span. A local hit has none.
package tierotel
