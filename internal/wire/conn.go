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
)

// Options of a connection.
type Options struct {
	// Invalidated is handed the keys of each notice; nil is all there are. If it is nil notices go to the client.
	Invalidated func(keys []string)
	// Message is handed what is published. It returns whether it has taken it from
	// the client.
	Message func(channel, message string) bool
	// Token: Found is called whenever the client has sent it, and so has done with
	// greeting the server.
	Token string
	Found func()
	// Ended is called once, when nobody can ask any more.
	Ended func()
	// Go runs f in a goroutine that ends when the connection is closed; false: it
	// runs no more.
	Go func(f func()) bool
	// Panics is told of panics, each of which ends the connection; nil: nobody is.
	Panics *recovery.Panics
}

// Conn is the connection, as its client sees it.
type Conn struct {
	net.Conn
	o       Options
	try     func([]byte) (int, error) // writes what it can without waiting; nil: it cannot
	noLeads bool                      // reads have no deadlines, so only the client reads

	mu    sync.Mutex // guards what follows
	err   error      // why it has ended
	asked uint64     // requests so far
	owed  debts
	late  *time.Timer // gives up requests that nobody waits for; nil before there were any
	dueAt time.Time   // when it does; zero: it does not run

	// Writing. Who sets writing owns it until it is handed on or ended.
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
	held    []byte // what may not be written before the client's command is whole
	waiting []debt // for what is held
	client  sent   // what the client writes
	claimed bool   // the client waits for the writing to be handed to it
	// Gathering: see gatherLocked.
	woken    atomic.Int64 // who were told of an answer and have not run since
	gathered int          // requests that were left to others to be written
	since    mono.Time    // when the first of them came
	hasty    int          // requests that are not to be left to others
	haste    int          // how many the next time

	// Reading. Who sets reading owns it, and the fields of reading below.
	reading        bool
	leader         *request // who reads; nil: nobody or the client
	leaderContext  context.Context
	forClient      []byte    // what the client has not read yet
	deadline       time.Time // of reads, as it was set
	clientDeadline time.Time

	turn  chan struct{} // hands the writing to the client
	nudge chan struct{} // has the client look again

	// Of whoever is reading.
	in         []byte
	begin, end int     // what of it has not been handed out
	part       scanner // of what begins there
	paid       int     // answers to requests that were handed out

	// Of the client's reading.
	tick     *time.Timer
	lastPaid time.Time // when it last handed out all that was owed
}

const (
	// inBuffer is what is read at once, mostly.
	inBuffer = 64 << 10
	// MaxRequest bounds the bytes of what is asked directly. What is longer would be
	// copied once more than by the client.
	MaxRequest = 64 << 10
	// maxOut bounds what waits for being written.
	maxOut = 4 << 20
	// backAfter is when the client reads again if nobody has asked.
	backAfter = time.Millisecond
)

// ErrRefused is matched by errors of requests that were not sent, and that the
// client would: they are too long, too many wait, or the connection has ended.
var ErrRefused = errors.New("wire: too much to be sent directly")

// New returns the connection for the client of c.
func New(c net.Conn, o Options) *Conn {
	return &Conn{
		noLeads: c.SetReadDeadline(time.Time{}) != nil,
		Conn:    c, o: o, try: tryWriting(c),
		in: make([]byte, inBuffer), turn: make(chan struct{}, 1), nudge: make(chan struct{}, 1),
	}
}

// request is what somebody asked directly.
type request struct {
	replies []Reply
	err     error         // set before it is ended
	done    chan struct{} // told when it is ended, unless its owner reads
	ended   bool          // likewise, if its owner reads; guarded by Conn.mu
	left    bool          // its owner does not wait any more, or was told; guarded by Conn.mu
	queued  func()        // to be called before waiting
	// Of one that nobody waits for.
	then    func(whole bool, err error) // told when it is ended; nil: somebody waits
	until   time.Time                   // when it is given up
	queuing bool                        // queued is running, and then comes after it; guarded by Conn.mu
}

