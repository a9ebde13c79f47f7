// Package checkconn ends a connection before its client reads what it did not ask for.
//
// The reader goroutine of valkey-go (v1.0.79, pipe.go) panics when it meets an answer that
// nothing was asked for, and with it the process ends: a server that has no connection to
// spare, or that is in protected mode, says so before it is asked and closes; so may a
// proxy. Other panics of it wait behind lengths below zero, arrays that are nested a
// million deep, and topologies of another shape than the client expects. A [Conn] follows
// what the client asks and what it is answered, and hands on whole messages alone, each of
// which the client expects. Anything else ends the connection, with an error that says what
// the server said.
package checkconn

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"

	"github.com/tiercache/tiercache/internal/resp"
)

// Conn is the connection, as its client sees it. Like any other it is read by one
// goroutine at a time and written to by one.
type Conn struct {
	net.Conn
	flushed func()

	mu        sync.Mutex // guards what follows: the client's writes add to it, its reads take from it
	commands  commands
	inflight  []expected // what the client has asked for, of which completed are answered
	completed int
	begun     bool // the client has written a command
	// resp2 says that arrays are what pushes are in RESP3: the client has another
	// connection for other commands, and does not ask for RESP3 on this one.
	resp2 bool
	ended error // why there is nothing to read any more; nil before

	// Of the goroutine that reads.
	in                []byte
	begin, ready, end int // of in: read by the client, checked, come
	scanner           resp.Scanner
	refusal           string // what the last answer said, if that was an error
}

// expected is what a command of the client's is answered with.
type expected struct {
	kind        kind
	unconfirmed int  // subscribe: channels that are not confirmed yet
	confirmed   bool // subscribe: one is
}

// kind is what a command is, where it matters for what answers it.
type kind byte

const (
	ordinary kind = iota
	hello
	subscribe   // answered by a push for each channel, or an error
	unsubscribe // answered by pushes, or an error
	ping
	pong // a ping by which the client knows that the unsubscribe before it has been answered
	role
	master // SENTINEL GET-MASTER-ADDR-BY-NAME
)

// New returns the connection for a client of conn, which has read and written nothing yet.
// Unless nil, flushed is called when the server says that all keys have changed, before the
// client can read it or anything after it.
func New(conn net.Conn, flushed func()) *Conn { return &Conn{Conn: conn, flushed: flushed} }

// Write implements [net.Conn].
func (c *Conn) Write(b []byte) (int, error) {
	if err := c.follow(b); err != nil { // before the server can answer
		c.Conn.Close()
		return 0, err
	}
	return c.Conn.Write(b)
}

// follow records what the client asks for.
func (c *Conn) follow(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.commands.feed(b, c.expectLocked)
}

// expectLocked records what a command will be answered with.
func (c *Conn) expectLocked(first, second []byte, words int) {
	is := func(word []byte, name string) bool { return bytes.EqualFold(word, []byte(name)) }
	o := expected{}
	switch {
	case is(first, "HELLO"):
		o.kind = hello
		c.resp2 = !c.begun && is(second, "2")
	case is(first, "AUTH") && !c.begun: // and then HELLO 2
		c.inflight = append(c.inflight, o)
		return
	case is(first, "SUBSCRIBE"), is(first, "PSUBSCRIBE"), is(first, "SSUBSCRIBE"):
		o = expected{kind: subscribe, unconfirmed: words - 1}
	case is(first, "UNSUBSCRIBE"), is(first, "PUNSUBSCRIBE"), is(first, "SUNSUBSCRIBE"):
		o.kind = unsubscribe
	case is(first, "PING"):
		o.kind = ping
		if n := len(c.inflight); n > c.completed && c.inflight[n-1].kind == unsubscribe {
			o.kind = pong
		}
	case is(first, "ROLE"):
		o.kind = role
	case is(first, "SENTINEL") && is(second, "GET-MASTER-ADDR-BY-NAME"):
		o.kind = master
	}
	c.begun = true
	c.inflight = append(c.inflight, o)
}

// nextLocked is what the next answer is for, or nil.
func (c *Conn) nextLocked() *expected {
	if c.completed == len(c.inflight) {
		return nil
	}
	return &c.inflight[c.completed]
}

