package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/bound"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/internal/recovery"
	"github.com/tiercache/tiercache/internal/remoteerr"
	"github.com/tiercache/tiercache/internal/resp"
	"github.com/tiercache/tiercache/internal/wire"
)

// serverConn keeps one connection to the server: it dials, greets the server, asks for invalidations,
// and dials anew when the connection is lost. Where the server is, the plain client knows. One of them is
// the tracked connection, over which entries are read and written, and the log is read.
type serverConn struct {
	c *valkeyConn // is told of invalidations, and that they may have been lost
	// untracked: it is the connection for what is large, see large.go, of which nothing is told.
	untracked bool
	option    valkey.ClientOption
	ping      valkey.Completed // for option.RetryDelay
	resp2     bool             // the server does not speak RESP3, and nothing is tracked

	open    context.Context // until Close
	end     context.CancelFunc
	running sync.WaitGroup

	mu           sync.Mutex              // guards what follows, and that nothing is added to running after Close
	redirectedTo string                  // the server that the one before has sent us to, if any
	address      string                  // of the latest connection
	dial         int                     // of that
	conn         atomic.Pointer[dialled] // nil unless connected; set with mu held
	phase        phase
	err          error         // of the latest attempt, when failed
	attempted    chan struct{} // closed when the attempt to connect that is under way, or the next, has ended
}

// phase is how far the latest attempt to connect has come.
type phase uint8

const (
	dialling  phase = iota // it has not ended; also when a connection was lost, and the next attempt has not begun
	connected              // there is a connection
	failed                 // there is none
)

// dialled is a connection that has been greeted.
type dialled struct {
	*wire.Conn
	identity int64 // see changelog.Delta.Connection
}

func newServerConn(c *valkeyConn, o valkey.ClientOption) *serverConn {
	h := &serverConn{c: c, option: o, ping: c.plain.B().Ping().Build().Pin(), attempted: make(chan struct{})}
	h.open, h.end = context.WithCancel(context.Background())
	return h
}

// server is where the plain client has found it.
func (h *serverConn) server() string {
	for address := range h.c.plain.Nodes() {
		return address
	}
	return ""
}

// Close ends the connection, and waits for what it owns.
func (h *serverConn) Close() {
	h.mu.Lock()
	h.end()
	h.mu.Unlock()
	h.reset()
	h.running.Wait()
}

// reset closes the connection, if there is one.
func (h *serverConn) reset() {
	if conn := h.conn.Load(); conn != nil {
		conn.Close()
	}
}

// spawn implements [carrier].
func (h *serverConn) spawn(f func()) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open.Err() != nil {
		return false
	}
	h.running.Go(func() {
		defer h.c.o.Panics.Recover("a request beside its caller", h.reset)
		f()
	})
	return true
}

// run keeps a connection until Close.
func (h *serverConn) run() {
	for failed := 0; h.open.Err() == nil; {
		failed = h.connectAndWatch(failed + 1)
	}
	h.publish(nil, valkey.ErrClosing)
}

// connectAndWatch connects, and returns some time after that has failed, or the connection has been lost: how often it
// has failed in a row by then, failed if this time it has.
func (h *serverConn) connectAndWatch(failed int) (again int) {
	again = failed // after a panic, too, of what the options call
	// guard: recover-connection-loop
	defer h.c.o.Panics.Recover("keeping a connection", h.reset, func() {
		h.publish(nil, recovery.ErrPanicked)
		h.pause(pauseAfterPanic)
	}, h.mayHaveLost)
	begun := time.Now()
	w, gone, refresh, err := h.connect()
	h.publish(w, err)
	if w != nil {
		err = h.watch(w, gone, refresh)
		w.Close()
		h.mayHaveLost()
	}
	if time.Since(begun) > time.Second {
		return 0
	}
	d := h.option.RetryDelay(failed, h.ping, err)
	if d < 0 { // that it is not to be tried again is said of requests
		d = pauseBeforeRetry(failed, h.ping, err)
	}
	h.pause(d)
	return failed
}

// mayHaveLost tells that invalidations may have been lost.
func (h *serverConn) mayHaveLost() {
	if !h.untracked {
		h.c.invalidated(nil)
	}
}

// pause waits, until Close.
func (h *serverConn) pause(d time.Duration) {
	ctx, cancel := context.WithTimeout(h.open, d)
	defer cancel()
	<-ctx.Done()
}

var errLost = errors.New("the connection was lost")

