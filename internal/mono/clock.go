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
	// used again: 22 µs at 3 GHz, and 109 at slowest. The rest of Slack allows for
	// out-of-order execution: the processor may read the counter some hundred
	// instructions early.
	window = 1 << 16
	// slowest is how many ticks a counter has to make in a nanosecond.
	slowest = 0.6
	// off as ticks means that no reading is used again: no counter reaches it, or is ever
	// less than window beyond it.
	off = 1 << 63
)

// Clock returns a time slightly ahead of the present, for a third of the cost of [Now]. By
// the processor's counter it decides whether the previous reading of the clock can be used
// again: the counter shows only that little time has passed, so its rate need not be known.
//
// A caller that compares a deadline (of a TTL, of a proof) with Soon may take it to have
// passed up to Slack too early, and never too late. There is one exception. A virtual
// machine that is stopped, and continued with its clock set forward and its counter not,
// may go on using the previous reading for the rest of window.
//
// Soon is the same as Now where the counter may stop or change its rate, where the kernel
// does not itself use it as the clock, on all platforms except linux/amd64, and in bubbles
// of testing/synctest, whose time the counter does not follow. A Clock must be made and
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

// Soon returns a time that is not before the present, see [Slack]. It never allocates.
//
// It loads ticks before at; keep stores at before ticks. So at is the reading that belongs
// to ticks, or a later one, which is nearer to the present. The other way round:
//
//	A: loads at: 100
//	B: reads the clock: stores at 200, ticks 9
//	A: loads ticks: 9, and takes 100 for the reading that belongs to it
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

// keep replaces the reading that belongs to ticks by now, which was read while the counter
// went from before to after, unless another goroutine does so. It turns the clock off if
// the counter was too slow since ticks, or is behind: the counter of another processor may
// have been ahead when ticks was read.
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
