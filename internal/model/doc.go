// Package model is the as-of protocol without its code: small enough to be read
// in one sitting, and to be searched to the end.
//
// A [State] is a server (change log, one entry, one lease) with a replica that
// may lag, and two processes: what each knows, its local copy, the read or load
// that it is making, its heartbeat, and what is on its way to it. [Search] tries
// every order in which what is enabled can happen: reads that miss, loads that
// find the source late, fills, changes, sets, messages that are lost or late,
// connections that break, the log deleted, a lagging replica promoted, also beside
// the old primary, leases that expire, and time that passes. In every state it asks
// whether a read could now be given what the invariants forbid.
//
// # What it shows
//
// With all [Guards] no such state is reachable within the [Limits]; with any one
// of them taken out, but for three, one is, and Search returns the shortest way there. Both are
// tests.
//
// # What it does not show
//
// Limits are small: two changes, one of each loss. The model is of the protocol
// as it is meant (docs/protocol.md, remote/scripts.go, package invalidation), and
// nothing but reading keeps the two alike. Time is in steps, of which the maximum
// staleness is one. There is one key and one source, both processes know all of
// the log's past, and namespaces, floors, horizons, overflow, settling and the
// background refresh are left out, and so are clusters. The clocks of two servers
// agree.
package model
