package wire

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
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
	// Invalidated is handed the keys of each invalidation; nil is all there are.
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
	conn net.Conn
	o    Options
	try  func([]byte) (int, error) // writes what it can without waiting; nil: it cannot
	// requests are to be used again: they and their channels are a fifth of the memory that a
	// read takes, and a tenth of its time.
	//
	// A request goes back when its caller has been told of the answer. Nothing refers to it
	// then: it is taken off inflight when it ends. One that was given up, or whose connection has
	// ended, does not go back:
	//
	//	A:                gives its request up
	//	reader goroutine: counts an answer to that request
	requests sync.Pool

	mu        sync.Mutex // guards what follows
	err       error      // why it has ended
	inflight  []*request // that wait for answers, in order; of which completed are answered
	completed int
	moved     atomic.Uint64 // bytes of answers, and of requests that were answered: see awaitSilence

	// Writing. The goroutine that sets writing owns it until it is handed on or ended.
	writing    bool
	coalescing bool   // requests are left to the reader goroutine to be written: see read
	out        []byte // to be written next, in order
	// spare is the buffer of out that is not in use. One that is being written is
	// neither out nor spare until the write has returned:
	//
	//	A: takes out, and writes it without the lock; out is what was spare, spare is nil
	//	B: appends to out, which is another buffer than the one that A writes
	//	A: has written it all, and makes it spare; what it could not write at once it
	//	   leaves to a goroutine together with the buffer, which is never spare again
	spare []byte

	// Of the reader goroutine.
	in             []byte
	begin, end     int // what of it has not been handed out
	messages       int // messages that were handed out since it was read into last
	scanner        resp.Scanner
	counted        int    // bytes of the message at begin that are in moved already
	woken          int    // callers, of answers that came at once
	skipCoalescing int    // how often requests are not to be coalesced
	refusal        string // what the last answer said, if that was an error
}

// ErrUnsent is matched by errors of requests of which nothing was sent.
var ErrUnsent = errors.New("nothing was sent")

// New returns a Conn over conn, which has read and written nothing yet.
func New(conn net.Conn, o Options) *Conn {
	c := &Conn{conn: conn, o: o, try: tryWriting(conn)}
	if !o.Go(c.read) {
		c.fail(net.ErrClosed)
	}
	return c
}

// request is what a caller has asked.
type request struct {
	replies  []resp.Reply
	received int // of them
	err      error
	size     uint64        // its bytes; guarded by Conn.mu
	before   uint64        // Conn.moved when it was put out; guarded by Conn.mu
	silence  time.Duration // see bound.Silence
	done     chan struct{} // told when it is ended
	ended    bool          // it is ended or given up; guarded by Conn.mu, as is received
	// callback, of a request that no caller waits for, is called when it is ended; nil of all others.
	callback func([]resp.Reply, error)
	deadline time.Time   // ends a request with a callback
	timer    *time.Timer // at that time; guarded by Conn.mu
}

// Ask sends commands together and returns their answers.
func (c *Conn) Ask(ctx context.Context, cmds ...[]string) ([]resp.Reply, error) {
	if len(cmds) == 0 {
		return nil, nil
	}
	r, _ := c.requests.Get().(*request)
	if r == nil {
		r = &request{done: make(chan struct{}, 1)}
	}
	r.replies = make([]resp.Reply, len(cmds))
	if err := c.put(ctx, r, cmds); err != nil {
		return nil, err
	}
	end, limit := endsOf(ctx)
	begun, answered := mono.Now(), false
	// guard: request-ends-with-limit
	// guard: request-ends-with-context
	select {
	case <-r.done:
		answered = true
	case <-end:
	case <-limit:
		// guard: deadline-is-for-silence
		answered = c.awaitSilence(ctx, r, begun)
	}
	if answered {
		if r.err != nil {
			return nil, r.err
		}
		replies := r.replies
		*r = request{done: r.done}
		c.requests.Put(r)
		return replies, nil
	}
	c.mu.Lock()
	// guard: abandoned-request-is-not-reused
	r.ended = true
	c.mu.Unlock()
	return nil, cmp.Or(ctx.Err(), context.DeadlineExceeded) // never nil, whatever the context
}

// LeastRate is how many bytes a second have to move on a connection for its requests to go on beyond their limit. Large
// answers and requests are told from a server that does not answer, or says a little now and then.
const LeastRate = 256 << 10

// leastOf is how many bytes have to move within d.
func leastOf(d time.Duration) uint64 { return uint64(max(d.Seconds()*LeastRate, 1)) }