// publish says what an attempt to connect has come to, and has those look that wait for it.
func (h *serverConn) publish(w *dialled, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conn.Store(w)
	if h.phase, h.err = connected, nil; w == nil {
		h.phase, h.err = failed, err
		h.redirectedTo = "" // it may have sent us nowhere
	}
	close(h.attempted)
	h.attempted = make(chan struct{})
}

// lost is called when a connection has ended. What is asked from here on waits for the next.
func (h *serverConn) lost(number int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.dial == number && h.phase == connected {
		h.conn.Store(nil)
		h.phase = dialling
	}
}

// watch returns when the connection has ended, or is to: the server is another. It renews the credentials; and
// where nothing was answered for as long as KeepAlive it asks, and gives up what does not
// answer within ConnWriteTimeout.
func (h *serverConn) watch(w *dialled, gone <-chan struct{}, refresh time.Time) error {
	alive := time.NewTicker(h.option.Dialer.KeepAlive)
	defer alive.Stop()
	credentials := time.NewTimer(time.Until(refresh))
	defer credentials.Stop()
	if refresh.IsZero() {
		credentials.Stop()
	}
	turned := h.c.serverChanged
	if h.untracked {
		turned = nil // what is carried over a connection to the server before is found out, and the next tick follows
	}
	// guard: follow-failover
	for heard := w.Moved(); !h.serverMoved(); heard = w.Moved() {
		words := []string{"PING"}
		select {
		case <-gone:
			return errLost
		case <-h.open.Done():
			return valkey.ErrClosing
		case <-credentials.C:
			c, err := h.credentials(w.RemoteAddr())
			if err != nil {
				return err
			}
			if !c.RefreshAfter.IsZero() {
				credentials.Reset(time.Until(c.RefreshAfter))
			}
			words = []string{"AUTH", c.Username, c.Password}
		case <-turned:
			continue
		case <-alive.C:
			if w.Moved() != heard {
				continue
			}
		}
		ctx, cancel := context.WithTimeout(h.open, h.option.ConnWriteTimeout)
		answers, err := w.Ask(ctx, words)
		cancel()
		if err == nil {
			err = direct(answers[0]).err
		}
		// guard: give-up-silent-connection
		if err != nil && (!gaveUp(err) || w.Moved() == heard) { // else it waits behind a long answer
			return err
		}
	}
	return errLost
}

// serverMoved reports whether the plain client has turned to another server.
func (h *serverConn) serverMoved() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.redirectedTo == "" && h.address != h.server()
}

// connection returns the connection to use. Without one it waits for the attempt to
// connect that is under way, or the next one.
func (h *serverConn) connection(ctx context.Context) (*dialled, error) {
	if w := h.conn.Load(); w != nil {
		return w, nil
	}
	h.mu.Lock()
	for h.phase != connected && h.open.Err() == nil {
		tried := h.attempted
		h.mu.Unlock()
		select {
		case <-tried:
		case <-ctx.Done():
			return nil, remoteerr.Unsent(ctx.Err())
		}
		h.mu.Lock()
		if h.phase == failed {
			break
		}
	}
	defer h.mu.Unlock()
	switch {
	case h.open.Err() != nil:
		return nil, valkey.ErrClosing
	case h.phase == failed:
		return nil, remoteerr.Unsent(fmt.Errorf("no connection to %s: %w", h.address, h.err))
	}
	return h.conn.Load(), nil
}

// send asks. What only reads, and whose connection was lost, is asked once more, unless DisableRetry; so is
// what was not sent at all. over is the identity of the connection that answered.
func (h *serverConn) send(ctx context.Context, cmds ...[]string) (answers []resp.Reply, over int64, err error) {
	// guard: retry-read
	// guard: disable-retry
	for again := !h.option.DisableRetry; ; again = false {
		w, err := h.connection(ctx)
		if err != nil {
			return nil, 0, err
		}
		answers, err := w.Ask(ctx, cmds...)
		switch {
		case err == nil && !h.redirected(w, cmds, answers...), err == nil && !again:
			return answers, w.identity, nil
		case err != nil && (gaveUp(err) || !again || !repeatable(cmds) && !errors.Is(err, wire.ErrUnsent)):
			return nil, 0, h.orClosing(err)
		}
	}
}

// get implements [carrier].
func (h *serverConn) get(ctx context.Context, key string) reply {
	answers, _, err := h.send(ctx, []string{"GETRANGE", key, "0", lastOfFirstRead})
	if err != nil {
		return reply{err: err}
	}
	return direct(answers[0])
}