func newRequest(replies []Reply) *request {
	return &request{replies: replies, done: make(chan struct{}, 1)}
}

// AskOne sends a command and returns its answer.
func (c *Conn) AskOne(ctx context.Context, words ...string) (Reply, error) {
	return c.AskLast(ctx, words)
}

// AskLast is Ask of at least one command, and returns the answer to the last.
func (c *Conn) AskLast(ctx context.Context, cmds ...[]string) (Reply, error) {
	replies := make([]Reply, len(cmds))
	if _, err := c.Ask(ctx, replies, nil, cmds...); err != nil {
		return Reply{}, err
	}
	return replies[len(cmds)-1], nil
}

// Ask sends commands together and puts their answers into replies, which is as long.
// If whole is false, some may still be put there: whoever reads has taken an answer off
// what is owed before he has decoded it, and the connection may end in between.
//
// Unless queued is nil it is called before the answers are waited for, and mostly
// before the commands are written: if it has somebody else ask, all is written
// together.
func (c *Conn) Ask(ctx context.Context, replies []Reply, queued func(), cmds ...[]string) (whole bool, err error) {
	if len(cmds) == 0 {
		return true, nil
	}
	r := newRequest(replies)
	r.queued = queued
	back, err := c.ask(ctx, r, cmds...)
	return back && err == nil, err
}

// Send is Ask for who does not wait: then is told, once, what Ask would have returned,
// with the deadline of ctx and not its end by itself. It is called by whoever reads the
// connection, or ends it, and so must be quick and wait for nothing; it may be called
// before Send returns. With an error nothing was sent, and then is not called.
func (c *Conn) Send(ctx context.Context, replies []Reply, queued func(), then func(whole bool, err error), cmds ...[]string) error {
	deadline, ok := ctx.Deadline()
	if !ok || len(cmds) == 0 {
		return ErrRefused
	}
	_, err := c.ask(ctx, &request{replies: replies, queued: queued, then: then, until: deadline}, cmds...)
	return err
}

// Busy reports whether somebody waits for an answer.
func (c *Conn) Busy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.owed.n > 0
}

// ask returns whether r is nobody's but the caller's again. It is not if the
// context has ended: what answers it has yet to come. Nor is it if nobody waits for it.
func (c *Conn) ask(ctx context.Context, r *request, cmds ...[]string) (back bool, err error) {
	if err := ctx.Err(); err != nil {
		return true, err
	}
	ended, leads, err := c.submit(ctx, r, cmds)
	if err != nil {
		return true, err
	}
	if ended && r.then == nil {
		c.awake()
		return true, r.err
	}
	switch {
	case ended:
		c.tell(r)
		return false, nil
	case r.then != nil:
		return false, nil
	case leads:
		return c.lead(ctx, r)
	}
	end, limit := endsOf(ctx)
	select {
	case <-r.done:
		c.awake()
		return true, r.err
	case <-end:
	case <-limit:
	}
	c.leave(r)
	return false, cmp.Or(ctx.Err(), context.DeadlineExceeded) // never nil, whatever the context
}

// submit puts a request out, and mostly writes it. It reports whether r has ended by then,
// and whether its caller is to read.
func (c *Conn) submit(ctx context.Context, r *request, cmds [][]string) (ended, leads bool, err error) {
	done := false
	defer c.endUnless(&done)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err = c.putOutLocked(r, cmds); err != nil {
		done = true
		return false, false, err
	}
	ended = r.queued != nil && c.queueLocked(r)
	if ended && r.then == nil {
		done = true
		return true, false, nil
	}
	leads = !c.reading && !c.noLeads && r.then == nil
	writes := !c.writing && len(c.out) > 0
	if leads {
		c.reading, c.leader, c.leaderContext = true, r, ctx
	}
	if writes && (leads || !c.gatherLocked()) {
		c.writing = true
		c.flushLocked(true)
	}
	done = true
	return ended, leads, nil
}

