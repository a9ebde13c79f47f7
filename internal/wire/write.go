package wire

import (
	"bytes"
	"net"
	"time"

	"github.com/tiercache/tiercache/internal/mono"
)

// rounds is how often a caller writes for others before a goroutine does.
const rounds = 4

// flushLocked writes what is out, and what comes while it does. Its caller has set
// writing, holds c.mu and has it again afterwards. A caller that waits for
// an answer of its own is not to be held up by the network, nor by others for long.
func (c *Conn) flushLocked(caller bool) {
	for i := 0; ; i++ {
		c.flushedLocked()
		switch {
		case c.claimed:
			c.claimed = false
			c.turn <- struct{}{}
			return
		case len(c.out) == 0 || c.err != nil:
			c.writing = false
			return
		case caller && i == rounds:
			c.goOn(nil)
			return
		}
		b := c.out
		c.out, c.spare = c.spare[:0], nil
		var rest []byte
		c.apart(func() { rest = c.write(b, caller) })
		if len(rest) > 0 && c.err == nil {
			c.goOn(rest)
			return
		}
		if cap(b) <= 2*MaxRequest {
			c.spare = b[:0]
		}
	}
}

// write writes b, or what a caller can without waiting, and returns the rest.
func (c *Conn) write(b []byte, caller bool) (rest []byte) {
	rest, err := b, error(nil)
	if caller && c.try != nil {
		var n int
		if n, err = c.try(b); n > 0 {
			rest = b[n:]
		}
	} else if !caller {
		_, err = c.Conn.Write(b)
		rest = nil
	}
	if err != nil {
		c.fail(err)
	}
	return rest
}

const (
	// gatherMost is how many requests are written together at most: the server is to
	// have something to do meanwhile.
	gatherMost = 16
	// patience is how long it may take until who was told of an answer runs. Who computes
	// has the processor for up to ten times as long.
	patience = time.Millisecond
	// minHaste and maxHaste bound how many requests are sent at once when it took longer.
	minHaste, maxHaste = 256, 1 << 16
)

// gatherLocked reports whether a request that was put out can be left to others to be
// written. When answers have come, many wake at once, and most ask again: written
// together that is a fraction of the work. So whoever asks while others have yet to
// run leaves it to the last of them to write for all.
//
// They run when the scheduler lets them, which takes long where others compute. If it
// does nobody relies on it for a while, and for longer the more often it does.
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

// flushedLocked is called before what was gathered is written.
func (c *Conn) flushedLocked() {
	if c.gathered == 0 {
		return
	}
	c.gathered = 0
	if mono.Now().Sub(c.since) > patience {
		c.hasty = max(c.haste, minHaste)
		c.haste = min(2*c.hasty, maxHaste)
	} else {
		c.haste -= c.haste / 8
	}
}

// awake is called by who was told of an answer.
func (c *Conn) awake() {
	if c.woken.Add(-1) > 0 {
		return
	}
	written := false
	defer c.endUnless(&written)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writeGatheredLocked()
	written = true
}

// leave is called by who does not wait any more.
func (c *Conn) leave(r *request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r.left = true
	if r.told() {
		c.woken.Add(-1)
	}
	if c.woken.Load() <= 0 {
		c.writeGatheredLocked()
	}
}

func (c *Conn) writeGatheredLocked() {
	if len(c.out) > 0 && !c.writing {
		c.writing = true
		c.flushLocked(true)
	}
}

// goOn has a goroutine write the rest, and what comes.
func (c *Conn) goOn(rest []byte) {
	if c.o.Go == nil || !c.o.Go(func() {
		defer c.recovered("writing to a connection")
		if len(rest) > 0 {
			if _, err := c.Conn.Write(rest); err != nil {
				c.fail(err)
			}
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.flushLocked(false)
	}) { // it is being closed, and what is half written is the end of it
		c.apart(func() { c.fail(net.ErrClosed) })
	}
}

// Write implements [net.Conn], for the client.
func (c *Conn) Write(b []byte) (int, error) {
	err, ended := c.writeFor(b)
	switch {
	case ended:
		return 0, err
	case err != nil:
		c.fail(err)
		return 0, err
	}
	found := c.o.Token != "" && len(b) <= MaxRequest && bytes.Contains(b, []byte(c.o.Token))
	if found && c.o.Found != nil {
		c.call(c.o.Found)
	}
	return len(b), nil
}

// writeFor writes for the client; ended says that the connection had ended before.
func (c *Conn) writeFor(b []byte) (err error, ended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err, true
	}
	if len(b) <= MaxRequest {
		err = c.writeShort(b)
	} else {
		err = c.writeLong(b)
	}
	if !c.reading && c.owed.n > 0 {
		c.wake()
	}
	return err, false
}

// writeShort puts b behind what is out.
func (c *Conn) writeShort(b []byte) error {
	if err := c.follow(b); err != nil {
		return err
	}
	c.out = append(c.out, b...)
	c.release()
	if !c.writing {
		c.writing = true
		c.flushLocked(false)
	}
	return c.err
}

// writeLong writes b itself, when it has the writing, instead of copying it.
func (c *Conn) writeLong(b []byte) error {
	if c.writing {
		c.claimed = true
		c.apart(func() { <-c.turn })
		if c.err != nil {
			return c.err
		}
	}
	c.writing = true
	before := c.out
	c.out, c.spare = c.spare[:0], nil
	// What is asked from here on comes after b, or waits for its command's end.
	if err := c.follow(b); err != nil {
		return err
	}
	var err error
	c.apart(func() {
		if len(before) > 0 {
			_, err = c.Conn.Write(before)
		}
		if err == nil {
			_, err = c.Conn.Write(b)
		}
	})
	if err != nil {
		return err
	}
	c.release()
	c.flushLocked(false)
	return c.err
}

// follow notes what the client will be owed for b.
func (c *Conn) follow(b []byte) error {
	c.client.feed(b, func(name []byte, words int) {
		if subscribes(name) {
			c.owed.push(debt{n: max(1, words), pushes: true})
		} else {
			c.owed.push(debt{n: 1})
		}
	})
	if c.client.err {
		return errProtocol
	}
	return nil
}

// release puts out what was held back, if the client's command is whole.
func (c *Conn) release() {
	if c.client.whole() && len(c.waiting) > 0 {
		for _, d := range c.waiting {
			c.owed.push(d)
		}
		c.out = append(c.out, c.held...)
		c.waiting, c.held = nil, nil
	}
}
