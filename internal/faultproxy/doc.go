// Package faultproxy stands between a client and a Valkey server and lets a test
// break the connection in the ways in which networks and servers break them.
//
// It reads RESP, so it can treat the server's pushes (tracking invalidations, messages
// of channels), its replies and the client's requests differently: a [Rule] drops,
// holds, delays, duplicates or reorders messages of one [Class]. Beneath that it
// treats bytes: [Proxy.Freeze] (half-open: connections stay, or are accepted, and
// nothing is forwarded), [Proxy.Throttle], [Proxy.Latency], [Proxy.Cut],
// [Proxy.Reset], [Proxy.CutWithin] (in the middle of a message) and [Proxy.Greet]
// (told something before anything was asked, and closed).
//
// # What it promises
//
//   - Without rules every byte passes unchanged and in order.
//   - A rule applies from the next message on, to all connections, present and
//     future. Which messages it hits follows from the seed, the connection's
//     number and the message's: the same traffic meets the same fate.
//   - What is held stays held until [Proxy.Release], or is lost with its
//     connection.
//   - [Proxy.Stats] counts what was done, so that a test can see that its fault
//     took place.
//   - After [Proxy.Close] no goroutine or connection is left.
//
// # What it does not promise
//
// Not all of this can happen to one TCP connection. A server never drops,
// duplicates or reorders what it has sent; what it does is end the connection.
// Messages of channels are hints for this library, so all of it may be done to
// them; tracking invalidations carry a promise of the server, and so do replies: of
// those only [Hold] and [Delay] of everything ([Proxy.Freeze], [Proxy.Throttle])
// are real. What a proxy that breaks those promises shows is a client that
// believes a liar.
package faultproxy
