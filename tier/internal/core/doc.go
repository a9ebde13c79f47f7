// Package core is the engine of package tier, for values of any type: how a key is read, loaded, filled, written and
// invalidated. Package tier has the API: types, options, and the conversions of values.
//
// A [Store] has what is one per process, a [Cache] what is one per view of a namespace while it is used (a [View] is what
// is left of one that is idle, and a [Lasting] what is left of its namespace), and a loadRun is one run of a loader.
//
// Files stand in layers, and use those of layers above their own, in this list, alone:
//
//   - errors, key, entry, stats, observer, tracer, lasting, inside, store, view, cache (a hit): what all of them use
//   - counts, early, encodings, valuewarnings: counting, early renewal, warnings
//   - judge (what is believed), sealed (the bytes of an entry), finish (a call ends with what was read), suspended, outage, pause
//   - warm, share (which callers share a call), await (what a caller waits for), peek, explain, invalidate, write (Set and Delete)
//   - told, rights, limits, fleetcycle, lease, fill, load: a run of a loader, its leases, and what it loaded goes into both tiers
//   - batch, uncoalesced, refresh, many, read: a read that misses, of one key and of many
//
// Within a layer files use each other. Two ways lead up: a run that finds in lease what another process has loaded goes
// on as a read, and has it refreshed if that is due; and a view, which makes a cache when it is used, warms that up.
// (A test of internal/rules fails on any other.)
//
// Exported fields are for package tier, which makes its figures and its health of them.
//
// The packages that it is made of: session (the connection, the log, and what is judged by them), inflight (calls, and
// whether their keys changed meanwhile), record (a local copy), values (encoding and size), breaker, pace, loads, pieces.
package core
