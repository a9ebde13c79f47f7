package wire

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tiercache/tiercache/internal/bound"
	"github.com/tiercache/tiercache/internal/mono"
)

// Options of a connection.
type Options struct {
	// Invalidated is handed the keys of each notice; nil is all there are.
	Invalidated func(keys []string)
	// Ended is called once, when nothing can be asked any more, and before anything that
	// waits is told. It must be quick, and call nothing of the Conn.
	Ended func(err error)
	// Go runs f in a goroutine that ends when the connection is closed; false: it
	// runs no more.
	Go func(f func()) bool
}

// Conn is the connection.
type Conn struct {
	conn    net.Conn
	o       Options
	try     func([]byte) (int, error) // writes what it can without waiting; nil: it cannot
	noLeads bool                      // reads have no deadlines, so only the idle reader reads
	// requests are those of one command, to be used again: they and their channels are a
	// fifth of the memory that a read takes, and a tenth of its time.
	//
	// A request goes back when its caller has been told of the answer. Nothing refers to it
	// then: the goroutine that reads takes it off what is owed, decodes the answer into it, and
	// tells its caller last, under the lock. One that was given up, or whose connection has
	// ended, does not go back:
	//
	//	A:                    gives its request up
	//	goroutine that reads: decodes the answer into that request
	requests sync.Pool

	mu       sync.Mutex // guards what follows
	err      error      // why it has ended
	asked    uint64     // requests so far
	owed     debts
	answered uint64 // answers so far

	// Writing. The goroutine that sets writing owns it until it is handed on or ended.
	writing bool
	out     []byte // to be written next, in order
	// spare is the buffer of out that is not in use. One that is being written is
	// neither out nor spare until the write has returned:
	//
	//	A: takes out, and writes it without the lock; out is what was spare, spare is nil
	//	B: appends to out, which is another buffer than the one that A writes
	//	A: has written it all, and makes it spare; what it could not write at once it
	//	   leaves to a goroutine together with the buffer, which is never spare again
	spare   []byte
	drained chan struct{} // closed when out is taken; nil if nothing waits for that
	// Gathering: see gatherLocked.
	woken    atomic.Int64 // callers that were told of an answer and have not run since
	gathered int          // requests that were left to others to be written
	since    mono.Time    // when the first of them came
	hasty    int          // requests that are not to be left to others

	// Reading. The goroutine that sets reading owns it, and the fields of reading below.
	reading       bool
	leader        *request // of the caller that reads; nil: no one or the idle reader does
	leaderContext context.Context
	deadline      time.Time // of reads

	wake chan struct{} // has the idle reader look whether there is something to read

	// Of the goroutine that reads.
	in         []byte
	begin, end int // what of it has not been handed out
	part       scanner
	paid       int       // answers to requests that were handed out
	lastPaid   time.Time // when the idle reader last had nothing left to read
	refusal    string    // what the last answer said, if that was an error
}

const (
	// maxOut bounds what waits to be written, less the request that exceeds it.
	maxOut = 4 << 20
	// backAfter is when the idle reader reads again if nothing was asked.
	backAfter = time.Millisecond
)

// ErrUnsent is matched by errors of requests of which nothing was sent: the
// connection had ended, or too much waits for it.
var ErrUnsent = errors.New("nothing was sent")

// New returns a Conn over conn, which has read and written nothing yet.
func New(conn net.Conn, o Options) *Conn {
	c := &Conn{
		conn: conn, o: o, try: tryWriting(conn),
		noLeads: conn.SetReadDeadline(time.Time{}) != nil,
		wake:    make(chan struct{}, 1),
	}
	if !o.Go(c.readIdle) {
		c.fail(net.ErrClosed)
	}
	return c
}

// request is what a caller has asked.
type request struct {
	replies []Reply
	err     error         // set before it is ended
	done    chan struct{} // told when it is ended, unless its owner reads
	ended   bool          // likewise, if its owner reads; guarded by Conn.mu
	left    bool          // its owner does not wait any more; guarded by Conn.mu
	// then, of a request that no caller waits for, is told when it is ended; nil of all others.
	then   func([]Reply, error)
	told   bool        // then is, or is about to be; guarded by Conn.mu
	giveUp *time.Timer // has then told in time; guarded by Conn.mu
	few    [1]Reply    // of one command, as most requests are
}

// AskOne sends a command and returns its answer.
func (c *Conn) AskOne(ctx context.Context, words ...string) (Reply, error) {
	r, _ := c.requests.Get().(*request)
	if r == nil {
		r = &request{done: make(chan struct{}, 1)}
	}
	r.replies = r.few[:]
	if err := c.ask(ctx, r, words); err != nil {
		return Reply{}, err
	}
	reply := r.few[0]
	*r = request{done: r.done}
	c.requests.Put(r)
	return reply, nil
}

// Ask sends commands together and returns their answers.
func (c *Conn) Ask(ctx context.Context, cmds ...[]string) ([]Reply, error) {
	if len(cmds) == 0 {
		return nil, nil
	}
	r := &request{replies: make([]Reply, len(cmds)), done: make(chan struct{}, 1)}
	if err := c.ask(ctx, r, cmds...); err != nil {
		return nil, err
	}
	return r.replies, nil
}

