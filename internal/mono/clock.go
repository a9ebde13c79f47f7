package mono

import (
	"sync/atomic"
	"time"
)

// Slack is how far ahead of [Now] [Clock.Soon] may be, if the goroutine is not held up
// while it reads the clock.
const Slack = 1 << 17 * time.Nanosecond

const (
	// window is for how many ticks of the processor's counter a reading of the clock is
	// used again: 22 µs at 3 GHz, and 109 at slowest. What is left of Slack then is for
	// what the processor does out of order: it may read the counter some hundred
	// instructions early.
	window = 1 << 16
	// slowest is how many ticks a counter has to make in a nanosecond.
	slowest = 0.6
	// off is when nothing is used again: no counter reaches it, or ever has less than
	// window to go from it.
	off = 1 << 63
)

// Clock tells what will soon be the time, for a third of what [Now] costs. It asks the
// processor's counter whether the reading of before will do: between two readings the
// counter says no more than that little has passed, so it need not be known how fast it
// counts.
//
// Who asks whether something is over by now (a TTL, a proof) errs towards yes by at
// most Slack, and never towards no. There is one exception. A virtual machine that is
// stopped, and continued with its clock set forward and its counter not, may go on using
// the reading of before for what it has yet to run of window.
//
// It reads as Now does where the counter may stop or change its rate, where the kernel
// does not itself tell the time by it, on anything but linux/amd64, and in bubbles of
// testing/synctest, whose time the counter does not follow. A Clock must be made and
// used in the same bubble, or outside of all.
type Clock struct {
	ticks atomic.Uint64 // the counter before at was read; off while both are changed
	at    atomic.Int64
	_     [48]byte // a cache line of its own
}

// NewClock returns a Clock.
func NewClock() *Clock {
	c := &Clock{}
	c.ticks.Store(off)
	// guard: no-counter-in-bubble
	if counterIsTrusted() && !inBubble() {
		before := counter()
		c.at.Store(int64(Now()))
		c.ticks.Store(before)
	}
	return c
}

// Soon returns a moment that is not before the present, see [Slack]. It never allocates.
//
// ticks is read before at, which is written before ticks: so at is what was read then, or
// later, which is nearer to the present. The other way round:
//
//	A: reads at 100
//	B: reads the clock anew: at 200, ticks 9
//	A: sees ticks 9, and takes 100 for what was read then
func (c *Clock) Soon() Time {
	ticks := c.ticks.Load()
	if ticks == off {
		return Now()
	}
	at := Time(c.at.Load())
	// guard: clock-reading-window
	if counter()-ticks < window {
		// guard: clock-slack
		return at.Add(Slack)
	}
	before, now := counter(), Now()
	c.keep(ticks, before, now, counter())
	return now
}

// keep replaces the reading of ticks by now, which was read while the counter went from
// before to after, unless somebody else does so. A counter that has been too slow since
// then, or is behind, is not used again: another processor's may have been ahead when that
// was read.
func (c *Clock) keep(ticks, before uint64, now Time, after uint64) {
	// guard: clock-reading-owner
	if !c.ticks.CompareAndSwap(ticks, off) {
		return
	}
	passed := now.Sub(Time(c.at.Load()))
	// guard: counter-behind
	// guard: slow-counter
	if before < ticks || float64(passed)*slowest > float64(after-ticks) {
		return
	}
	c.at.Store(int64(now))
	c.ticks.Store(before)
}
