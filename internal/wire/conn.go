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
	"github.com/tiercache/tiercache/internal/recovery"
	"github.com/tiercache/tiercache/internal/resp"
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
	// Panics is told of panics, each of which ends the connection; nil: nothing is.
	Panics *recovery.Panics
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
	// then: it is taken off what is owed when it ends. One that was given up, or whose connection has
	// ended, does not go back:
	//
	//	A:                    gives its request up
	//	goroutine that reads: stores the answer in that request
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
	part       resp.Scanner
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
	replies []resp.Reply
	err     error
	done    chan struct{} // told when it is ended, unless its owner reads
	left    bool          // its owner does not wait any more; guarded by Conn.mu
	ended   bool          // likewise guarded
	// then, of a request that no caller waits for, is told when it is ended; nil of all others.
	then   func([]resp.Reply, error)
	giveUp *time.Timer   // ends a request with then in time; guarded by Conn.mu
	few    [1]resp.Reply // of one command, as most requests are
}

// AskOne sends a command and returns its answer.
func (c *Conn) AskOne(ctx context.Context, words ...string) (resp.Reply, error) {
	r, _ := c.requests.Get().(*request)
	if r == nil {
		r = &request{done: make(chan struct{}, 1)}
	}
	r.replies = r.few[:]
	if err := c.ask(ctx, r, words); err != nil {
		// guard: abandoned-request-is-not-reused
		return resp.Reply{}, err
	}
	reply := r.few[0]
	*r = request{done: r.done}
	c.requests.Put(r)
	return reply, nil
}

// Ask sends commands together and returns their answers.
func (c *Conn) Ask(ctx context.Context, cmds ...[]string) ([]resp.Reply, error) {
	if len(cmds) == 0 {
		return nil, nil
	}
	r := &request{replies: make([]resp.Reply, len(cmds)), done: make(chan struct{}, 1)}
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
	// guard: request-ends-with-limit
	// guard: request-ends-with-context
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
func (c *Conn) Send(ctx context.Context, then func([]resp.Reply, error), cmds ...[]string) error {
	deadline, ok := ctx.Deadline()
	if !ok {
		return fmt.Errorf("%w: it has no deadline", ErrUnsent)
	}
	r := &request{replies: make([]resp.Reply, len(cmds)), then: then}
	if _, err := c.put(ctx, r, cmds); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// guard: async-deadline
	if !r.ended {
		r.giveUp = time.AfterFunc(time.Until(deadline), func() { c.finish(r, context.DeadlineExceeded) })
	}
	return nil
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
	done := false
	defer c.endUnless(&done)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err = c.putOutLocked(ctx, r, cmds); err == nil {
		if leads = !c.reading && !c.noLeads && r.then == nil; leads {
			c.reading, c.leader, c.leaderContext = true, r, ctx
		}
		if leads || !c.gatherLocked() {
			c.writeLocked()
		}
	}
	done = true
	return leads, err
}

// endUnless ends the connection of a caller that defers it and panics before it has done:
// what it has left half done, nothing would finish. The panic goes on.
func (c *Conn) endUnless(done *bool) {
	// guard: panic-of-caller-ends-connection
	if !*done {
		c.fail(recovery.ErrPanicked)
	}
}

// apart calls f without c.mu, which is locked again however f ends: its callers unlock it
// when they are done, also by a panic.
func (c *Conn) apart(f func()) {
	c.mu.Unlock()
	// guard: unlock-on-panic
	defer c.mu.Lock()
	f()
}

// call calls what another package has given, without locks. A panic of it ends the
// connection.
func (c *Conn) call(f func()) {
	// guard: recover-callback
	defer c.recovered("a callback of a connection")
	f()
}

// recovered is to be deferred, without locks.
func (c *Conn) recovered(where string) {
	if p := recover(); p != nil {
		c.o.Panics.Report(where, p)
		// guard: panic-ends-connection
		c.fail(recovery.ErrPanicked)
	}
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
	// guard: bounded-write-buffer
	for c.err == nil && len(c.out) > maxOut {
		if r.then != nil {
			return fmt.Errorf("%w: too much waits to be", ErrUnsent)
		}
		if c.drained == nil {
			c.drained = make(chan struct{})
		}
		drained := c.drained
		c.apart(func() {
			select {
			case <-drained:
			case <-ctx.Done():
			}
		})
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%w: %w", ErrUnsent, err)
		}
	}
	if c.err != nil {
		return fmt.Errorf("%w: %w", ErrUnsent, c.err)
	}
	c.owed.push(debt{r: r, n: len(cmds)})
	for _, words := range cmds {
		c.out = resp.AppendCommand(c.out, words)
	}
	c.asked++
	return nil
}

// endLocked ends r, once: its owner is told that it is answered, or never will be. It
// reports whether then is to be, without locks.
func (c *Conn) endLocked(r *request, err error) (tell bool) {
	// guard: sender-told-once
	if r.ended || r.left {
		return false
	}
	r.ended, r.err = true, err
	switch {
	case r.then != nil:
		if r.giveUp != nil {
			r.giveUp.Stop()
		}
		return true
	case r != c.leader:
		c.woken.Add(1)
		r.done <- struct{}{} // which has room: there is one end
	}
	return false
}

// finish ends a request that no caller waits for, and tells then.
func (c *Conn) finish(r *request, err error) {
	c.mu.Lock()
	tell := c.endLocked(r, err)
	c.mu.Unlock()
	if tell {
		c.tell(r)
	}
}

// tell is called once r is ended, without locks.
func (c *Conn) tell(r *request) {
	c.call(func() {
		if r.err != nil {
			r.then(nil, r.err)
			return
		}
		r.then(r.replies, nil)
	})
}

// fail ends the connection, and all that waits for answers.
func (c *Conn) fail(err error) {
	if !c.setError(err) {
		return
	}
	c.call(func() { c.conn.Close() })
	if c.o.Ended != nil {
		// guard: end-before-callers
		c.call(func() { c.o.Ended(err) }) // before any caller is told, and asks again
	}
	sent := c.endAll(err)
	c.wakeReader()
	for _, r := range sent {
		c.tell(r)
	}
}

func (c *Conn) setError(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return false
	}
	c.err = err
	return true
}

// endAll ends all that waits for answers, and returns those that are to be told.
func (c *Conn) endAll(err error) (sent []*request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for h := c.owed.head(); h != nil; h = c.owed.head() {
		if c.endLocked(h.r, err) {
			// guard: async-ends-with-connection
			sent = append(sent, h.r)
		}
		c.owed.drop()
	}
	c.drainedLocked()
	return sent
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