func (c *Conn) completeLocked() {
	switch c.completed++; {
	case c.completed == len(c.inflight):
		c.inflight, c.completed = c.inflight[:0], 0
	case c.completed >= 64 && 2*c.completed >= len(c.inflight): // a client that always waits for some answer
		c.inflight, c.completed = append(c.inflight[:0], c.inflight[c.completed:]...), 0
	}
}

// Read implements [net.Conn].
func (c *Conn) Read(p []byte) (int, error) {
	for c.begin == c.ready {
		if err := c.endedBy(); err != nil {
			return 0, err
		}
		if err := c.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.in[c.begin:c.ready])
	c.begin += n
	return n, nil
}

func (c *Conn) endedBy() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

const (
	// firstRead and mostRead bound how much is read at once: as little as an idle
	// connection needs, and more when there is more.
	firstRead, mostRead = 4 << 10, 64 << 10
	// maxMessage is twice the longest value that a server takes by default.
	maxMessage = 1 << 30
	// maxUnasked is how much of what was not asked for is read to be told.
	maxUnasked = 4 << 10
)

// fill reads what there is, and checks what of it is whole.
func (c *Conn) fill() error {
	if err := c.makeRoom(); err != nil {
		return c.fail(err)
	}
	n, err := c.Conn.Read(c.in[c.end:])
	c.end += n
	if bad := c.check(); bad != nil {
		_ = c.fail(bad) // what came before it is handed out first
		return nil
	}
	if err == nil || c.ready > c.begin && isTimeout(err) {
		return nil
	}
	if isTimeout(err) { // the client may go on
		return err
	}
	// guard: last-words-of-server
	if c.refusal != "" {
		err = fmt.Errorf("the server said %q and ended the connection: %w", c.refusal, err)
	}
	_ = c.fail(err)
	return nil
}

// makeRoom has the rest of what is read begin where there is room behind it.
func (c *Conn) makeRoom() error {
	held := c.end - c.begin
	switch {
	case held == 0 && len(c.in) > mostRead:
		c.in = make([]byte, mostRead)
	case held == 0 && c.end == len(c.in) && len(c.in) < mostRead: // it was filled at once
		c.in = make([]byte, max(firstRead, 2*len(c.in)))
	case held == 0:
	case held == len(c.in):
		if held >= maxMessage {
			return fmt.Errorf("%w: a message of more than %d bytes", resp.ErrMalformed, maxMessage)
		}
		c.in = append(make([]byte, 0, 2*held), c.in...)[:2*held]
		return nil
	default:
		copy(c.in, c.in[c.begin:c.end])
	}
	c.ready, c.end, c.begin = c.ready-c.begin, held, 0
	return nil
}

// check looks at the messages that are whole, and returns why the first that the client
// must not see is none that it expects.
func (c *Conn) check() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.ready < c.end {
		rest := c.in[c.ready:c.end]
		n, err := c.scanner.Scan(rest)
		switch {
		case err != nil:
			return err
		case n == 0 && c.nextLocked() == nil && rest[0] != '>' && len(rest) > maxUnasked:
			return resp.Unasked(rest)
		case n == 0:
			return nil
		}
		if err := c.checkLocked(rest[:n]); err != nil {
			return err
		}
		c.ready += n
	}
	return nil
}

