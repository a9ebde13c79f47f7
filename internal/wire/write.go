package wire

import "net"

const (
	// rounds is how often a caller writes for others before a goroutine does.
	rounds = 4
	// keptOut bounds the buffers that are kept.
	keptOut = 128 << 10
)

// flushLocked writes what is out, and what comes while it does. Its caller has set
// writing, holds c.mu and has it again afterwards. A caller that waits for
// an answer of its own is not to be held up by the network, nor by others for long.
func (c *Conn) flushLocked(caller bool) {
	for i := 0; ; i++ {
		switch {
		case len(c.out) == 0 || c.err != nil:
			c.writing = false
			return
		case caller && i == rounds:
			c.goOn(nil)
			return
		}
		b := c.out
		c.out, c.spare = c.spare[:0], nil
		c.drainedLocked()
		c.mu.Unlock()
		rest, err := b, error(nil)
		if !caller {
			_, err = c.conn.Write(b)
			rest = nil
		} else if c.try != nil {
			var n int
			n, err = c.try(b)
			rest = b[n:]
		}
		if err != nil {
			c.fail(err)
		}
		c.mu.Lock()
		if len(rest) > 0 && c.err == nil {
			c.goOn(rest)
			return
		}
		if cap(b) <= keptOut {
			c.spare = b[:0]
		}
	}
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
		if len(rest) > 0 {
			if _, err := c.conn.Write(rest); err != nil {
				c.fail(err)
			}
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.flushLocked(false)
	}) { // it is being closed, and what is half written is the end of it
		c.mu.Unlock()
		c.fail(net.ErrClosed)
		c.mu.Lock()
	}
}
