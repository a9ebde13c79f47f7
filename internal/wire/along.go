package wire

import (
	"time"

	"github.com/tiercache/tiercache/internal/mono"
)

const (
	// soon is how long after a request that nobody waits for the next one comes if it is
	// to take that along.
	soon = 100 * time.Microsecond
	// minStreak and maxStreak bound how often in a row it has to have come so soon before
	// it is relied on.
	minStreak, maxStreak = 16, 1 << 16
	// leastTime is how much time a request must have that is left.
	leastTime = 20 * time.Millisecond
)

// along leaves a request that nobody waits for to whoever asks next, who then writes
// both together. That saves one of the two writes that a lone caller's miss takes, and
// having the server come round for it.
//
// It is done only while one caller asks again at once, time after time, and nobody else
// has a request under way; and only while the client waits beside who reads, since it
// writes within a millisecond or two what nobody has taken along, or when the scheduler
// lets it: after 10 ms or so where all processors compute. When it has to, nobody is
// relied on for a while, and for longer the more often it does.
type along struct {
	left   bool      // what is out waits to be taken along
	since  mono.Time // when the last one was put out; 0: somebody has asked since
	streak int       // how often in a row the next request came soon
	needed int       // how often it has to have
}

// leaveLocked reports whether r, which was put out and which nobody waits for, is left
// to be taken along.
func (c *Conn) leaveLocked(r *request) bool {
	c.along.since = mono.Now()
	c.along.left = c.waits && c.along.streak >= c.along.needed && c.owed.n == 1 && time.Until(r.until) > leastTime
	return c.along.left
}

// nextLocked is called when somebody asks.
func (c *Conn) nextLocked() {
	a := &c.along
	if a.since == 0 {
		return
	}
	if mono.Now().Sub(a.since) <= soon {
		a.streak = min(a.streak+1, maxStreak)
		if a.left {
			a.needed = max(minStreak, a.needed-a.needed/8)
		}
	} else {
		a.streak = 0
	}
	a.since = 0
}

// takeLeftLocked has the client write what nobody has taken along.
func (c *Conn) takeLeftLocked() {
	a := &c.along
	if !a.left {
		return
	}
	if mono.Now().Sub(a.since) > soon {
		a.needed = min(2*a.needed, maxStreak)
	}
	c.writeGatheredLocked()
}
