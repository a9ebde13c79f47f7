// Package serverclock bounds what a server's wall clock says, by the local monotonic clock.
package serverclock

import (
	"time"

	"github.com/tiercache/tiercache/internal/mono"
)

// Reading is what a server's clock said in the answer to one question. The server read its clock after the question
// was asked here and before the answer was heard here, so each of the two gives a bound.
//
// The bounds hold until the server's clock is set.
type Reading struct {
	At              time.Time // the server's clock
	Asked, Answered mono.Time // local
}

// maxDrift is 200 ppm: what a quartz is off by, and more than that by which a time service that does its work slews.
const maxDrift = 5000

// Earliest returns a lower bound of the server's clock at now, which need not be the present: no more time has passed
// here since the answer than there since the clock was read, but for what one clock may be slower than the other.
func (r Reading) Earliest(now mono.Time) time.Time {
	// guard: G1-clock-drift
	// guard: G1-clock-counts-from-answer
	return r.At.Add(now.Sub(r.Answered) - max(now.Sub(r.Asked), 0)/maxDrift)
}

// Latest returns an upper bound of the server's clock at now: no less time has passed here since the question than
// there since the clock was read. It is for lives of entries, to which drift is no matter, and leaves that out.
func (r Reading) Latest(now mono.Time) time.Time {
	return r.At.Add(now.Sub(r.Asked))
}
