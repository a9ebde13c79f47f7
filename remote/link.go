package remote

import (
	"context"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/bound"
	"github.com/tiercache/tiercache/internal/recovery"
	"github.com/tiercache/tiercache/internal/remoteerr"
)

// link sends requests over a client and never holds a caller longer than its
// context. The client itself does: while one goroutine dials, the others wait
// for it without looking at theirs. So once a connection is suspect, and until
// a request has been answered, requests run in goroutines of their own.
type link struct {
	valkey.Client
	panics  *recovery.Panics     // told of them; nil: they are not counted
	closing func()               // told when a connection is closed; nil: nothing is
	ended   func(address string) // told, once, when a connection to address has ended, before the client is; nil: nothing is
	suspect atomic.Bool
	waiting atomic.Int64 // requests that run in goroutines of their own

	mu    sync.Mutex      // guards that open is ended, conns, and that nothing joins async or conns after the end
	open  context.Context // until Close; the client of a cluster goes on for a while after its end
	end   context.CancelFunc
	async sync.WaitGroup
	conns map[*ownedConn]struct{} // that are open
}

// newLink returns a link without a client.
func newLink(panics *recovery.Panics) *link {
	l := &link{panics: panics, conns: make(map[*ownedConn]struct{})}
	l.open, l.end = context.WithCancel(context.Background())
	return l
}

// Close ends the client and waits for the requests that it makes return. Those to
// one server of a cluster would be tried again until their contexts end: the
// client of the server does not learn that the cluster's has ended.
//
// It closes every connection that was dialled for the client, which forgets some of
// them: of several addresses it goes on with the first that answers, and what it dials
// meanwhile to the others it neither uses nor closes if that comes after its end. Nor
// does a client that could not be made close what was dialled for it.
func (l *link) Close() {
	l.mu.Lock()
	// guard: close-ends-retries
	l.end()
	l.mu.Unlock()
	if l.Client != nil { // else connect has failed
		l.Client.Close()
	}
	l.async.Wait()
	l.reset()
}

// reset closes the connections that there are.
func (l *link) reset() {
	l.mu.Lock()
	conns := slices.Collect(maps.Keys(l.conns))
	l.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
}

// connect makes the client, giving up with ctx: NewClient knows only its own timeout. A
// client that arrives too late is closed. After an error the link is to be closed, which
// has NewClient return soon: what it dials is closed, and it is given nothing more.
func (l *link) connect(ctx context.Context, o valkey.ClientOption) error {
	type result struct {
		client valkey.Client
		err    error
	}
	ch := make(chan result, 1)
	go func() {
		r := result{err: recovery.ErrPanicked}
		defer func() { ch <- r }()
		defer l.panics.Recover("connecting") // in what the options have called, too
		r.client, r.err = valkey.NewClient(o)
	}()
	select {
	case r := <-ch:
		if r.err == nil {
			l.Client = r.client
		} else if r.client != nil {
			r.client.Close()
		}
		return r.err
	case <-ctx.Done():
		go func() {
			defer l.panics.Recover("giving up a connection")
			if r := <-ch; r.client != nil {
				r.client.Close()
			}
		}()
		return ctx.Err()
	}
}

