package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/tiercache/tiercache/internal/resp"
)

// lead reads until r is answered.
func (c *Conn) lead(ctx context.Context, r *request) (err error) {
	deadline, bounded := ctx.Deadline()
	handedOn := false
	defer func() {
		if !handedOn { // something panicked, and nothing would ever be read again
			c.fail(errAborted)
		}
	}()
	c.mu.Lock()
	for !r.ended && err == nil {
		c.setDeadlineLocked(deadline)
		c.mu.Unlock()
		silent := isTimeout(c.pump())
		if err = ctx.Err(); err == nil && silent {
			if bounded && time.Since(deadline) > patience {
				err = context.DeadlineExceeded
			}
			runtime.Gosched()
		}
		c.mu.Lock()
	}
	if r.left = !r.ended; r.ended {
		err = r.err
	}
	c.reading, c.leader, c.leaderContext = false, nil, nil
	if c.owed.n > 0 || c.err != nil {
		c.wakeReader()
	}
	c.mu.Unlock()
	handedOn = true
	return err
}

// patience is how much later than the deadline of a read its context may say that it has
// ended. Callers ask it why they were given up, so it is waited for.
const patience = 5 * time.Millisecond

var errAborted = errors.New("wire: the goroutine that read has panicked")

// readIdle reads when no caller does: what the server sends of its own accord, and what is
// owed to callers that do not read. While requests come one after the other, within
// backAfter of each other, it leaves the reading to their callers.
//
// The contexts of callers that read are its to watch: a deadline ends a read of itself, a
// cancellation does not.
func (c *Conn) readIdle() {
	tick := time.NewTimer(backAfter)
	defer tick.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for busy := false; c.err == nil; {
		if !c.reading && (!busy || c.owed.n > 0) {
			c.reading = true
			c.setDeadlineLocked(time.Time{})
			c.mu.Unlock()
			err := c.pump()
			c.mu.Lock()
			c.reading = false
			busy = err == nil && c.isBusy()
			continue
		}
		asked, woken := c.asked, false
		c.mu.Unlock()
		tick.Reset(backAfter)
		select {
		case <-c.wake:
			woken = true
		case <-tick.C:
		}
		c.mu.Lock()
		if !woken && c.leader != nil && c.leaderContext.Err() != nil {
			c.setDeadlineLocked(time.Unix(1, 0)) // the caller sets it anew, should it go on
		}
		busy = (woken || c.asked > asked) && !c.noLeads
	}
}

// isBusy reports whether requests come so thick that their callers had better read
// the answers themselves.
func (c *Conn) isBusy() bool {
	if c.owed.n > 0 || c.paid == 0 || c.noLeads {
		return false
	}
	c.paid = 0
	last := c.lastPaid
	c.lastPaid = time.Now()
	return c.lastPaid.Sub(last) < backAfter
}

const (
	// firstRead and mostRead bound how much is read at once: as little as an idle
	// connection needs, and more when there is more.
	firstRead, mostRead = 4 << 10, 64 << 10
	// maxMessage is twice the longest value that a server takes by default.
	maxMessage = 1 << 30
)

// pump reads what there is and hands out what is whole.
func (c *Conn) pump() error {
	err := c.makeRoom()
	if err == nil {
		var n int
		n, err = c.conn.Read(c.in[c.end:])
		c.end += n
		if bad := c.handOut(); bad != nil {
			err = bad
		} else if err != nil && !isTimeout(err) && c.refusal != "" {
			err = fmt.Errorf("the server said %q and ended the connection: %w", c.refusal, err)
		}
	}
	if err != nil && !isTimeout(err) {
		c.fail(err)
	}
	return err
}

// makeRoom has a part of a message begin where there is room behind it. All that was
// handed out of the buffer was copied, so nothing refers to it.
func (c *Conn) makeRoom() error {
	held := c.end - c.begin
	switch {
	case held == 0 && (len(c.in) > mostRead || c.end == len(c.in) && len(c.in) < mostRead):
		c.in = make([]byte, min(mostRead, max(firstRead, 2*len(c.in)))) // it was too long, or filled at once
	case held == len(c.in):
		if held >= maxMessage {
			return fmt.Errorf("%w: a message of more than %d bytes", resp.Error, maxMessage)
		}
		c.in = append(make([]byte, 0, 2*held), c.in...)[:2*held]
	default:
		copy(c.in, c.in[c.begin:c.end])
	}
	c.begin, c.end = 0, held
	return nil
}

func (c *Conn) handOut() error {
	for c.begin < c.end {
		n, err := c.part.Scan(c.in[c.begin:c.end])
		if err != nil || n == 0 {
			return err
		}
		m := c.in[c.begin : c.begin+n]
		if m[0] == '>' {
			c.push(m)
		} else if err := c.reply(m); err != nil {
			return err
		}
		c.begin += n
	}
	return nil
}

// reply hands an answer to the request that it is owed to.
func (c *Conn) reply(m []byte) error {
	c.mu.Lock()
	h := c.owed.head()
	switch {
	case c.err != nil: // what was owed is not known any more
		defer c.mu.Unlock()
		return c.err
	case h == nil:
		c.mu.Unlock()
		return resp.Unasked(m)
	}
	// From here on r may end, so its replies are not to be looked for in it:
	//
	//	goroutine that reads: takes the first of two answers off what is owed
	//	another:              ends the connection, and with it r
	//	r's owner:            returns with an error, and leaves its replies alone
	//	goroutine that reads: decodes the answer into them
	r, at := h.r, len(h.r.replies)-h.n
	replies := r.replies
	last := c.owed.pay()
	c.answered++
	c.mu.Unlock()
	if c.refusal = ""; m[0] == '-' {
		c.refusal = resp.Said(m[1 : len(m)-2])
	}
	replies[at], _ = decode(m)
	if !last {
		return nil
	}
	c.paid++
	if r.then != nil {
		c.tell(r, nil)
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endLocked(r)
	return nil
}

// push hands over what the server says of its own accord, if it is a notice.
func (c *Conn) push(m []byte) {
	if c.o.Invalidated == nil {
		return
	}
	if keys, ok := notice(m); ok {
		c.o.Invalidated(keys)
		return
	}
	var texts [1][]byte
	if resp.Head(m, texts[:]); string(texts[0]) == "invalidate" {
		c.o.Invalidated(nil) // it names no keys, or cannot be read: of all
	}
}

// noticeHead begins each notice that names keys.
const noticeHead = ">2\r\n$10\r\ninvalidate\r\n*"

// notice reads a notice that names keys. ok is false if it is none.
func notice(m []byte) (keys []string, ok bool) {
	if !bytes.HasPrefix(m, []byte(noticeHead)) {
		return nil, false
	}
	count, rest, _ := line(m[len(noticeHead)-1:])
	n, err := number(count)
	if err != nil || n <= 0 {
		return nil, false
	}
	for len(rest) > 0 && rest[0] == '$' {
		length, after, _ := line(rest)
		size, err := number(length)
		if err != nil || size < 0 {
			return nil, false
		}
		keys = append(keys, string(after[:size])) // after is read into again
		rest = after[size+2:]
	}
	return keys, len(keys) == int(n) && len(rest) == 0
}