// endUnless ends the connection of whoever defers it and panics before it has done: what
// it has left half done nobody would finish. The panic goes on.
func (c *Conn) endUnless(done *bool) {
	if !*done {
		c.fail(recovery.ErrPanicked)
	}
}

// apart calls f without c.mu, which is locked again however f ends: callers unlock it
// when they are done, also by a panic.
func (c *Conn) apart(f func()) {
	c.mu.Unlock()
	defer c.mu.Lock()
	f()
}

// call calls what another package has given, without locks. A panic of it ends the
// connection.
func (c *Conn) call(f func()) {
	defer c.recovered("a callback of a connection")
	f()
}

// recovered is to be deferred, without locks.
func (c *Conn) recovered(where string) {
	if p := recover(); p != nil {
		c.o.Panics.Report(where, p)
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

// putOutLocked puts the commands behind what is out, or refuses to.
func (c *Conn) putOutLocked(r *request, cmds [][]string) error {
	size := 0
	for _, words := range cmds {
		for _, w := range words {
			size += len(w)
		}
	}
	switch {
	case c.err != nil: // the client will have another
		return fmt.Errorf("%w: %w", ErrRefused, c.err)
	case size > MaxRequest || len(c.out)+len(c.held) > maxOut:
		return ErrRefused
	}
	if mine := (debt{r: r, n: len(cmds)}); c.client.whole() {
		c.owed.push(mine)
		c.out = appendCommands(c.out, cmds)
	} else {
		c.waiting = append(c.waiting, mine)
		c.held = appendCommands(c.held, cmds)
	}
	c.asked++
	if r.then != nil {
		c.timeLocked(r.until)
	}
	return nil
}

// queueLocked has others ask. It reports whether they have written and read
// meanwhile, and r has ended.
func (c *Conn) queueLocked(r *request) (ended bool) {
	r.queuing = true
	c.apart(func() { c.call(r.queued) })
	r.queuing = false
	if r.then != nil {
		return r.left
	}
	return r.told()
}

// told reports, once, whether it has ended.
func (r *request) told() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// endLocked tells the owner of r that it is answered, or never will be.
func (c *Conn) endLocked(r *request) {
	if r == c.leader {
		r.ended = true
		return
	}
	if !r.left {
		c.woken.Add(1)
	}
	r.done <- struct{}{} // has room: there is one end
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
	c.Conn.Close()
	if c.o.Ended != nil {
		c.call(c.o.Ended) // before anybody is told, and asks again
	}
	sent := c.endAll(err)
	c.wake()
	for _, r := range sent {
		c.tell(r)
	}
}

// endAll ends all that waits for answers, and returns those that are to be told.
func (c *Conn) endAll(err error) (sent []*request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range c.waiting {
		c.owed.push(d)
	}
	c.waiting = nil
	for h := c.owed.head(); h != nil; h = c.owed.head() {
		switch r := h.r; {
		case r == nil:
		case r.then == nil:
			r.err = err
			c.endLocked(r)
		case r.endsLocked(err):
			sent = append(sent, r)
		}
		c.owed.drop()
	}
	if c.late != nil {
		c.late.Stop()
	}
	if c.claimed {
		c.claimed = false
		c.turn <- struct{}{}
	}
	return sent
}

// Close implements [net.Conn].
func (c *Conn) Close() error {
	c.fail(net.ErrClosed)
	return nil
}

// wake has the client look whether there is something to read.
func (c *Conn) wake() {
	select {
	case c.nudge <- struct{}{}:
	default:
	}
}

// SetDeadline implements [net.Conn].
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline implements [net.Conn]. It holds for the client's reads alone.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clientDeadline = t
	if c.leader != nil {
		return nil
	}
	return c.setDeadlineLocked(t)
}

func (c *Conn) setDeadlineLocked(t time.Time) error {
	if t.Equal(c.deadline) {
		return nil
	}
	c.deadline = t
	return c.Conn.SetReadDeadline(t)
}

func isTimeout(err error) bool {
	var network net.Error
	return errors.As(err, &network) && network.Timeout()
}
