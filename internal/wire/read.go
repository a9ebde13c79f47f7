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
	// mostKept is how long a buffer may stay that was made for a long message: what is large comes in parts of less than that, one after
	// another, and a buffer for each was half of the memory that reading it took.
	mostKept = 1 << 20
	// fewMessages messages at once are few: more are read together. Many are not, or callers and server would take turns.
	fewMessages = 16
	// maxMessage is twice the longest value that a server takes by default.
	maxMessage = 1 << 30
	// coalesceAtMost is how long requests may wait to be coalesced. A goroutine that computes has the processor for
	// up to ten times as long; then, as often as skipCoalescingFor says, none are.
	coalesceAtMost    = time.Millisecond
	skipCoalescingFor = 256
)

// read is the reader goroutine: it hands out what comes until the connection ends. What panics in
// that, and in what is called with invalidations and answers, ends the connection.
//
// When answers have come, many callers wake at once, and most ask again: written together that
// is a fraction of the work. So requests are left unwritten while the callers that were answered run, and then
// the reader goroutine writes them all.
func (c *Conn) read() {
	// guard: recover-reader
	defer c.recovered("reading a connection")
	for err := error(nil); err == nil; {
		if err = c.readAndHandOut(); err != nil {
			c.fail(err)
		}
		if c.woken > 0 {
			c.letCallersAsk()
			c.writeCoalesced()
		}
	}
}

// letCallersAsk has the callers run that were answered.
func (c *Conn) letCallersAsk() {
	if begun := mono.Now(); c.woken > 1 && c.skipCoalescing == 0 {
		runtime.Gosched()
		if mono.Now().Sub(begun) > coalesceAtMost {
			// guard: held-callers-run
			c.skipCoalescing = skipCoalescingFor
		}
	}
	c.skipCoalescing, c.woken = max(c.skipCoalescing-1, 0), 0
}

// writeCoalesced writes the requests that came meanwhile, together.
func (c *Conn) writeCoalesced() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.coalescing = false
	// guard: write-held-requests
	c.writeLocked()
}

// readAndHandOut reads what there is and hands out what is whole.
func (c *Conn) readAndHandOut() error {
	if err := c.makeRoom(); err != nil {
		return err
	}
	room := c.in[c.end:]
	if c.end < mostRead { // else it is the rest of a long message
		room = room[:min(len(room), mostRead)]
	}
	n, err := c.conn.Read(room)
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
	filledByFew := c.end == len(c.in) && c.messages < fewMessages // the messages are long: more is to be read at once
	emptyAndLong := held == 0 && len(c.in) > mostKept             // it was made longer for one message
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
	c.begin, c.end, c.messages = 0, held, 0
	return nil
}

// handOut hands out the messages that are whole.
func (c *Conn) handOut() error {
	for c.begin < c.end {
		n, err := c.scanner.Scan(c.in[c.begin:c.end])
		if err != nil || n == 0 {
			// guard: push-is-no-progress
			if c.in[c.begin] != '>' {
				c.countMoved(c.end - c.begin)
			}
			return err
		}
		m := c.in[c.begin : c.begin+n]
		c.messages++
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

// reply hands an answer to the request that it is for.
func (c *Conn) reply(m []byte) error {
	if c.refusal = ""; m[0] == '-' {
		c.refusal = resp.Said(m[1 : len(m)-2])
	}
	answer, _ := resp.Decode(m)
	r, tell, err := c.complete(m, answer)
	if tell {
		c.callBack(r)
	}
	return err
}

// complete gives an answer to the request that has waited longest, and ends that if it was the last.
func (c *Conn) complete(m []byte, answer resp.Reply) (r *request, tell bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	// guard: no-answers-after-end
	case c.err != nil: // others may know of the end, though what waits has not been told yet
		return nil, false, c.err
	case c.completed == len(c.inflight):
		// guard: unasked-reply
		return nil, false, resp.Unasked(m)
	}
	r = c.inflight[c.completed]
	if !r.ended { // else its owner may look at what there is
		r.replies[r.received] = answer
	}
	if r.received++; r.received < len(r.replies) {
		return r, false, nil
	}
	c.moved.Add(r.size)
	c.inflight[c.completed] = nil
	switch c.completed++; {
	case c.completed == len(c.inflight):
		c.inflight, c.completed = c.inflight[:0], 0
	case c.completed >= 64 && c.completed >= len(c.inflight)-c.completed: // some request always waits
		c.inflight, c.completed = append(c.inflight[:0], c.inflight[c.completed:]...), 0
	}
	if r.callback == nil && !r.ended {
		c.woken++
		c.coalescing = true
	}
	return r, c.endLocked(r, nil), nil
}
