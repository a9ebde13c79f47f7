// Package stripe has counters for paths that many goroutines take at once.
package stripe

import (
	"sync"
	"sync/atomic"
	"unsafe"
)

// Counter is an adder for the hot path. It is one number, until goroutines on different cores add to it at the same time:
// from then on they add to different cache lines. Reading it adds the stripes up, so a sum that is read
// while others add is some value in between.
type Counter struct {
	one  atomic.Int64
	wide atomic.Pointer[stripes]
}

type stripes [counterStripes]struct {
	n atomic.Int64
	_ [56]byte // one cache line each
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
	w := c.wide.Load()
	if w == nil {
		n = c.one.Load()
		if c.one.CompareAndSwap(n, n+1) {
			return n + 1
		}
		w = c.widen()
	}
	var here byte
	at := uint64(uintptr(unsafe.Pointer(&here))) >> 11 // the smallest stack has 2 KiB
	return w[at*0x9e3779b97f4a7c15>>(64-stripeBits)].n.Add(1)
}

func (c *Counter) widen() *stripes {
	c.wide.CompareAndSwap(nil, new(stripes))
	return c.wide.Load()
}

// Sum returns the number of Adds.
func (c *Counter) Sum() (n int64) {
	n = c.one.Load()
	if w := c.wide.Load(); w != nil {
		n += w.sum()
	}
	return n
}

func (w *stripes) sum() (n int64) {
	for i := range w {
		n += w[i].n.Load()
	}
	return n
}

// Set is counters whose sum is quick to read, however many there are: they are side by side in memory. The zero Set is empty.
type Set struct {
	mu     sync.Mutex // guards what follows
	blocks []*block
	free   []*Counter
	gone   int64 // the sum of those that were released
}

type block [1024]Counter

// New returns a counter.
func (s *Set) New() *Counter {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.free) == 0 {
		b := new(block)
		s.blocks = append(s.blocks, b)
		// Those that are handed out one after the other are not in one cache line.
		for i := range b {
			s.free = append(s.free, &b[(i%4)*(len(b)/4)+i/4])
		}
	}
	c := s.free[len(s.free)-1]
	s.free = s.free[:len(s.free)-1]
	return c
}

// Release takes a counter back, to which nothing is added any more. It still counts in Sum.
func (s *Set) Release(c *Counter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone += c.one.Swap(0)
	if w := c.wide.Swap(nil); w != nil {
		s.gone += w.sum()
	}
	s.free = append(s.free, c)
	if len(s.free) == len(s.blocks)*len(block{}) {
		s.blocks, s.free = nil, nil
	}
}

// Sum returns the number of Adds to all counters. It never falls.
func (s *Set) Sum() (n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n = s.gone
	for _, b := range s.blocks {
		for i := range b {
			n += b[i].Sum()
		}
	}
	return n
}

// Count is a number that counts in a total as well.
type Count struct {
	n     atomic.Int64
	total *atomic.Int64 // nil: there is none
}

// CountIn has c count in the number of total as well. It is called before any Add.
func (c *Count) CountIn(total *Count) { c.total = &total.n }

// Add adds n.
func (c *Count) Add(n int64) {
	c.n.Add(n)
	if c.total != nil {
		c.total.Add(n)
	}
}

// Load returns the number.
func (c *Count) Load() int64 { return c.n.Load() }
