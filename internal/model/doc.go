// Package model is the as-of protocol without its code: small enough to be read
// in one sitting, and to be searched to the end.
//
// A [State] is a server (change log, one entry, one lease) with a replica that
// may lag, and two processes: what each knows, its local copy, the read or load
// that it is making, its heartbeat, and what is on its way to it. [Search] tries
// every order in which what is enabled can happen: reads that miss, loads that
// find the source late, fills, changes, sets and deletes whose callers give up,
// messages that are lost or late, or wait for the next one, connections that break, the log deleted, a lagging
// replica promoted, also beside the old primary, the server set back to an image of
// itself, leases that expire, and time that passes. In every state it asks whether a
// read could now be given what the invariants forbid.
//
// Where [Limits.Suspend], a lost connection suspends local copies, and they are
// believed again once the server says that the entry is still the same write. It is asked
// in place of a read, and in the background beside one.
//
// # What it shows
//
// With all [Guards] no such state is reachable within the [Limits]; with any one
// of them taken out, but for four, one is, and Search returns the shortest way there. Both are
// tests. So is what the protocol cannot find out.
//
// # What it does not show
//
// Limits are small: two changes, one of each loss. The model is of the protocol
// as it is meant (docs/rules.md, remote/scripts.go, package invalidation), and
// nothing but reading keeps the two alike. Time is in steps, of which the maximum
// staleness is one. There is one key and one source, both processes know all of
// the log's past, and namespaces, floors, horizons, overflow and the background
// refresh are left out, and so are clusters. The clocks of two servers that are there agree, and that of a replica that is
// promoted may be behind the dead primary's, unless [Limits.Agree]. Calls
// of Set and Delete follow one another: a write that was given up, and one that is
// called later, are all that overlap.
//
// Copies that a lost connection does not suspend (V2) are left out as well: of those the model would show nothing that it does not
// show of sources. They are judged by R1 with a delta that is read over the new connection, as any item is by a source that
// changed while the connection was down: their key is a scope, or no server has it, and no invalidation takes part. What is
// special to them is that their marks were discarded or not, which is a question of memory; tests take that out (guards V2-…).
//
// Models of one thing each are the packages below this one:
//
//   - givenup: writes of one key on several connections, by the server's clock;
//   - declarations: how a lost Set is found out, and what trimming does to that;
//   - ownreads: what a process reads while its own fill is on its way;
//   - views: views, and modes of stores, that share a namespace;
//   - settle: changes of a source whose replicas lag;
//   - sideversions: two versions of a program, whose encodings differ.
//
// Package search is the search, and modeltest what their tests have in common.
package model