// ask implements [asker].
func (h *serverConn) ask(ctx context.Context, b *batch) []reply {
	begun, moved := mono.Now(), h.moves()
	answers, over, err := h.send(ctx, b.cmds...)
	if err != nil {
		return b.failed(err)
	}
	b.connection = over
	// All that was asked moves as well, and is little.
	b.busy = float64(int64(h.moves()-moved)) >= mono.Now().Sub(begun).Seconds()*wire.LeastRate
	return repliesOf(answers)
}

// moves is how much has moved on the present connection.
func (h *serverConn) moves() uint64 {
	if w := h.conn.Load(); w != nil {
		return w.Moved()
	}
	return 0
}

// orClosing tells the end of a connection that Close has ended from others.
func (h *serverConn) orClosing(err error) error {
	if !gaveUp(err) && h.open.Err() != nil {
		return valkey.ErrClosing
	}
	return err
}

// reach implements [carrier].
func (h *serverConn) reach(ctx context.Context, _ *batch) error {
	_, err := h.connection(ctx)
	if err = cmp.Or(bound.Ended(ctx), err); err != nil {
		return remoteerr.Unsent(failure(err))
	}
	return nil
}

// later implements [carrier].
func (h *serverConn) later(ctx context.Context, b *batch, then func([]reply)) {
	w := h.conn.Load()
	// guard: no-wait-for-fill
	if w == nil || w.Send(ctx, func(answers []resp.Reply, err error) {
		replies := repliesOf(answers)
		switch {
		case err != nil:
			then(b.failed(h.orClosing(err)))
		case unknownScript(replies):
			runLater(ctx, h, b, then)
		default:
			then(replies)
		}
	}, b.cmds...) != nil {
		runLater(ctx, h, b, then)
	}
}

// redirected reports whether the server has named another, with Standalone.EnableRedirect, and all is to be
// asked of that: nothing of it was done, or nothing of it does anything.
func (h *serverConn) redirected(w *dialled, cmds [][]string, answers ...resp.Reply) bool {
	if !h.option.Standalone.EnableRedirect {
		return false
	}
	n := 0
	for _, r := range answers {
		if address, ok := strings.CutPrefix(r.Text, "REDIRECT "); ok && r.Kind == resp.Error {
			h.mu.Lock()
			h.redirectedTo = address
			h.mu.Unlock()
			n++
		}
	}
	if n > 0 {
		w.Close()
	}
	return n > 0 && (n == len(answers) || repeatable(cmds))
}

// connect dials and greets the server. gone is closed when the connection has ended;
// refresh is when the credentials are to be renewed, if ever.
func (h *serverConn) connect() (w *dialled, gone chan struct{}, refresh time.Time, err error) {
	h.mu.Lock()
	// guard: follow-redirection
	h.address = cmp.Or(h.redirectedTo, h.server())
	h.dial++
	address, number := h.address, h.dial
	h.mu.Unlock()
	ctx, cancel := context.WithTimeout(h.open, h.option.Dialer.Timeout)
	defer cancel()
	dialer := h.option.Dialer
	conn, err := dial(ctx, &h.option, address, &dialer, h.option.TLSConfig)
	if err != nil {
		return nil, nil, refresh, err
	}
	ended := make(chan struct{}) // not gone, which a return without a connection sets
	told := h.c.serverInvalidated
	if h.untracked {
		told = nil
	}
	made := wire.New(conn, wire.Options{Invalidated: told, Go: h.spawn, Panics: h.c.o.Panics, Ended: func(error) {
		h.lost(number)
		close(ended)
	}})
	greeted := false
	defer func() {
		if !greeted { // and after a panic
			made.Close()
		}
	}()
	var id int64
	// guard: greet-before-use
	if id, refresh, err = h.greet(ctx, made); err != nil {
		return nil, nil, refresh, err
	}
	if !h.untracked {
		id += h.c.connected() << dialsFrom
	}
	w = &dialled{made, id}
	greeted = true
	return w, ended, refresh, nil
}

// credentials are those to use, and until when.
func (h *serverConn) credentials(server net.Addr) (c valkey.AuthCredentials, err error) {
	c.Username, c.Password = h.option.Username, h.option.Password
	if f := h.option.AuthCredentialsFn; f != nil {
		c, err = f(valkey.AuthCredentialsContext{Address: server})
	}
	if c.Username == "" && c.Password != "" {
		c.Username = "default"
	}
	return c, err
}

