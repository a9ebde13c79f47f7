package wire

import (
	"bytes"
	"context"
	"time"

	"github.com/tiercache/tiercache/internal/recovery"
)

// lead reads until r is answered.
func (c *Conn) lead(ctx context.Context, r *request) (back bool, err error) {
	deadline, bounded := ctx.Deadline()
	if err = c.readFor(ctx, r, deadline, bounded); err != nil {
		return false, endOf(ctx, err)
	}
	return true, r.err
}

// readFor reads until r is answered, or returns why it gave up.
func (c *Conn) readFor(ctx context.Context, r *request, deadline time.Time, bounded bool) (err error) {
	handedOn := false
	defer c.endUnless(&handedOn) // nobody would ever read again
	c.mu.Lock()
	defer c.mu.Unlock()
	for !r.ended && err == nil {
		c.setDeadlineLocked(deadline)
		silent := false
		c.apart(func() { silent = isTimeout(c.pump()) })
		if !r.ended {
			if err = ctx.Err(); err == nil && silent && bounded && !time.Now().Before(deadline) {
				err = context.DeadlineExceeded
			}
		}
	}
	c.reading, c.leader, c.leaderContext = false, nil, nil
	r.left = err != nil
	if c.owed.n > 0 || c.err != nil {
		c.wake()
	}
	handedOn = true
	return err
}

// endOf waits until the context says itself that its deadline has passed, which may
// be a little later than the connection does: callers ask it why they were given up.
func endOf(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		late := time.NewTimer(5 * time.Millisecond)
		defer late.Stop()
		select {
		case <-ctx.Done():
		case <-late.C:
			return err
		}
	}
	return ctx.Err()
}

// Read implements [net.Conn], for the client. Meanwhile it does the reading for all
// others, but for those who come thick and read themselves.
func (c *Conn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for stay := false; ; {
		switch {
		case len(c.forClient) > 0:
			n := copy(p, c.forClient)
			if c.forClient = c.forClient[n:]; len(c.forClient) == 0 {
				c.forClient = nil
			}
			return n, nil
		case c.err != nil:
			return 0, c.err
		case c.reading || stay && c.owed.n == 0:
			asked := c.asked
			alone := c.waitLocked()
			stay = (!alone || c.asked > asked) && !c.noLeads
		default:
			if err := c.readLocked(); isTimeout(err) && !c.clientDeadline.IsZero() && !time.Now().Before(c.clientDeadline) {
				return 0, err
			}
			stay = c.thick()
		}
	}
}

// readLocked reads once, as the client.
func (c *Conn) readLocked() error {
	c.reading = true
	c.setDeadlineLocked(c.clientDeadline)
	var err error
	c.apart(func() { err = c.pump() })
	c.reading = false
	return err
}

// thick reports whether requests come so thick that their callers had better read
// the answers themselves.
func (c *Conn) thick() bool {
	if c.owed.n > 0 || c.paid == 0 || c.noLeads {
		return false
	}
	c.paid = 0
	last := c.lastPaid
	c.lastPaid = time.Now()
	return c.lastPaid.Sub(last) < backAfter
}

// waitLocked waits to be woken, for a moment. It returns true if it was not; who
// reads is not to go on when his context has ended.
func (c *Conn) waitLocked() (alone bool) {
	if c.tick == nil {
		c.tick = time.NewTimer(backAfter)
	} else {
		c.tick.Reset(backAfter)
	}
	c.apart(func() {
		select {
		case <-c.nudge:
			c.tick.Stop()
		case <-c.tick.C:
			alone = true
		}
	})
	if alone && c.leader != nil && c.leaderContext.Err() != nil {
		c.setDeadlineLocked(time.Unix(1, 0)) // he sets it anew, should he go on
	}
	return alone
}

// pump reads what there is and hands out what is whole. What panics meanwhile, in what is
// called with notices and answers too, ends the connection and not the goroutine: that is
// of the client, or of a caller whose own answer may be another.
func (c *Conn) pump() (err error) {
	err = recovery.ErrPanicked // unless it returns
	defer c.recovered("reading a connection")
	return c.readAndHandOut()
}

