// Package mono reads the monotonic clock as one number.
//
// Every deadline inside a process (expiry of a local copy, age of a proof) is
// compared on this clock: wall clocks step, and ticks of the change log are never
// compared with a local clock. Inside a testing/synctest bubble it is the bubble's
// fake clock.
//
// It does not advance while the whole machine is suspended (CLOCK_MONOTONIC).
package mono

import "time"

var start = time.Now()

// Time is nanoseconds since an arbitrary time; it is always positive, so that
// the zero Time can stand for "never".
type Time int64

// base keeps Now positive in bubbles too, whose clocks begin decades before this
// process did.
const base Time = 1 << 60

// Now takes about 30 ns; it never allocates.
func Now() Time { return base + Time(time.Since(start)) }

// Sub returns t-u.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t - u) }

// Add returns t+d.
func (t Time) Add(d time.Duration) Time { return t + Time(d) }
