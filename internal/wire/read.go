package wire

import (
	"fmt"
	"runtime"
	"time"

	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/internal/resp"
)

const (
	// firstRead and mostRead bound how much is read at once: as little as an idle
	// connection needs, and more when there is more.
	firstRead, mostRead = 4 << 10, 64 << 10
	// fewWhole messages at once are few: more are read together. Many are not, or callers and server would take turns.
	fewWhole = 16
	// maxMessage is twice the longest value that a server takes by default.
	maxMessage = 1 << 30
	// holdAtMost is how long requests may be held. A goroutine that computes has the processor for
	// up to ten times as long; then, as often as hurryFor, none are.
	holdAtMost = time.Millisecond
	hurryFor   = 256
)

// read is the reader goroutine: it hands out what comes until the connection ends. What panics in
// that, and in what is called with notices and answers, ends the connection.
//
// When answers have come, many callers wake at once, and most ask again: written together that
// is a fraction of the work. So requests are held while the callers that were told run, and then
// the reader goroutine writes them all.
func (c *Conn) read() {
	// guard: recover-reader
	defer c.recovered("reading a connection")
	for err := error(nil); err == nil; {
		if err = c.readAndHandOut(); err != nil {
			c.fail(err)
		}
		if c.told > 0 {
			c.letThemAsk()
			c.release()
		}
	}
}

// letThemAsk has the callers run that were told of answers.
func (c *Conn) letThemAsk() {
	if begun := mono.Now(); c.told > 1 && c.hurry == 0 {
		runtime.Gosched()
		if mono.Now().Sub(begun) > holdAtMost {
			// guard: held-callers-run
			c.hurry = hurryFor
		}
	}
	c.hurry, c.told = max(c.hurry-1, 0), 0
}

// release writes what was held.
func (c *Conn) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = false
	// guard: write-held-requests
	c.writeLocked()
}

// readAndHandOut reads what there is and hands out what is whole.
func (c *Conn) readAndHandOut() error {
	if err := c.makeRoom(); err != nil {
		return err
	}
	n, err := c.conn.Read(c.in[c.end:])
	c.end += n
	if bad := c.handOut(); bad != nil {
		return bad
	}
	// guard: refusal-is-told
	if err != nil && c.refusal != "" {
		err = fmt.Errorf("the server said %q and ended the connection: %w", c.refusal, err)
	}
	return err
}

// makeRoom has a part of a message begin where there is room behind it. All that was
// handed out of the buffer was copied, so nothing refers to it.
func (c *Conn) makeRoom() error {
	held := c.end - c.begin
	filledByFew := c.end == len(c.in) && c.whole < fewWhole // the messages are long: more is to be read at once
	emptyAndLong := held == 0 && len(c.in) > mostRead       // it was made longer for one message
	switch {
	case filledByFew && len(c.in) < mostRead, emptyAndLong:
		in := make([]byte, min(mostRead, max(firstRead, 2*len(c.in))))
		copy(in, c.in[c.begin:c.end])
		c.in = in
	case held == len(c.in):
		if held >= maxMessage {
			return fmt.Errorf("%w: a message of more than %d bytes", resp.ErrMalformed, maxMessage)
		}
		c.in = append(make([]byte, 0, 2*held), c.in...)[:2*held]
	default:
		copy(c.in, c.in[c.begin:c.end])
	}
	c.begin, c.end, c.whole = 0, held, 0
	return nil
}

// handOut hands out the messages that are whole.
func (c *Conn) handOut() error {
	for c.begin < c.end {
		n, err := c.part.Scan(c.in[c.begin:c.end])
		if err != nil || n == 0 {
			// guard: push-is-no-progress
			if c.in[c.begin] != '>' {
				c.countMoved(c.end - c.begin)
			}
			return err
		}
		m := c.in[c.begin : c.begin+n]
		c.whole++
		c.long = n > mostRead // and so may the next be
		if m[0] != '>' {
			c.countMoved(n)
			c.counted = 0
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

// countMoved is told how much there is of an answer, all of it or a part, and counts what is new.
func (c *Conn) countMoved(there int) {
	c.moved.Add(uint64(there - c.counted))
	c.counted = there
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
	switch {
	// guard: no-answers-after-end
	case c.err != nil: // what was owed is not known any more
		return nil, false, c.err
	case c.paid == len(c.owed):
		// guard: unasked-reply
		return nil, false, resp.Unasked(m)
	}
	r = c.owed[c.paid]
	if !r.over { // else its owner may look at what there is
		r.replies[r.come] = answer
	}
	if r.come++; r.come < len(r.replies) {
		return r, false, nil
	}
	c.moved.Add(r.size)
	c.owed[c.paid] = nil
	switch c.paid++; {
	case c.paid == len(c.owed):
		c.owed, c.paid = c.owed[:0], 0
	case c.paid >= 64 && c.paid >= len(c.owed)-c.paid: // there is always something owed
		c.owed, c.paid = append(c.owed[:0], c.owed[c.paid:]...), 0
	}
	if r.then == nil && !r.over {
		c.told++
		c.held = true
	}
	return r, c.endLocked(r, nil), nil
}
