package faultproxy

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Proxy forwards connections to a server. Its methods may be called from any
// goroutine.
type Proxy struct {
	listener net.Listener
	seed     uint64
	raw      bool            // no RESP
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	running  sync.WaitGroup

	mu     sync.Mutex // guards what follows
	target string
	rules  []Rule
	rates  [2]int           // bytes per second by direction; 0 is no limit
	gates  [2]chan struct{} // by direction; closed: open
	delays [2]time.Duration // by direction; 0: none
	cut    int              // connections end after at most that many bytes; 0: they do not
	greet  []string         // what new connections are told instead of being forwarded
	share  float64          // of new connections that are greeted
	conns  map[*conn]struct{}
	count  uint64

	connections atomic.Int64
	greeted     atomic.Int64
	cuts        atomic.Int64
	late        atomic.Int64
	passed      [numClasses]atomic.Int64
	done        [numActions]atomic.Int64
}

// Direction is a way through the proxy.
type Direction uint8

// The directions.
const (
	ToServer Direction = iota
	ToClient
)

// Start begins to forward connections to target. Close ends it.
func Start(target string, seed uint64) (*Proxy, error) { return start(target, seed, false) }

// StartRaw is Start for what is no RESP, as the link between a primary and its
// replica. Rules then apply to whatever was read at once, as to a request or a
// reply.
func StartRaw(target string, seed uint64) (*Proxy, error) { return start(target, seed, true) }

func start(target string, seed uint64, raw bool) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("faultproxy: %w", err)
	}
	p := &Proxy{listener: l, seed: seed, raw: raw, target: target, conns: make(map[*conn]struct{})}
	p.gates = [2]chan struct{}{opened(), opened()}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.running.Go(p.accept)
	return p, nil
}

func opened() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// Addr is where clients connect to.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Close ends the proxy and all its connections.
func (p *Proxy) Close() {
	p.cancel()
	p.listener.Close()
	p.Cut()
	p.running.Wait()
}

// Retarget has new connections go to another server, as when a name or an
// address moves. Present ones stay where they are.
func (p *Proxy) Retarget(target string) { p.set(func() { p.target = target }) }

// Apply replaces the rules. Of several that match a message the first decides.
func (p *Proxy) Apply(rules ...Rule) { p.set(func() { p.rules = rules }) }

// Throttle limits a direction to that many bytes a second in each connection; 0
// ends it.
func (p *Proxy) Throttle(d Direction, bytesPerSecond int) {
	p.set(func() { p.rates[d] = bytesPerSecond })
}

// Latency has every message of a direction arrive late, by a random time of at
// most d, in the order in which they were sent; 0 ends it.
func (p *Proxy) Latency(direction Direction, d time.Duration) {
	p.set(func() { p.delays[direction] = d })
}

// CutWithin ends each connection, in the middle of a message, after a random
// number of bytes, at most n, of either direction; 0 ends that.
func (p *Proxy) CutWithin(n int) { p.set(func() { p.cut = n }) }

// Greet has a share of the new connections be told one of the texts before
// anything was asked, and then be closed, as a server at maxclients or in
// protected mode does. Without texts that ends.
func (p *Proxy) Greet(share float64, texts ...string) {
	p.set(func() { p.share, p.greet = share, texts })
}

// What servers say to connections that they close.
const (
	MaxClients = "-ERR max number of clients reached\r\n"
	Denied     = "-DENIED Valkey is running in protected mode because protected mode is enabled and no password is set for the default user.\r\n"
)

// Freeze stops forwarding in the directions without closing anything; new
// connections are accepted and not served either.
func (p *Proxy) Freeze(ds ...Direction) {
	p.set(func() {
		for _, d := range ds {
			select {
			case <-p.gates[d]:
				p.gates[d] = make(chan struct{})
			default: // frozen already
			}
		}
	})
}

// FreezePresent is Freeze of both directions for the connections that there are,
// while new ones work: as when a router has forgotten them.
func (p *Proxy) FreezePresent() {
	p.set(func() {
		for c := range p.conns {
			if c.gate == nil {
				c.gate = make(chan struct{})
			}
		}
	})
}

// Thaw ends Freeze and FreezePresent: what was on its way arrives, in order.
func (p *Proxy) Thaw() {
	p.set(func() {
		for d, gate := range p.gates {
			select {
			case <-gate:
			default:
				close(p.gates[d])
			}
		}
		for c := range p.conns {
			if c.gate != nil {
				close(c.gate)
				c.gate = nil
			}
		}
	})
}

// Release delivers what rules have held, in the order it came. It waits for Thaw
// if the way is frozen.
func (p *Proxy) Release() {
	for _, c := range p.all() {
		for _, l := range c.lanes {
			l.release()
		}
	}
}

// Heal ends all that Apply, Throttle, Latency, CutWithin, Greet and Freeze began,
// and releases what is held.
func (p *Proxy) Heal() {
	p.Apply()
	p.Latency(ToServer, 0)
	p.Latency(ToClient, 0)
	p.CutWithin(0)
	p.Greet(0)
	p.Throttle(ToServer, 0)
	p.Throttle(ToClient, 0)
	p.Thaw()
	p.Release()
}

// Cut closes all connections in the orderly way (FIN), and returns how many.
// What was on its way in the proxy is lost.
func (p *Proxy) Cut() int { return p.end(false) }

// Reset closes all connections with a RST, and returns how many.
func (p *Proxy) Reset() int { return p.end(true) }

func (p *Proxy) end(reset bool) int {
	all := p.all()
	for _, c := range all {
		c.close(reset)
	}
	return len(all)
}

// Stats returns what was done so far.
func (p *Proxy) Stats() Stats {
	s := Stats{Connections: p.connections.Load(), Greeted: p.greeted.Load(), Cut: p.cuts.Load(), Late: p.late.Load()}
	for i := range s.Passed {
		s.Passed[i] = p.passed[i].Load()
	}
	for i := range s.Done {
		s.Done[i] = p.done[i].Load()
	}
	return s
}

func (p *Proxy) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func (p *Proxy) all() (out []*conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		out = append(out, c)
	}
	return out
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		c := p.newConn(client)
		p.running.Go(c.serve)
	}
}

func (p *Proxy) newConn(client net.Conn) *conn {
	p.connections.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count++
	c := newConn(p, client, p.count)
	p.conns[c] = struct{}{}
	if p.ctx.Err() != nil {
		c.close(false) // Close has been through the list already
	}
	return c
}

func (p *Proxy) forget(c *conn) { p.set(func() { delete(p.conns, c) }) }

// policy is what applies to a direction.
type policy struct {
	rules  []Rule
	rate   int           // bytes per second; 0 is no limit
	delay  time.Duration // by which messages are late at most
	cut    int           // after how many bytes connections end at most; 0: they do not
	target string
}

// policy returns what applies to a direction now.
func (p *Proxy) policy(d Direction) policy {
	p.mu.Lock()
	defer p.mu.Unlock()
	return policy{p.rules, p.rates[d], p.delays[d], p.cut, p.target}
}

// greeting returns what a new connection is to be told instead of being
// forwarded, or "".
func (p *Proxy) greeting(rng *rand.Rand) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.greet) == 0 || rng.Float64() >= p.share {
		return ""
	}
	return p.greet[rng.IntN(len(p.greet))]
}

// gate returns what is closed when the direction of c is open.
func (p *Proxy) gate(c *conn, d Direction) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.gate != nil {
		return c.gate
	}
	return p.gates[d]
}

// connectTimeout bounds dialling the server.
const connectTimeout = 5 * time.Second
