// Package changelog knows when the things that cached values depend on last
// changed, and decides whether a value loaded as of some position is still true.
//
// # What it promises
//
// Every value carries an [invalidation.AsOf]: the position in the store's change log at
// which its load began. A value is valid if and only if nothing it depends on
// (a [invalidation.Scope]: a namespace path, a source, or a single key) changed after that
// position, its incarnation is the log's, and it is not below the log's floor.
//
//   - [Tail.Change] in this process: from the moment it is called no value that
//     depends on the scopes is valid here, and when it returns without an error
//     the change is in the log. If it returns an error the change still holds
//     here, and is sent again in the background until the log acknowledges it or
//     the tail is closed.
//   - In other processes: a published message applies the change within one
//     push. A lost, late, reordered or damaged message costs at most one
//     heartbeat, because a message is a hint and the log is the truth.
//   - [View.Proof] is the local monotonic time at which the latest answered
//     delta read was sent. A process that serves local copies only while now-Proof
//     is at most D never serves a value that changed more than D ago, whatever
//     the network, the server or the scheduler did in between.
//   - If the server loses history (log deleted, evicted, flushed, or replaced by
//     an older replica) the log gets a new incarnation, which no earlier value
//     matches. Losing history costs misses; it never revives a value.
//
// # What it does not promise
//
// A change that was acknowledged by a server which then lost it, together with
// every process that knew of it, is lost. So is a change whose process died after
// Change had returned an error. Ticks order changes; they are not times, and are
// never compared with a local clock.
//
// # In the log
//
// The log is one sorted set: a member per scope, scored with the tick of its
// latest change, plus the floor, and members of its own with the score -1, of which
// the incarnation is always the first. It is one key on purpose: it can be lost only as a
// whole, and a log without its incarnation is no log. A log that holds anything else,
// by its spelling or its score, is damaged, which counts as lost. Versions that know
// other formats share it: see [Format].
package changelog