func (c *Conn) readAndHandOut() error {
	if c.end == len(c.in) && !c.makeRoom() {
		c.fail(errProtocol)
		return errProtocol
	}
	n, err := c.Conn.Read(c.in[c.end:])
	c.end += n
	if n > 0 {
		if bad := c.handOut(); bad != nil {
			err = bad
		}
	}
	if err != nil && !isTimeout(err) {
		c.fail(err)
	}
	return err
}

// makeRoom moves a part of a message to the front, or gives it more room, up to a
// bound that is twice the longest value that a server takes by default.
func (c *Conn) makeRoom() bool {
	in := c.in
	if c.begin == 0 {
		if len(in) >= maxMessage {
			return false
		}
		in = make([]byte, 2*len(c.in))
	}
	c.end = copy(in, c.in[c.begin:c.end])
	c.in, c.begin = in, 0
	return true
}

const maxMessage = 1 << 30

func (c *Conn) handOut() error {
	for c.begin < c.end {
		n, err := c.part.scan(c.in[c.begin:c.end])
		if err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
		m := c.in[c.begin : c.begin+n]
		if m[0] == '>' {
			c.push(m)
		} else {
			c.reply(m)
		}
		c.begin += n
	}
	c.begin, c.end = 0, 0
	if len(c.in) > 16*inBuffer {
		c.in = make([]byte, inBuffer)
	}
	return nil
}

// reply hands an answer to whom it is owed.
func (c *Conn) reply(m []byte) {
	r, at, last := c.owedBy(m)
	if r == nil {
		return
	}
	handed := false
	defer func() {
		if last && !handed { // it is owed nothing any more, so the end of the connection would not end it
			c.answered(r, recovery.ErrPanicked)
		}
	}()
	r.replies[at], _ = decode(m)
	handed = true
	if last {
		c.paid++
		c.answered(r, nil)
	}
}

// owedBy returns the request that an answer is owed, which of its answers that is, and
// whether it is the last; nil if it is the client's, which is given it.
func (c *Conn) owedBy(m []byte) (r *request, at int, last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.owed.head()
	for h != nil && h.pushes && m[0] != '-' { // it has had all that it will have
		c.owed.drop()
		h = c.owed.head()
	}
	if h == nil || h.r == nil {
		switch {
		case h == nil: // nobody asked, as in RESP2
		case h.pushes:
			c.owed.drop()
		default:
			c.owed.pay()
		}
		c.forClientLocked(m)
		return nil, 0, false
	}
	r, at = h.r, len(h.r.replies)-h.n
	return r, at, c.owed.pay()
}

// answered ends a request that has had its last answer, or an error in place of it.
func (c *Conn) answered(r *request, err error) {
	if c.endAnswered(r, err) {
		c.tell(r)
	}
}

func (c *Conn) endAnswered(r *request, err error) (told bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.then != nil {
		return r.endsLocked(err)
	}
	r.err = err
	c.endLocked(r)
	return false
}

// forClientLocked leaves an answer to the client. Once the connection has ended it is
// not said to whom what still comes was owed.
//
//	whoever reads: is handing out answers to others
//	client:        closes the connection, which forgets what was owed
//	whoever reads: finds an answer that nobody is owed
func (c *Conn) forClientLocked(m []byte) {
	if c.err != nil {
		return
	}
	c.forClient = append(c.forClient, m...)
	if c.leader != nil {
		c.wake()
	}
}

// push hands over what the server says of its own accord.
func (c *Conn) push(m []byte) {
	if c.o.Invalidated != nil {
		if keys, ok := notice(m); ok {
			c.o.Invalidated(keys)
			return
		}
	}
	p, _ := decode(m)
	kind := ""
	if len(p.Array) > 1 {
		kind = p.Array[0].Text
	}
	switch {
	case kind == "invalidate" && c.o.Invalidated != nil: // it names no keys, or cannot be read: of all
		c.o.Invalidated(nil)
		return
	case (kind == "message" || kind == "smessage") && len(p.Array) == 3 && c.o.Message != nil:
		if c.o.Message(p.Array[1].Text, p.Array[2].Text) {
			return
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.owed.head(); h != nil && h.pushes && subscribes([]byte(kind)) {
		c.owed.pay()
	}
	c.forClientLocked(m)
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
