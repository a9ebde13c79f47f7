// Package serverclock bounds a server's wall clock by the local monotonic clock.
package serverclock

import (
	"time"

	"github.com/tiercache/tiercache/internal/mono"
)

// Reading is a server's clock in the answer to one request. The server read its clock after the request was sent here
// and before the answer arrived here, so each of the two gives a bound.
//
// The bounds hold until the server's clock is set.
type Reading struct {
	At              time.Time // the server's clock
	Asked, Answered mono.Time // local
}

// maxDrift is 200 ppm: as much as a quartz can be off, and more than a working time service slews a clock by.
const maxDrift = 5000

// Earliest returns a lower bound of the server's clock at now, which need not be the present: apart from drift, no more
// time has passed here since the answer than there since the clock was read.
func (r Reading) Earliest(now mono.Time) time.Time {
	// guard: G1-clock-drift
	// guard: G1-clock-counts-from-answer
	return r.At.Add(now.Sub(r.Answered) - max(now.Sub(r.Asked), 0)/maxDrift)
}

// Latest returns an upper bound of the server's clock at now: no less time has passed here since the request than there
// since the clock was read. It is for the lives of entries, for which drift does not matter, and ignores it.
func (r Reading) Latest(now mono.Time) time.Time {
	return r.At.Add(now.Sub(r.Asked))
}
