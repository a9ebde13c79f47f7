package wire

import (
	"net"
	"time"

	"github.com/tiercache/tiercache/internal/mono"
)

const (
	// rounds is how often a caller writes for others before a goroutine does.
	rounds = 4
	// keptOut bounds the buffers that are kept.
	keptOut = 128 << 10
)

// writeLocked writes what is out, unless another does.
func (c *Conn) writeLocked() {
	if len(c.out) > 0 && !c.writing {
		c.writing = true
		c.flushLocked(true)
	}
}

// flushLocked writes what is out, and what comes while it does. Its caller has set
// writing, and holds c.mu. A caller that waits for
// an answer of its own is not to be held up by the network, nor by others for long.
func (c *Conn) flushLocked(caller bool) {
	for i := 0; len(c.out) > 0 && c.err == nil; i++ {
		if caller && i == rounds {
			c.goOn(nil)
			return
		}
		if c.gathered > 0 && mono.Now().Sub(c.since) > gatherAtMost {
			// guard: write-when-callers-are-slow
			c.hasty = hasteAfter
		}
		b := c.out
		c.gathered = 0
		// guard: own-write-buffer
		c.out, c.spare = c.spare[:0], nil
		c.drainedLocked()
		var rest []byte
		c.apart(func() { rest = c.write(b, caller) })
		if len(rest) > 0 && c.err == nil {
			c.goOn(rest)
			return
		}
		if cap(b) <= keptOut {
			c.spare = b[:0]
		}
	}
	c.writing = false
}

// write writes b, or what a caller can without waiting, and returns the rest.
func (c *Conn) write(b []byte, caller bool) (rest []byte) {
	n, err := 0, error(nil)
	switch {
	case len(b) == 0:
	case !caller:
		n, err = c.conn.Write(b)
	case c.try != nil:
		n, err = c.try(b)
	}
	if err != nil {
		c.fail(err)
	}
	return b[n:]
}

// drainedLocked has those go on that wait for less to be out.
func (c *Conn) drainedLocked() {
	if c.drained != nil {
		close(c.drained)
		c.drained = nil
	}
}

// goOn has a goroutine write the rest, and what comes.
func (c *Conn) goOn(rest []byte) {
	if !c.o.Go(func() {
		defer c.recovered("writing to a connection")
		c.write(rest, false)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.flushLocked(false)
	}) { // it is being closed, and what is half written is the end of it
		c.apart(func() { c.fail(net.ErrClosed) })
	}
}

const (
	// gatherMost is how many requests are written together at most: the server is to
	// have something to do meanwhile.
	gatherMost = 16
	// gatherAtMost is how long a request may wait for others. A goroutine that computes has
	// the processor for up to ten times as long; then the next requests, as many as
	// hasteAfter, are written at once.
	gatherAtMost = time.Millisecond
	hasteAfter   = 256
)

// gatherLocked reports whether a request that was put out can be left to others to be
// written. When answers have come, many callers wake at once, and most ask again: written
// together that is a fraction of the work (with 32 callers, a third of what a read costs
// the client). So a caller that asks while others have yet to run leaves it to the
// last of them to write for all.
func (c *Conn) gatherLocked() bool {
	switch {
	case c.hasty > 0:
		c.hasty--
		return false
	case c.woken.Load() <= 0 || c.gathered >= gatherMost:
		return false
	}
	if c.gathered++; c.gathered == 1 {
		c.since = mono.Now()
	}
	return true
}

// awake is called by a caller that was told of an answer, before it may ask again.
func (c *Conn) awake() {
	// guard: woken-caller-writes
	if c.woken.Add(-1) <= 0 {
		c.writeGathered()
	}
}

// leave is called by a caller that does not wait any more. It may have been told just then,
// and have been the last of those that write for others.
func (c *Conn) leave(r *request) {
	c.mu.Lock()
	if r.left = true; r.ended {
		c.woken.Add(-1)
	}
	c.mu.Unlock()
	// guard: abandoning-caller-writes
	if c.woken.Load() <= 0 {
		c.writeGathered()
	}
}

// writeGathered writes what was left to others to be written.
func (c *Conn) writeGathered() {
	done := false
	defer c.endUnless(&done)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writeLocked()
	done = true
}