// whileOpen returns a context that ends with ctx and with the link.
func (l *link) whileOpen(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	// guard: close-ends-hanging-dial
	stop := context.AfterFunc(l.open, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// own returns a connection that was dialled for the client, as the client is to see it:
// one that is closed with the link, if the client has not done so before. After Close it
// closes the connection and returns an error.
func (l *link) own(conn net.Conn, address string) (net.Conn, error) {
	c := &ownedConn{Conn: conn, l: l}
	c.ended = sync.OnceFunc(func() {
		if l.ended != nil {
			l.ended(address)
		}
	})
	l.mu.Lock()
	// guard: no-dial-after-close
	if !l.closed() {
		// guard: close-forgotten-connections
		l.conns[c] = struct{}{}
		l.mu.Unlock()
		return c, nil
	}
	l.mu.Unlock()
	_ = conn.Close()
	return nil, valkey.ErrClosing
}

// ownedConn is a connection that its link knows until it is closed.
type ownedConn struct {
	net.Conn
	l     *link
	ended func()
}

// Read implements [net.Conn], and is called by the client's reading goroutine, as Write is by
// its writing one: a panic there, of what the connection consists of or calls, ends the
// connection. They hold no lock when they panic.
func (c *ownedConn) Read(b []byte) (n int, err error) {
	n, err = 0, recovery.ErrPanicked // unless it returns
	defer c.l.panics.Recover("reading for the client", func() { _ = c.Close() })
	if n, err = c.Conn.Read(b); err != nil {
		c.ended()
	}
	return n, err
}

// Write implements [net.Conn].
func (c *ownedConn) Write(b []byte) (n int, err error) {
	n, err = 0, recovery.ErrPanicked
	// guard: recover-client-write
	defer c.l.panics.Recover("writing for the client", func() { _ = c.Close() })
	return c.Conn.Write(b)
}

// Close implements [net.Conn].
func (c *ownedConn) Close() error {
	c.l.mu.Lock()
	delete(c.l.conns, c)
	c.l.mu.Unlock()
	c.ended()
	if c.l.closing != nil {
		// guard: follow-failover-at-once
		c.l.closing()
	}
	return c.Conn.Close()
}

func (l *link) closed() bool { return l.open.Err() != nil }

// maxWaiting bounds the goroutines that wait for a connection; beyond it
// requests fail at once.
const maxWaiting = 256

// Do implements [valkey.CommandClient].
func (l *link) Do(ctx context.Context, cmd valkey.Completed) valkey.ValkeyResult {
	cmd = cmd.Pin() // see DoMulti
	if l.closed() {
		return valkey.NewErrorResult(valkey.ErrClosing)
	}
	// guard: G3-cancel-unsent-in-cluster
	if !l.suspect.Load() {
		r := l.Client.Do(ctx, cmd)
		l.recordResult(r.NonValkeyError())
		return r
	}
	return l.runAsync(ctx, 1, func(ctx context.Context) []valkey.ValkeyResult {
		return []valkey.ValkeyResult{l.Client.Do(ctx, cmd)}
	})[0]
}

// DoMulti implements [valkey.CommandClient].
func (l *link) DoMulti(ctx context.Context, cmds ...valkey.Completed) []valkey.ValkeyResult {
	if len(cmds) == 0 {
		return nil
	}
	// Pinned, so that the client does not use their memory for the next commands.
	// It does once a command has been answered, also if that was on a second
	// connection, while the goroutine that writes to the first, lost one may still
	// read it (the race detector told, in a test that kills connections).
	for i := range cmds {
		cmds[i] = cmds[i].Pin()
	}
	if l.closed() {
		return failures(len(cmds), valkey.ErrClosing)
	}
	if !l.suspect.Load() {
		rs := l.Client.DoMulti(ctx, cmds...)
		l.recordResult(rs[0].NonValkeyError())
		return rs
	}
	return l.runAsync(ctx, len(cmds), func(ctx context.Context) []valkey.ValkeyResult { return l.Client.DoMulti(ctx, cmds...) })
}

// reach returns once a connection that the commands of b can be sent over is known to work, or was until now, or with
// an error that matches [remoteerr.NotSent]. So a call that is given up while none can be had has sent nothing, and need not wait
// to hear what became of it. It asks for what the server is sure to answer, and so only while the link is suspect.
func (l *link) reach(ctx context.Context, b *batch) error {
	if err := bound.Ended(ctx); err != nil {
		return remoteerr.Unsent(err)
	}
	if !l.suspect.Load() {
		return nil
	}
	ask := newBatch()
	for _, words := range b.cmds {
		_, to := keysIn(words)
		ask.add("EXISTS", words[to-1]) // of the same slot
	}
	for _, r := range ask.sendWith(ctx, l) {
		if remoteerr.Unreachable(r.err) {
			return remoteerr.Unsent(failure(r.err))
		}
	}
	return nil
}

// recordResult keeps whether the connection is suspect: a request that got no answer
// makes it so, an answer ends it.
func (l *link) recordResult(err error) {
	if bad := err != nil && !valkey.IsValkeyNil(err); bad != l.suspect.Load() {
		l.suspect.Store(bad)
	}
}

func (l *link) runAsync(ctx context.Context, n int, f func(context.Context) []valkey.ValkeyResult) []valkey.ValkeyResult {
	if l.waiting.Add(1) > maxWaiting {
		l.waiting.Add(-1)
		return failures(n, remoteerr.ErrNoConnection)
	}
	done := make(chan []valkey.ValkeyResult, 1)
	if !l.spawn(func() {
		defer l.waiting.Add(-1)
		defer func() { // after a panic; else it has room for no more
			select {
			case done <- failures(n, recovery.ErrPanicked):
			default:
			}
		}()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		// guard: close-ends-async-calls
		defer context.AfterFunc(l.open, cancel)()
		rs := f(ctx)
		l.recordResult(rs[0].NonValkeyError())
		for i := range rs {
			// It may say that a context ended, which is not the caller's.
			// guard: closed-is-told
			if rs[i].NonValkeyError() != nil && l.closed() {
				rs[i] = valkey.NewErrorResult(valkey.ErrClosing)
			}
		}
		done <- rs
	}) {
		l.waiting.Add(-1)
		return failures(n, valkey.ErrClosing)
	}
	select {
	case rs := <-done:
		return rs
	case <-ctx.Done():
		return failures(n, ctx.Err())
	}
}

// spawn runs f in a goroutine that Close waits for. It returns false, without
// running it, after Close. A panic of f ends the link's connections.
func (l *link) spawn(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed() {
		return false
	}
	l.async.Go(func() {
		defer l.panics.Recover("a request beside its caller", l.reset)
		f()
	})
	return true
}

func failures(n int, err error) []valkey.ValkeyResult {
	rs := make([]valkey.ValkeyResult, n)
	for i := range rs {
		rs[i] = valkey.NewErrorResult(err)
	}
	return rs
}

// ask implements [asker].
func (l *link) ask(ctx context.Context, b *batch) []reply {
	// The client knows deadlines alone. What follows something large has one of its own.
	if silence, caller := bound.Silence(ctx); silence > 0 && ctx.Err() != nil {
		own, cancel := context.WithTimeout(caller, silence)
		defer cancel()
		ctx = own
	}
	return b.sendWith(ctx, l)
}

// get implements [carrier].
func (l *link) get(ctx context.Context, key string) reply {
	return l.ask(ctx, &batch{cmds: [][]string{{"GETRANGE", key, "0", lastOfFirstRead}}})[0]
}

// later implements [carrier].
func (l *link) later(ctx context.Context, b *batch, then func([]reply)) { runLater(ctx, l, b, then) }
