// Package tier is a two-tier cache: decoded objects in this process over encoded
// entries in Valkey. No reader is given an entry that it could know to have
// changed.
//
// A [Store] is opened once per process. A [Cache] is a typed view of one of its
// namespaces. A read is answered by the local tier, by the remote tier, or by
// the caller's [Loader], whichever has the value first; callers of one key share
// one load, in the process and in the fleet.
//
// # What a reader may see
//
// Every value carries the position of the change log as of which its load
// began; it is believed if and only if nothing it depends on changed after
// that. What it depends on is its namespace, those above it, the sources that
// its loader named, its key, and the store's version.
//
//   - In the process that invalidates, sets or deletes: once the call returned,
//     no read that starts sees an older value. Not one.
//   - Nor does one see an older value than this process has returned already,
//     whichever way either was read (but see below).
//   - In other processes: the same within one push of the server (well under a
//     millisecond on a local network); and whatever the network, the server or
//     the scheduler does, no later than the maximum staleness
//     ([WithMaxStaleness], 1 s) after the change was acknowledged. That bound
//     needs no failure to be detected: a local copy is served only while this
//     process has proof, no older than that, that it follows the log.
//   - With [Fresh]: no value older than any change that was acknowledged, in any
//     process, before the read began.
//   - A load that overlaps a change of what it used is given to the callers that
//     asked for it before the change, and to no others. Neither tier believes it,
//     whichever path made it.
//   - What was set is not followed by an older Set or Delete that was given up or
//     failed: when one of them returns it has been performed, or never will be.
//   - Whatever is lost in the server (a key evicted or deleted, everything
//     flushed, the change log gone) costs loads. It brings nothing back.
//
// # While the remote tier is away
//
// No read fails that its loader can answer, and only the first ones wait, for at
// most [WithRemoteTimeout]. Set and Delete fail at once with [ErrUnavailable]; the
// first ones fail as late as reads give up. An invalidation returns an error, holds
// in this process at once, and is sent again until it is recorded. What is loaded is
// not kept, unless [WithOutageTTL] is set, which trades the second point above for
// less load on the origin.
//
// # What it does not promise
//
//   - The reader of a value that changes a moment later has the older one. A
//     cache orders nothing; Fresh narrows the window, it does not close it.
//   - A loader that reads a lagging replica of its source makes old values that
//     look new; [Settle] cuts those off.
//   - What is loaded while the remote tier does not answer is not stored there. When
//     it answers again it may give a value that was stored earlier, if no change of
//     that was recorded. Likewise if Set or Delete overlap a load, which is then
//     taken for the older of the two.
//   - A change acknowledged by a server that loses it, together with every
//     process that knew of it, is lost. A server cut off from its replicas that
//     still answers is believed until it is replaced.
//   - Time is measured on CLOCK_MONOTONIC, which stands still while the machine
//     is suspended: right after waking up a copy may be older than the bound.
//   - In a cluster, a primary that was replaced without knowing it is believed
//     until it finds that it has lost the others (cluster-node-timeout).
//
// # Who owns what
//
// Values are shared between callers and must be treated as read-only. Loaders,
// codecs and observers are called without any lock held. Loaders get a context
// with the first caller's values and not its cancellation.
//
// # The strategies
//
// TTL by kind of content ([WithTTL], [Entry.SetTTL]), version bump
// (Store.InvalidateAll), source documents ([Entry.DependsOn],
// Store.InvalidateSource), namespaces (Store.InvalidateNamespace, Store.Purge)
// and LRU under maxmemory (Store.Health says how the server is set) combine
// freely in one cache; each has an example below.
package tier
