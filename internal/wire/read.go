package wire

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/tiercache/tiercache/internal/recovery"
	"github.com/tiercache/tiercache/internal/resp"
)

// lead reads until r is answered.
func (c *Conn) lead(ctx context.Context, r *request) error {
	if err := c.readFor(ctx, r); err != nil {
		// guard: I8-deadline-of-reading-caller
		return endOf(ctx, err)
	}
	return r.err
}

// readFor reads until r is answered, or returns why it gave up.
func (c *Conn) readFor(ctx context.Context, r *request) (err error) {
	deadline, bounded := ctx.Deadline()
	handedOn := false
	defer c.endUnless(&handedOn) // nothing would ever be read again
	c.mu.Lock()
	defer c.mu.Unlock()
	for !r.ended && err == nil {
		c.setDeadlineLocked(deadline)
		silent := false
		c.apart(func() { silent = isTimeout(c.pump()) })
		if !r.ended {
			// guard: reading-caller-stops
			if err = ctx.Err(); err == nil && silent && bounded && !time.Now().Before(deadline) {
				err = context.DeadlineExceeded
			}
		}
	}
	r.left = !r.ended
	c.reading, c.leader, c.leaderContext = false, nil, nil
	if c.owed.n > 0 || c.err != nil {
		c.wakeReader()
	}
	handedOn = true
	return err
}

// endOf waits until the context says itself that its deadline has passed, which may
// be a little later than the connection does: callers ask it why they were given up.
func endOf(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		late := time.NewTimer(patience)
		defer late.Stop()
		end, limit := endsOf(ctx)
		select {
		case <-end:
		case <-limit:
		case <-late.C:
		}
	}
	return cmp.Or(ctx.Err(), err)
}

// patience is how much later that may be, where others have the processors.
const patience = 50 * time.Millisecond

// readIdle reads when no caller does: what the server sends of its own accord, and what is
// owed to callers that do not read. While requests come one after the other, within
// backAfter of each other, it leaves the reading to their callers.
//
// The contexts of callers that read are its to watch: a deadline ends a read of itself, a
// cancellation does not.
func (c *Conn) readIdle() {
	// guard: recover-idle-reader
	defer c.recovered("waiting for what a connection says")
	tick := time.NewTimer(backAfter)
	defer tick.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for busy := false; c.err == nil; {
		if !c.reading && (!busy || c.owed.n > 0) {
			c.reading = true
			c.setDeadlineLocked(time.Time{})
			var err error
			c.apart(func() { err = c.pump() })
			c.reading = false
			busy = err == nil && c.isBusy()
			continue
		}
		asked, woken := c.asked, false
		c.apart(func() {
			tick.Reset(backAfter)
			select {
			case <-c.wake:
				woken = true
			case <-tick.C:
			}
		})
		if !woken && c.leader != nil && c.leaderContext.Err() != nil {
			// guard: wake-reading-caller
			c.setDeadlineLocked(time.Unix(1, 0)) // the caller sets it anew, should it go on
		}
		// guard: idle-reader-reads
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

// pump reads what there is and hands out what is whole. What panics meanwhile, in what is
// called with notices and answers too, ends the connection and not the goroutine: that of a
// caller may have had its answer.
func (c *Conn) pump() (err error) {
	err = recovery.ErrPanicked // unless it returns
	// guard: recover-reader
	defer c.recovered("reading a connection")
	return c.readAndHandOut()
}

func (c *Conn) readAndHandOut() error {
	err := c.makeRoom()
	if err == nil {
		var n int
		n, err = c.conn.Read(c.in[c.end:])
		c.end += n
		if bad := c.handOut(); bad != nil {
			err = bad
			// guard: refusal-is-told
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
			return fmt.Errorf("%w: a message of more than %d bytes", resp.ErrMalformed, maxMessage)
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
		if m[0] != '>' {
			err = c.reply(m)
		} else if keys, ok := resp.Invalidated(m); ok && c.o.Invalidated != nil {
			// guard: R9-invalidation-in-order
			c.o.Invalidated(keys)
		}
		if err != nil {
			return err
		}
		c.begin += n
	}
	return nil
}

// reply hands an answer to the request that it is owed to.
func (c *Conn) reply(m []byte) error {
	if c.refusal = ""; m[0] == '-' {
		c.refusal = resp.Said(m[1 : len(m)-2])
	}
	answer, _ := resp.Decode(m)
	r, tell, err := c.pay(m, answer)
	if tell {
		c.tell(r)
	}
	return err
}

// pay gives an answer to the request that has waited longest, and ends that if it was the last.
func (c *Conn) pay(m []byte, answer resp.Reply) (r *request, tell bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.owed.head()
	switch {
	// guard: no-answers-after-end
	case c.err != nil: // what was owed is not known any more
		return nil, false, c.err
	case h == nil:
		// guard: unasked-reply
		return nil, false, resp.Unasked(m)
	}
	r = h.r
	if !r.left && !r.ended { // else its owner may look at what there is
		r.replies[len(r.replies)-h.n] = answer
	}
	c.answered++
	if c.owed.pay() {
		c.paid++
		tell = c.endLocked(r, nil)
	}
	return r, tell, nil
}