// checkLocked reports why the client must not see a message.
func (c *Conn) checkLocked(m []byte) error {
	var texts [4][]byte
	kind, elements := resp.Head(m, texts[:])
	if kind == '>' || c.resp2 && c.isPushLocked(kind, elements, texts[0]) {
		if c.flushed != nil && string(texts[0]) == "invalidate" && !resp.NamesKeys(m) {
			c.flushed()
		}
		return c.pushLocked(elements, texts[:])
	}
	refused := kind == '-' || kind == '!'
	o := c.nextLocked()
	if o != nil && o.kind == unsubscribe && !refused {
		c.completeLocked() // by pushes: this answers what comes after it
		o = c.nextLocked()
	}
	if o == nil {
		// guard: unasked-answer
		return resp.Unasked(m)
	}
	c.refusal = ""
	if refused {
		c.refusal = resp.Said(texts[0])
		// guard: redirection-has-address
		if err := checkError(string(texts[0])); err != nil {
			return err
		}
	}
	null := m[1] == '-'
	list := (kind == '*' || kind == '~') && !null
	switch {
	// guard: subscription-answered-by-push
	case o.kind == subscribe && (o.confirmed || !refused):
		return fmt.Errorf("%w: a subscription is answered by something else", resp.ErrMalformed)
	case o.kind == pong && refused: // what was said before may be why
		return fmt.Errorf("%w: the end of a subscription is refused: %q", resp.ErrMalformed, c.refusal)
	// guard: subscription-ends-with-pong
	case o.kind == unsubscribe && string(texts[0]) == "PONG", o.kind == pong && !isPong(kind, texts[0]):
		return fmt.Errorf("%w: the end of a subscription is answered by something else", resp.ErrMalformed)
	case o.kind == role && list && elements < 1, o.kind == master && list && elements < 2:
		return fmt.Errorf("%w: an answer that is too short", resp.ErrMalformed)
	}
	c.completeLocked()
	return nil
}

// isPushLocked reports whether an array is what is a push in RESP3.
func (c *Conn) isPushLocked(kind byte, elements int64, first []byte) bool {
	if kind != '*' && kind != '~' && kind != '%' || elements == 0 || string(first) == "pong" {
		return false
	}
	o := c.nextLocked()
	return o == nil || o.kind != hello && o.kind != ordinary
}

// isPong reports whether PING is answered with that, as what it is asked for.
func isPong(kind byte, first []byte) bool {
	switch kind {
	case '+', '$':
		return string(first) == "PONG"
	case '*', '~':
		return string(first) == "pong"
	}
	return false
}

// pushLocked looks at what the server says of its own accord. The client ignores what is
// of no kind that it knows, and pushes of less than two elements.
func (c *Conn) pushLocked(elements int64, texts [][]byte) error {
	if elements < 2 {
		return nil
	}
	o := c.nextLocked()
	confirms := o != nil && o.kind == subscribe
	switch string(texts[0]) {
	case "subscribe", "psubscribe", "ssubscribe":
		// guard: subscription-confirmed
		if !confirms {
			return fmt.Errorf("%w: a subscription that nothing has asked for", resp.ErrMalformed)
		}
		o.confirmed = true
		if o.unconfirmed--; o.unconfirmed <= 0 {
			c.completeLocked()
		}
	case "unsubscribe", "punsubscribe", "sunsubscribe": // the server may end one itself
		// guard: subscription-begun-twice
		if confirms && o.confirmed {
			return fmt.Errorf("%w: a subscription ends while it begins", resp.ErrMalformed)
		}
	case "message":
		return checkEvent(string(texts[1]), string(texts[2]))
	}
	return nil
}

// checkError looks at errors that the client reads words of.
func checkError(text string) error {
	text = strings.TrimPrefix(text, "ERR ")
	words := 1 + strings.Count(text, " ")
	if (strings.HasPrefix(text, "MOVED") || strings.HasPrefix(text, "ASK")) && words < 3 || strings.HasPrefix(text, "REDIRECT") && words < 2 {
		return fmt.Errorf("%w: a redirection without an address", resp.ErrMalformed)
	}
	return nil
}

// checkEvent looks at messages of sentinels, which the client reads words of.
func checkEvent(channel, message string) error {
	words, least := strings.Split(message, " "), 0
	switch channel {
	case "+sentinel":
		least = 4
	case "+switch-master":
		least = 5
	case "+reboot", "+slave", "+sdown", "-sdown":
		switch words[0] {
		case "master":
			least = 4
		case "slave":
			least = 6
		}
	}
	// guard: sentinel-event-words
	if len(words) < least {
		return fmt.Errorf("%w: an event %q of %d words", resp.ErrMalformed, channel, len(words))
	}
	return nil
}

// fail ends the connection; what was checked before is handed out all the same. It
// returns why the connection has ended.
func (c *Conn) fail(err error) error {
	c.mu.Lock()
	if c.ended == nil {
		c.ended = err
	}
	err = c.ended
	c.mu.Unlock()
	c.Conn.Close()
	return err
}

func isTimeout(err error) bool {
	var network net.Error
	return errors.As(err, &network) && network.Timeout()
}
