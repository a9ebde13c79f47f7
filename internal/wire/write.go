package wire

import "net"

const (
	// flushesForOthers is how often a caller writes for others before a goroutine does.
	flushesForOthers = 4
	// maxSpare bounds the buffers that are kept.
	maxSpare = 128 << 10
)

// writeLocked writes what is out, unless another does.
func (c *Conn) writeLocked() {
	if len(c.out) > 0 && !c.writing {
		c.writing = true
		c.flushLocked(true)
	}
}

// flushLocked writes what is out, and what comes while it does. Its caller has set writing, and holds c.mu.
// A caller that waits for an answer is not to be held up by the network, nor by others for long.
func (c *Conn) flushLocked(caller bool) {
	for i := 0; len(c.out) > 0 && c.err == nil; i++ {
		if caller && i == flushesForOthers {
			c.writeAsync(nil)
			return
		}
		b := c.out
		// guard: own-write-buffer
		c.out, c.spare = c.spare[:0], nil
		var rest []byte
		c.unlocked(func() { rest = c.write(b, caller) })
		if len(rest) > 0 && c.err == nil {
			c.writeAsync(rest)
			return
		}
		if cap(b) <= maxSpare {
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

// writeAsync has a goroutine write the rest, and what comes.
func (c *Conn) writeAsync(rest []byte) {
	if !c.o.Go(func() {
		// guard: recover-writer
		defer c.recovered("writing to a connection")
		c.write(rest, false)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.flushLocked(false)
	}) { // it is being closed, and what is half written is the end of it
		c.unlocked(func() { c.fail(net.ErrClosed) })
	}
}
