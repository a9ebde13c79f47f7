// Package remote is the tier that processes share: encoded entries by key,
// their leases, and the change log, in Valkey or in this process.
//
// [Valkey] connects to a server. [NewEmbedded] keeps everything in memory, and
// several stores on one such backend behave towards each other as processes on one
// server do. A backend is given to tier.WithRemote; what a store does with it is internal.
// Both pass one battery of tests.
package remote