func (c *Conn) ask(ctx context.Context, r *request, cmds ...[]string) error {
	leads, err := c.put(ctx, r, cmds)
	switch {
	case err != nil:
		return err
	case leads:
		return c.lead(ctx, r)
	}
	end, limit := endsOf(ctx)
	select {
	case <-r.done:
		c.awake()
		return r.err
	case <-end:
	case <-limit:
	}
	c.leave(r)
	return cmp.Or(ctx.Err(), context.DeadlineExceeded) // never nil, whatever the context
}

// Send is Ask for a caller that does not wait: then is told, once, what Ask would have
// returned, with the deadline of ctx and not its cancellation. It is called by the goroutine
// that reads the connection, or ends it, and so must be quick and wait for nothing; it may be
// called before Send returns. With an error, which matches ErrUnsent, then is not called.
func (c *Conn) Send(ctx context.Context, then func([]Reply, error), cmds ...[]string) error {
	deadline, ok := ctx.Deadline()
	if !ok {
		return fmt.Errorf("%w: it has no deadline", ErrUnsent)
	}
	r := &request{replies: make([]Reply, len(cmds)), then: then}
	if _, err := c.put(ctx, r, cmds); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !r.told {
		r.giveUp = time.AfterFunc(time.Until(deadline), func() { c.tell(r, context.DeadlineExceeded) })
	}
	return nil
}

// tell tells r's then, once, how it went.
func (c *Conn) tell(r *request, err error) {
	c.mu.Lock()
	told := r.told
	r.told = true
	if r.giveUp != nil {
		r.giveUp.Stop()
	}
	c.mu.Unlock()
	switch {
	case told:
	case err != nil:
		r.then(nil, err)
	default:
		r.then(r.replies, nil)
	}
}

// Answered is how many answers have come so far.
func (c *Conn) Answered() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.answered
}

// RemoteAddr is the server's.
func (c *Conn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

// put writes the commands, or leaves them to the goroutine that writes. It reports whether
// the caller is to read the answers.
func (c *Conn) put(ctx context.Context, r *request, cmds [][]string) (leads bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, fmt.Errorf("%w: %w", ErrUnsent, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.putOutLocked(ctx, r, cmds); err != nil {
		return false, err
	}
	if leads = !c.reading && !c.noLeads && r.then == nil; leads {
		c.reading, c.leader, c.leaderContext = true, r, ctx
	}
	if leads || !c.gatherLocked() {
		c.writeLocked()
	}
	return leads, nil
}

// endsOf returns what is closed when ctx ends: either.
func endsOf(ctx context.Context) (end, limit <-chan struct{}) {
	if b, ok := ctx.(*bound.Context); ok {
		return b.Ends()
	}
	return ctx.Done(), nil
}

// putOutLocked puts the commands behind what is out. Where too much is it waits for that,
// unless no caller waits for r.
func (c *Conn) putOutLocked(ctx context.Context, r *request, cmds [][]string) error {
	for c.err == nil && len(c.out) > maxOut {
		if r.then != nil {
			return fmt.Errorf("%w: too much waits to be", ErrUnsent)
		}
		if c.drained == nil {
			c.drained = make(chan struct{})
		}
		drained := c.drained
		c.mu.Unlock()
		select {
		case <-drained:
		case <-ctx.Done():
		}
		c.mu.Lock()
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%w: %w", ErrUnsent, err)
		}
	}
	if c.err != nil {
		return fmt.Errorf("%w: %w", ErrUnsent, c.err)
	}
	c.owed.push(debt{r: r, n: len(cmds)})
	for _, words := range cmds {
		c.out = appendCommand(c.out, words)
	}
	c.asked++
	return nil
}

// endLocked tells the owner of r that it is answered, or never will be.
func (c *Conn) endLocked(r *request) {
	switch {
	case r == c.leader:
		r.ended = true
	case !r.left:
		c.woken.Add(1)
		r.done <- struct{}{} // which has room: there is one end
	}
}

// fail ends the connection, and all that waits for answers.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	c.mu.Unlock()
	c.conn.Close()
	if c.o.Ended != nil {
		c.o.Ended(err) // before any caller is told, and asks again
	}
	c.mu.Lock()
	var sent []*request
	for h := c.owed.head(); h != nil; h = c.owed.head() {
		if r := h.r; r.then == nil {
			r.err = err
			c.endLocked(r)
		} else {
			sent = append(sent, r)
		}
		c.owed.drop()
	}
	c.drainedLocked()
	c.mu.Unlock()
	c.wakeReader()
	for _, r := range sent {
		c.tell(r, err)
	}
}

// Close ends the connection.
func (c *Conn) Close() { c.fail(net.ErrClosed) }

// wakeReader has the idle reader look whether there is something to read.
func (c *Conn) wakeReader() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *Conn) setDeadlineLocked(t time.Time) {
	if !c.noLeads && !t.Equal(c.deadline) {
		c.deadline = t
		_ = c.conn.SetReadDeadline(t) // if it fails, so does the read
	}
}

func isTimeout(err error) bool {
	var network net.Error
	return errors.As(err, &network) && network.Timeout()
}
