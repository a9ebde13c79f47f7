package faultproxy

import (
	"bytes"
	"cmp"
	"context"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"
)

// conn is one forwarded connection.
type conn struct {
	p      *Proxy
	client net.Conn
	gate   chan struct{}   // of FreezePresent, or nil; guarded by the proxy's mutex
	gone   context.Context // ends when either side has
	end    context.CancelFunc

	mu     sync.Mutex // guards server
	server net.Conn

	lanes   [2]*lane
	timers  sync.WaitGroup
	readers sync.WaitGroup
	closing sync.Once
}

// lane is one direction of a connection.
type lane struct {
	c   *conn
	d   Direction
	rng *rand.Rand

	due time.Time // of the latest message, for Latency; the goroutine of pump has it alone

	writing sync.Mutex // held for a whole message, while the way is not open too; guards what follows
	to      net.Conn
	cuts    *rand.Rand
	free    time.Time // when what was sent would have arrived, for Throttle
	left    int       // bytes until CutWithin ends the connection; 0: not drawn yet

	mu     sync.Mutex // guards what follows
	pushes []*message // held, in the order they came
	others []*message // the same of replies or requests
	pool   []*message // to be reordered
}

func newConn(p *Proxy, client net.Conn, number uint64) *conn {
	c := &conn{p: p, client: client}
	c.gone, c.end = context.WithCancel(p.ctx)
	for _, d := range []Direction{ToServer, ToClient} {
		c.lanes[d] = &lane{c: c, d: d, rng: rand.New(rand.NewPCG(p.seed, number<<1|uint64(d))), cuts: rand.New(rand.NewPCG(p.seed+1, number<<1|uint64(d)))}
	}
	return c
}

// serve forwards until either side ends.
func (c *conn) serve() {
	defer c.p.forget(c)
	defer c.readers.Wait()
	defer c.timers.Wait()
	defer c.close(false)
	if text := c.p.greeting(c.lanes[ToServer].rng); text != "" {
		c.greet(text)
		return
	}
	if !c.dial() {
		return
	}
	var back sync.WaitGroup
	back.Go(func() { c.lanes[ToClient].pump(c.server) })
	c.lanes[ToServer].pump(c.client)
	back.Wait()
}

// greetWithin is when a greeted connection is told at the latest, and closed at
// the latest after that: before its client has asked anything, or while it asks.
const greetWithin = 2 * time.Millisecond

// greet tells the client what it has not asked for, and leaves the connection to
// be closed.
func (c *conn) greet(text string) {
	rng := c.lanes[ToServer].rng
	if c.pause(time.Duration(rng.Int64N(2) * rng.Int64N(int64(greetWithin)))) {
		c.p.greeted.Add(1)
		_, _ = c.client.Write([]byte(text)) // the client may be gone
		c.pause(time.Duration(rng.Int64N(2) * rng.Int64N(int64(greetWithin))))
	}
}

// pause returns false if the connection is gone before d is over.
func (c *conn) pause(d time.Duration) bool {
	if d <= 0 {
		return c.gone.Err() == nil
	}
	select {
	case <-time.After(d):
		return true
	case <-c.gone.Done():
		return false
	}
}

// dial connects to the server, once the way there is open.
func (c *conn) dial() bool {
	if !c.lanes[ToServer].pass() {
		return false
	}
	d := net.Dialer{Timeout: connectTimeout}
	server, err := d.DialContext(c.gone, "tcp", c.p.policy(ToServer).target)
	if err != nil {
		return false
	}
	c.mu.Lock()
	c.server = server
	c.mu.Unlock()
	c.lanes[ToServer].to, c.lanes[ToClient].to = server, c.client
	if c.gone.Err() != nil {
		server.Close()
		return false
	}
	return true
}

// close ends both sides; with a RST if reset is set.
func (c *conn) close(reset bool) {
	c.closing.Do(func() {
		c.end()
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, side := range []net.Conn{c.client, c.server} {
			if side == nil {
				continue
			}
			if tcp, ok := side.(*net.TCPConn); ok && reset {
				tcp.SetLinger(0)
			}
			side.Close()
		}
	})
}

// inFlight is how many messages the networks before and behind the proxy hold
// while it forwards nothing.
const inFlight = 1 << 10

// pump moves messages of one direction, and then its end. Held and delayed ones
// are written by others meanwhile.
func (l *lane) pump(from net.Conn) {
	defer l.c.close(false)
	arrived := make(chan message, inFlight)
	l.c.readers.Go(func() { l.read(from, arrived) })
	for m := range arrived {
		if !l.await(&m) || !l.handle(&m) {
			return
		}
	}
	l.pass() // the end of a connection is held up as everything else is
}

// await has a message be late. What follows it is no sooner.
func (l *lane) await(m *message) bool {
	d := l.c.p.policy(l.d).delay
	if d <= 0 {
		return true
	}
	if due := m.at.Add(time.Duration(l.rng.Int64N(int64(d)))); due.After(l.due) {
		l.due = due
	}
	l.c.p.late.Add(1)
	return l.c.pause(time.Until(l.due))
}

func (l *lane) read(from net.Conn, arrived chan<- message) {
	defer close(arrived)
	next := newReader(from).next
	if l.c.p.raw {
		next = func() (message, error) { return chunk(from) }
	}
	for {
		m, err := next()
		if err != nil {
			return
		}
		m.at = time.Now()
		select {
		case arrived <- m:
		case <-l.c.gone.Done():
			return
		}
	}
}

// chunk is what can be read at once.
func chunk(from net.Conn) (message, error) {
	b := make([]byte, 16<<10)
	n, err := from.Read(b)
	if n > 0 {
		err = nil // it comes again
	}
	return message{raw: b[:n]}, err
}

