// Package local is the in-process tier: a concurrent cache of decoded values, bounded by entries, by bytes, or by both.
//
// The eviction policy is hashicorp/golang-lru, unless [Config.Policy] says otherwise. To it this package adds what a cache
// on a hot read path needs: an index that readers search without a lock, and a record of their uses that is applied to
// the policy in small batches.
//
// # What it promises
//
//   - A Get that starts after Put, Remove, RemoveEntry or Clear returned never sees the value which that call displaced.
//     A Get that runs beside one of them may see the state before or after it.
//   - Get and Peek never wait: they take no lock and allocate nothing, whatever writers do. When many uses wait to be
//     applied because there are no writers, a Get also moves up to four entries in the policy's order, if it gets the
//     shard's lock at once.
//   - Every value that was stored leaves exactly once, through Config.OnRemove, after it can no longer be found.
//   - The bounds hold whenever no Put is running. A Put adds first and evicts before it returns, so while n of them
//     run, the cache can be over its bounds by those n values, and no more.
//   - Any value that fits into MaxBytes on its own is stored: the bounds are the whole cache's, never one shard's.
//   - Under the policy LRU, the entry evicted is the least recently used of the whole cache, not of the shard being
//     written to. If the bounds keep the cache below 1024 entries (and Shards is not set), the order is exactly that of
//     an LRU for a single goroutine. In a larger one, an entry among the newest eighth is not moved when it is used, which
//     costs at most a tenth of a point of hit ratio on the traces tested; and in any cache, a use may be forgotten when
//     several goroutines record theirs at the same instant.
//   - Under the other policies a use soon after the latest recorded one is not recorded, however small the cache, and
//     all writers share one lock. Storing an entry never evicts that entry itself.
//
// # What it does not promise
//
//   - Values are shared, not copied: all callers get the same one and must treat it as read-only.
//   - It neither expires, validates nor loads values; there is no time in this package.
//   - Keys are 128-bit hashes and equal keys are equal to this package. Their bits must be uniformly distributed: they
//     choose shard and slot as they are.
//   - Clear is not atomic across shards: a Put that runs beside it may survive it.
//   - A value removed while a Get was recording its use may stay reachable for the garbage collector until the next
//     write to its shard.
package local
