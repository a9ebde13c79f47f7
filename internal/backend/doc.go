// Package backend is the contract between a store and its shared tier: what a connection
// does, and what is asked and answered. Package remote implements it.
//
// A [Backend] makes a [Conn] for each store. What a Conn does is in parts: [Reader], [Leaser],
// [Writer], [Prober], [changelog.Log] and [Server].
//
// # What a connection promises
//
//   - Order: everything that the server sent before it answered a read (a push
//     about a key), and the loss of the connection, has been delivered to [Events]
//     before that read returns, if both use the tracked connection. That is what
//     makes an answered [changelog.Log.Delta] a proof. Events are called on the
//     goroutine that reads the connection.
//   - Reads track: after a Get of a key, present or not, one invalidation comes when
//     the key changes, whichever program changed it, unless the connection is lost,
//     which Events.Lost and another Delta.Connection show.
//   - Writes track as well: see [Write] for the one invalidation that a write itself
//     causes.
//   - Leases: a Write with a token stores nothing unless that token still holds
//     the key's lease; Delete and a Write without one take the lease away. So a
//     slow load never overwrites a newer value.
//   - In a cluster, order is kept with each server, and Shard and Prove tell which
//     of them have answered.
//   - Atomicity: each Write, Lease, Delete of a key, Append, Delta and Renew is
//     one step of the server.
//
// # What it does not promise
//
// It does not decide what is valid, and keeps no local copies. After an error of a
// write it is not known whether the server performed it. An [Item] is the bytes as
// they are stored: they are hostile until decoded.
package backend
