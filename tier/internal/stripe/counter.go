// Package stripe has a counter for paths that many goroutines take at once.
package stripe

import (
	"sync/atomic"
	"unsafe"
)

// Counter is an adder for the hot path: goroutines on different cores add to
// different cache lines. Reading it adds the stripes up, so a sum that is read
// while others add is some value in between.
type Counter struct {
	stripes [counterStripes]struct {
		n atomic.Int64
		_ [56]byte // one cache line each
	}
}

const (
	stripeBits     = 5 // 2 KiB
	counterStripes = 1 << stripeBits
)

// Add picks the stripe by the address of the goroutine's stack: goroutines that run
// at the same time have different stacks, and each keeps its own for a while. With
// stripes picked at random, half of the cache lines that a core needs would be in the
// cache of another. It returns the number of the event within its stripe.
func (c *Counter) Add() (n int64) {
	var here byte
	at := uint64(uintptr(unsafe.Pointer(&here))) >> 11 // the smallest stack has 2 KiB
	return c.stripes[at*0x9e3779b97f4a7c15>>(64-stripeBits)].n.Add(1)
}

func (c *Counter) Sum() (n int64) {
	for i := range c.stripes {
		n += c.stripes[i].n.Load()
	}
	return n
}
