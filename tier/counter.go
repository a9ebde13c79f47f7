package tier

import (
	"math/rand/v2"
	"sync/atomic"
)

// counter is an adder for the hot path: goroutines on different cores add to
// different cache lines. Reading it adds the stripes up, so a sum that is read
// while others add is some value in between.
type counter struct {
	stripes [counterStripes]struct {
		n atomic.Int64
		_ [56]byte // one cache line each
	}
}

const counterStripes = 16 // enough for a hot key on as many cores; 1 KiB

func (c *counter) add() {
	// The runtime's own generator is per thread and takes about 2 ns.
	c.stripes[rand.Uint32()%counterStripes].n.Add(1)
}

func (c *counter) sum() (n int64) {
	for i := range c.stripes {
		n += c.stripes[i].n.Load()
	}
	return n
}