// greet says what the options ask for, in one round trip. id is the server's number for the connection.
func (h *serverConn) greet(ctx context.Context, w *wire.Conn) (id int64, refresh time.Time, err error) {
	o := &h.option
	c, err := h.credentials(w.RemoteAddr())
	if err != nil {
		return id, refresh, err
	}
	refresh = c.RefreshAfter
	b := newBatch()
	if h.resp2 {
		if c.Username == "default" {
			b.add("AUTH", c.Password) // which all versions know
		} else if c.Username != "" {
			b.add("AUTH", c.Username, c.Password)
		}
		if o.ClientName != "" {
			b.add("CLIENT", "SETNAME", o.ClientName)
		}
	} else {
		b.add("HELLO", "3")
		if c.Username != "" {
			b.more("AUTH", c.Username, c.Password)
		}
		if o.ClientName != "" {
			b.more("SETNAME", o.ClientName)
		}
	}
	if !h.c.o.NoTracking && !h.untracked {
		b.add("CLIENT", "TRACKING", "ON", "OPTOUT")
	}
	if o.SelectDB != 0 {
		b.add("SELECT", strconv.Itoa(o.SelectDB))
	}
	for _, x := range []struct {
		asked bool
		words []string
	}{{o.ClientNoTouch, []string{"CLIENT", "NO-TOUCH", "ON"}}, {o.ClientNoEvict, []string{"CLIENT", "NO-EVICT", "ON"}}, {o.Standalone.EnableRedirect, []string{"CLIENT", "CAPA", "redirect"}}} {
		if x.asked {
			b.add(x.words...)
		}
	}
	needed := len(b.cmds)
	info := o.ClientSetInfo
	if info == nil {
		info = []string{valkey.LibName, valkey.LibVer}
	}
	if len(info) == 2 { // which servers before 7.2 do not know
		b.add("CLIENT", "SETINFO", "LIB-NAME", info[0])
		b.add("CLIENT", "SETINFO", "LIB-VER", info[1])
	}
	if len(b.cmds) == 0 {
		b.add("PING") // a connection is good once it has answered
	}
	answers, err := w.Ask(ctx, b.cmds...)
	if err != nil {
		return id, refresh, err
	}
	for i, r := range answers[:needed] {
		if err := direct(r).err; err != nil {
			words := b.cmds[i]
			name := strings.Join(words[:min(2, len(words))], " ") // and no secrets
			if words[0] == "AUTH" {
				name = words[0]
			}
			err = fmt.Errorf("%s: %w", name, err)
			if (name == "CLIENT TRACKING" || words[0] == "HELLO" && speaksNoRESP3(r.Text)) && !remoteerr.IsPassing(r.Text) {
				err = &untrackedError{err, words[0] == "HELLO"}
			}
			return id, refresh, err
		}
	}
	if h.resp2 {
		return 0, refresh, nil
	}
	if told(answers[0], "mode").Text == "sentinel" {
		return 0, refresh, errSentinel
	}
	return told(answers[0], "id").Int, refresh, h.isPrimary(answers[0])
}

var errSentinel = errors.New("the server says that it is a sentinel")

// untrackedError says that a server, or the user's rights, have no client tracking, or no RESP3, without which there is none.
type untrackedError struct {
	error
	resp2 bool
}

func (e *untrackedError) Unwrap() error { return e.error }

// MayPass: it is the server's, or the user's, until one of them is another.
func (e *untrackedError) MayPass() bool { return false }

// speaksNoRESP3 reports whether a refusal of HELLO 3 is of that, and not of the user.
func speaksNoRESP3(text string) bool {
	return strings.HasPrefix(text, "NOPROTO") || strings.Contains(strings.ToLower(text), "unknown command") || strings.HasPrefix(text, "NOPERM") ||
		strings.Contains(text, "not supported")
}

// isPrimary reports what is wrong with a server that greets us: a sentinel may have named
// it before it is what it is to be, or after it was.
func (h *serverConn) isPrimary(hello resp.Reply) error {
	role := told(hello, "role").Text
	// guard: sentinel-primary-role
	if h.option.Sentinel.MasterSet != "" && role != "" && role != "master" && role != "primary" {
		return fmt.Errorf("the server is a %.20q, and not the primary", role)
	}
	return nil
}

// told returns what the answer to HELLO says of something.
func told(hello resp.Reply, of string) resp.Reply {
	for i := 0; i+1 < len(hello.Array); i += 2 {
		if hello.Array[i].Text == of {
			return hello.Array[i+1]
		}
	}
	return resp.Reply{}
}