func (l *lane) class(m *message) Class {
	switch {
	case l.d == ToServer:
		return Request
	case m.push != "" && !confirmations[m.push]:
		return Push
	}
	return Reply
}

// confirmations are pushes in form only: each answers a command, in its turn. A
// client that is given one before the answers to earlier commands may panic, and
// rightly so, since no server does that.
var confirmations = map[string]bool{
	"subscribe": true, "psubscribe": true, "ssubscribe": true,
	"unsubscribe": true, "punsubscribe": true, "sunsubscribe": true,
}

// handle does to a message what the first rule that matches says. It returns
// false when the connection is gone.
func (l *lane) handle(m *message) bool {
	rules := l.c.p.policy(l.d).rules
	class := l.class(m)
	if class != Push && l.queue(m) {
		l.c.p.done[Hold].Add(1)
		return true
	}
	for i := range rules {
		r := &rules[i]
		if !r.matches(class, m) || r.Share > 0 && l.rng.Float64() >= r.Share {
			continue
		}
		l.c.p.done[r.Action].Add(1)
		return l.act(r, m)
	}
	l.c.p.passed[class].Add(1)
	return l.write(m)
}

// queue puts a reply or a request behind those that are held: they are told
// apart by nothing but their order.
func (l *lane) queue(m *message) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.others) == 0 {
		return false
	}
	l.others = append(l.others, m)
	return true
}

func (l *lane) hold(m *message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.class(m) == Push {
		l.pushes = append(l.pushes, m)
	} else {
		l.others = append(l.others, m)
	}
}

func (l *lane) act(r *Rule, m *message) bool {
	switch r.Action {
	case Hold:
		l.hold(m)
	case Delay:
		l.c.timers.Go(func() { l.later(r.By, m) })
	case Duplicate:
		return l.write(&message{raw: bytes.Repeat(m.raw, 2)})
	case Reorder:
		return l.reorder(r, m)
	}
	return true
}

func (l *lane) later(d time.Duration, m *message) {
	if l.c.pause(d) {
		l.write(m)
	}
}

// reorder collects messages until there are enough of them.
func (l *lane) reorder(r *Rule, m *message) bool {
	l.mu.Lock()
	l.pool = append(l.pool, m)
	var out []*message
	if len(l.pool) >= cmp.Or(r.Window, defaultWindow) {
		out, l.pool = l.pool, nil
		l.rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	}
	l.mu.Unlock()
	return l.write(out...)
}

// release writes what is held. What comes meanwhile waits for it.
func (l *lane) release() {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	out := slices.Concat(l.pushes, l.pool, l.others)
	l.pushes, l.pool, l.others = nil, nil, nil
	l.mu.Unlock()
	l.writeLocked(out...)
}

// pass waits until the way is open. It returns false if the connection is gone.
func (l *lane) pass() bool {
	for {
		gate := l.c.p.gate(l.c, l.d)
		select {
		case <-gate:
		case <-l.c.gone.Done():
			return false
		}
		if gate == l.c.p.gate(l.c, l.d) {
			return true // and no other has been closed meanwhile
		}
	}
}

// write sends whole messages once the way is open, at the rate that is allowed.
func (l *lane) write(ms ...*message) bool {
	l.writing.Lock()
	defer l.writing.Unlock()
	return l.writeLocked(ms...)
}

func (l *lane) writeLocked(ms ...*message) bool {
	for _, m := range ms {
		for rest := m.raw; len(rest) > 0; {
			if !l.pass() {
				return false
			}
			rate := l.c.p.policy(l.d).rate
			n := len(rest)
			if rate > 0 {
				n = min(n, max(1, rate/throttleSteps))
			}
			if !l.send(rest[:n], rate) {
				return false
			}
			rest = rest[n:]
		}
	}
	return true
}

// cutAt reports whether the connection is to end within the next n bytes, and
// after how many. It is called with writing held.
func (l *lane) cutAt(n int) (int, bool) {
	most := l.c.p.policy(l.d).cut
	if most <= 0 {
		l.left = 0
		return 0, false
	}
	if l.left == 0 {
		l.left = 1 + l.cuts.IntN(most)
	}
	if l.left <= n {
		return l.left, true
	}
	l.left -= n
	return 0, false
}

// throttleSteps is in how many parts a second's bytes are sent.
const throttleSteps = 100

func (l *lane) send(b []byte, rate int) bool {
	if n, ends := l.cutAt(len(b)); ends {
		l.c.p.cuts.Add(1)
		_, _ = l.to.Write(b[:n]) // it ends in any case
		l.c.close(l.cuts.IntN(2) == 0)
		return false
	}
	if _, err := l.to.Write(b); err != nil {
		l.c.close(false)
		return false
	}
	if rate <= 0 {
		return true
	}
	// What a pause was late by is made up for by what follows.
	now := time.Now()
	if l.free.Before(now.Add(-lateness)) {
		l.free = now
	}
	l.free = l.free.Add(time.Duration(len(b)) * time.Second / time.Duration(rate))
	ahead := l.free.Sub(now)
	if ahead > longestNap && !l.c.pause(ahead-longestNap) {
		return false
	}
	if ahead = min(ahead, time.Until(l.free)); ahead > throttleSlack {
		nap(ahead)
	}
	return l.c.gone.Err() == nil
}

const (
	// throttleSlack is by how much a message may be sooner than its rate allows.
	throttleSlack = 100 * time.Microsecond
	// lateness is what is made up for.
	lateness = time.Millisecond
	// longestNap bounds what nap is told: the end of the connection does not end it.
	longestNap = 5 * time.Millisecond
)
