//go:build !linux

package coherence

import "time"

// Time is nanoseconds of this process's monotonic clock: there are no members in
// other processes here.
type Time int64

const skew = 0

var baseTime = time.Now()

// Now costs what time.Now does.
func Now() Time { return 1 + Time(time.Since(baseTime)) }
