// Package core is the engine of package tier, for values of any type: how a key is read, loaded, filled, written and
// invalidated. Package tier has the API: types, options, and the conversions of values.
//
// A [Store] has what is one per process, a [Cache] what is one per view of a namespace while it is used (a [View] is what
// is left of one that is idle, and a [Lasting] what is left of its namespace), and a loadRun is one run of a
// loader. Read it in this order: cache.go (a hit), read.go and share.go (a read that misses, and which callers share it), load.go
// and lease.go (a run, and the leases of the fleet), fill.go (what was loaded goes into both tiers), write.go (Set and
// Delete), judge.go (what is believed). Exported fields are for package tier, which makes its figures and its health of
// them.
//
// The packages that it is made of: session (the connection, the log, and what is judged by them), inflight (calls, and
// whether their keys changed meanwhile), record (a local copy), values (encoding and size), breaker, pace, loads, pieces.
package core
