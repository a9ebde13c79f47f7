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
	// used again: less than Slack if it counts at more than 500 MHz, and 22 µs at 3 GHz.
	// The difference is for what the processor does out of order: it may read the counter
	// some hundred instructions early.
	window = 1 << 16
	// off is when nothing is used again: no counter reaches it, or ever has less than
	// window to go from it.
	off = 1 << 63
)

// Clock tells what will soon be the time, for a third of what [Now] costs. It asks the
// processor's counter whether the reading of before will do: between two readings the
// counter says no more than that little has passed, so it need not be known how fast it
// counts. A virtual machine whose counter was stopped for a while, and its clock was not,
// takes it for before that in what it runs of the same window afterwards: as does whoever
// had read the clock itself just then.
//
// Who asks whether something is over by now (a TTL, a proof) errs towards yes by at
// most Slack, and never towards no.
//
// It reads as Now does where the counter may stop or change its rate, where the kernel
// does not keep its own time by it, on anything but linux/amd64, and in bubbles of
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
	if counter()-ticks < window {
		return at.Add(Slack)
	}
	before, now := counter(), Now()
	c.keep(ticks, before, now, counter())
	return now
}

// keep replaces the reading of ticks by now, which was read while the counter went from
// before to after, unless somebody else does so. A counter that has been so slow since
// then that Slack does not hold is not used again.
func (c *Clock) keep(ticks, before uint64, now Time, after uint64) {
	if !c.ticks.CompareAndSwap(ticks, off) {
		return
	}
	passed := now.Sub(Time(c.at.Load()))
	if float64(passed) > float64(after-ticks)*(float64(Slack)/window) {
		return
	}
	c.at.Store(int64(now))
	c.ticks.Store(before)
}