// awaitSilence goes on waiting for the answer to r, whose limit has ended, for as long as the connection is busy with what
// comes before it: in each time of its silence it has received enough of an answer, parts of messages included, or was
// answered requests of enough bytes. (What was written may wait in the machine. What is pushed says nothing of the way there.)
// It returns false when there was silence, or the caller's context has ended.
//
// Requests that share a limit begin at any time before its end, and after: one that has had no time is given that first.
func (c *Conn) awaitSilence(ctx context.Context, r *request, begun mono.Time) (answered bool) {
	silence, caller := bound.Silence(ctx)
	if silence <= 0 {
		return false
	}
	c.mu.Lock()
	from := r.before
	c.mu.Unlock()
	wait := silence
	// guard: silence-begins-with-request
	if had := mono.Now().Sub(begun); had < silence-silence/8 {
		wait -= had
	} else if now := c.moved.Load(); now-from < leastOf(silence) {
		return false
	} else {
		from = now
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for ; ; timer.Reset(silence) {
		select {
		case <-r.done:
			return true
		case <-caller.Done():
			return false
		case <-timer.C:
		}
		now := c.moved.Load()
		if now-from < leastOf(silence) {
			return false
		}
		from = now
	}
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
	r := &request{replies: make([]resp.Reply, len(cmds)), callback: then, deadline: deadline}
	if silence, _ := bound.Silence(ctx); silence > 0 {
		r.silence, r.deadline = silence, time.Now().Add(silence)
	}
	return c.put(ctx, r, cmds)
}

// giveUpSilent ends a request with a callback whose time has passed, unless the connection is busy: see awaitSilence.
func (c *Conn) giveUpSilent(r *request) {
	c.mu.Lock()
	now := c.moved.Load()
	// guard: async-deadline-is-for-silence
	if goesOn := r.silence > 0 && !r.ended && now-r.before >= leastOf(r.silence); goesOn {
		r.before = now
		r.timer.Reset(r.silence)
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	c.finish(r, context.DeadlineExceeded)
}

// Moved is how many bytes of answers have come so far, and of requests that were answered.
func (c *Conn) Moved() uint64 { return c.moved.Load() }

// RemoteAddr is the server's.
func (c *Conn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

// maxOut bounds what waits to be written, less the request that exceeds it. Beyond it, requests
// are refused: the server takes nothing, or less than it is given.
const maxOut = 64 << 20

// put puts the commands behind what is out, and writes that unless another does.
func (c *Conn) put(ctx context.Context, r *request, cmds [][]string) error {
	done, err := false, bound.Ended(ctx)
	defer c.failUnless(&done)
	c.mu.Lock()
	defer c.mu.Unlock()
	err = cmp.Or(c.err, err)
	// guard: bounded-write-buffer
	if len(c.out) > maxOut {
		err = errors.New("too much waits to be written")
	}
	if err != nil {
		done = true
		return fmt.Errorf("%w: %w", ErrUnsent, err)
	}
	c.inflight = append(c.inflight, r)
	from := len(c.out)
	for _, words := range cmds {
		c.out = resp.AppendCommand(c.out, words)
	}
	r.size, r.before = uint64(len(c.out)-from), c.moved.Load()
	if r.callback != nil {
		// guard: async-deadline
		r.timer = time.AfterFunc(time.Until(r.deadline), func() { c.giveUpSilent(r) })
		c.unlocked(runtime.Gosched) // the callers of a load that has ended ask again, and write this too
	}
	if !c.coalescing {
		c.writeLocked()
	}
	done = true
	return nil
}

// failUnless ends the connection of a caller that defers it and panics before it has done:
// what it has left half done, nothing would finish. The panic goes on.
func (c *Conn) failUnless(done *bool) {
	// guard: panic-of-caller-ends-connection
	if !*done {
		c.fail(recovery.ErrPanicked)
	}
}

// unlocked calls f without c.mu, which is locked again however f ends: its callers unlock it
// when they are done, also by a panic.
func (c *Conn) unlocked(f func()) {
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
	switch b := ctx.(type) {
	case *bound.Context:
		return b.Ends()
	case bound.Patient:
		return nil, b.Done()
	}
	return ctx.Done(), nil
}

// endLocked ends r, once: its owner is told that it is answered, or never will be. It
// reports whether its callback is to be called, without locks.
func (c *Conn) endLocked(r *request, err error) (tell bool) {
	// guard: sender-told-once
	if r.ended {
		return false
	}
	if r.timer != nil {
		r.timer.Stop()
	}
	r.ended, r.err = true, err
	if r.callback != nil {
		return true
	}
	r.done <- struct{}{} // which has room: there is one end; and last, since its caller may use it for another
	return false
}

// finish ends a request that no caller waits for, and tells then.
func (c *Conn) finish(r *request, err error) {
	c.mu.Lock()
	tell := c.endLocked(r, err)
	c.mu.Unlock()
	if tell {
		c.callBack(r)
	}
}

// callBack is called once r is ended, without locks.
func (c *Conn) callBack(r *request) {
	c.call(func() {
		if r.err != nil {
			r.callback(nil, r.err)
			return
		}
		r.callback(r.replies, nil)
	})
}

// fail ends the connection, and all that waits for answers.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	first := c.err == nil
	if first {
		c.err = err
	}
	c.mu.Unlock()
	if !first {
		return
	}
	c.call(func() { c.conn.Close() })
	if c.o.Ended != nil {
		// guard: end-before-callers
		c.call(func() { c.o.Ended(err) }) // before any caller is told, and asks again
	}
	for _, r := range c.endAll(err) {
		c.callBack(r)
	}
}

// endAll ends all that waits for answers, and returns those whose callbacks are to be called.
func (c *Conn) endAll(err error) (sent []*request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.inflight[c.completed:] {
		if c.endLocked(r, err) {
			// guard: async-ends-with-connection
			sent = append(sent, r)
		}
	}
	c.inflight, c.completed = nil, 0
	return sent
}

// Close ends the connection.
func (c *Conn) Close() { c.fail(net.ErrClosed) }
