// Package readtime gives packages of this module the time at which an invalidation.AsOf was taken, which is in an
// unexported field of it (rule S6): programs need not know that there is one.
package readtime

import "github.com/tiercache/tiercache/internal/mono"

// Set by package invalidation; asOf is an invalidation.AsOf.
var (
	// Of returns when asOf was taken; 0 if that is not known: it comes from another process, or is the position of a change.
	Of func(asOf any) mono.Time
	// With returns asOf as taken at that time; 0 removes the time.
	With func(asOf any, at mono.Time) any
)

// Settled is the time of an AsOf that was taken when all changes that its process knew of had settled.
const Settled mono.Time = 1<<63 - 1
