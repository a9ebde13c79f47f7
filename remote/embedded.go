package remote

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/tiercache/tiercache/internal/backend"
)

// defaultEmbeddedBytes bounds an [Embedded] for which no other bound is given.
const defaultEmbeddedBytes = 256 << 20

// Embedded is a shared tier in this process: the default without a server, and
// the double of one in tests. Connections to one Embedded behave towards each other
// as processes on one server do, order of invalidations and replies included. It
// holds encoded bytes and drops the least recently used when they exceed its
// bound, as a server under maxmemory does; the change log is never dropped.
type Embedded struct {
	maxBytes int64

	// mu guards all below. Events are queued under it and delivered without it.
	mu      sync.Mutex
	items   *simplelru.LRU[string, stored]
	bytes   int64
	logs    map[string]*changeLog
	tracked map[string]map[*embeddedConn]struct{} // by key: the connections that read it since its latest change
	conns   map[*embeddedConn]struct{}
	nextID  int64
	evicted []string // filled by the LRU's callback, emptied after each step
}

type stored struct {
	raw     string
	expires time.Time // zero: never
}

// embeddedOverhead is what an item costs in addition to its key and value.
const embeddedOverhead = 160

// maxTracked bounds the table of tracked keys, like the server's
// tracking-table-max-keys.
const maxTracked = 1_000_000

// NewEmbedded returns an empty shared tier that holds at most maxBytes of keys
// and values; 0 means 256 MiB. It needs no closing.
func NewEmbedded(maxBytes int64) *Embedded {
	if maxBytes <= 0 {
		maxBytes = defaultEmbeddedBytes
	}
	e := &Embedded{
		maxBytes: maxBytes,
		logs:     make(map[string]*changeLog),
		tracked:  make(map[string]map[*embeddedConn]struct{}),
		conns:    make(map[*embeddedConn]struct{}),
	}
	// The count is bounded by bytes; the LRU's own bound is never reached.
	e.items, _ = simplelru.NewLRU(math.MaxInt, func(k string, s stored) {
		e.bytes -= itemBytes(k, s)
		e.evicted = append(e.evicted, k)
	})
	return e
}

func itemBytes(k string, s stored) int64 { return int64(len(k)+len(s.raw)) + embeddedOverhead }

// String implements [Backend].
func (e *Embedded) String() string { return "embedded, in this process" }

// Connect implements [Backend]. It fails if connections of the other kind, with
// tracking or without, are open to the prefix.
func (e *Embedded) Connect(_ context.Context, o backend.Options) (backend.Conn, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for c := range e.conns {
		// guard: I2-one-mode-embedded
		if c.o.Prefix == o.Prefix && c.o.NoTracking != o.NoTracking {
			return nil, &modeError{prefix: o.Prefix, noTracking: o.NoTracking}
		}
	}
	e.nextID++
	c := &embeddedConn{hub: e, o: o, id: e.nextID, wake: make(chan struct{}, 1), done: make(chan struct{})}
	e.conns[c] = struct{}{}
	go c.deliver()
	return c, nil
}

// getLocked returns the live value of k.
func (e *Embedded) getLocked(k string) (string, bool) {
	s, ok := e.items.Get(k)
	if ok && !s.expires.IsZero() && !time.Now().Before(s.expires) {
		e.removeLocked(k)
		return "", false
	}
	return s.raw, ok
}

// setLocked stores a value and sends its invalidations.
func (e *Embedded) setLocked(k string, s stored) {
	if old, ok := e.items.Peek(k); ok {
		e.bytes -= itemBytes(k, old)
	}
	e.items.Add(k, s)
	e.bytes += itemBytes(k, s)
	e.invalidateLocked(k)
	for e.bytes > e.maxBytes && e.items.Len() > 1 {
		e.items.RemoveOldest()
	}
	e.flushEvictedLocked()
}

// removeLocked reports whether there was something to remove.
func (e *Embedded) removeLocked(k string) bool {
	ok := e.items.Remove(k)
	e.flushEvictedLocked()
	return ok
}

func (e *Embedded) flushEvictedLocked() {
	for _, k := range e.evicted {
		e.invalidateLocked(k)
	}
	e.evicted = nil
}

// invalidateLocked sends one invalidation to each connection that tracks k, and ends the
// tracking.
func (e *Embedded) invalidateLocked(k string) {
	for c := range e.tracked[k] {
		c.queueLocked(func() { c.o.Events.Changed([]string{k}) })
	}
	delete(e.tracked, k)
}

func (e *Embedded) trackLocked(k string, c *embeddedConn) {
	if c.o.NoTracking {
		return
	}
	if e.tracked[k] == nil {
		for other := range e.tracked {
			if len(e.tracked) < maxTracked {
				break
			}
			e.invalidateLocked(other)
		}
		e.tracked[k] = make(map[*embeddedConn]struct{}, 1)
	}
	e.tracked[k][c] = struct{}{}
}

// untrackLocked ends all tracking of c.
func (e *Embedded) untrackLocked(c *embeddedConn) {
	for k, readers := range e.tracked {
		if delete(readers, c); len(readers) == 0 {
			delete(e.tracked, k)
		}
	}
}

// Keys returns the keys it holds, change logs included, in no order.
func (e *Embedded) Keys() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	keys := e.items.Keys()
	for k := range e.logs {
		keys = append(keys, k)
	}
	return keys
}

// Read returns the bytes stored under a key, as any program could read them.
func (e *Embedded) Read(key string) (string, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.getLocked(key)
}

// Put stores bytes under a key without an expiry, as a program other than a store
// could.
func (e *Embedded) Put(key, value string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.setLocked(key, stored{raw: value})
}

// Remove deletes keys, change logs included, as a program other than a store could.
func (e *Embedded) Remove(keys ...string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, k := range keys {
		delete(e.logs, k)
		e.removeLocked(k)
	}
}

// Flush deletes everything, as FLUSHALL does.
func (e *Embedded) Flush() {
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(e.logs)
	for _, k := range e.items.Keys() {
		e.items.Remove(k)
	}
	e.evicted = nil
	clear(e.tracked)
	for c := range e.conns {
		if !c.o.NoTracking {
			c.queueLocked(c.o.Events.Lost)
		}
	}
}

// Disconnect ends and renews every connection, as a restarted proxy would: all tracking
// ends, and Events.Lost is called for every connection.
func (e *Embedded) Disconnect() {
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(e.tracked)
	for c := range e.conns {
		e.nextID++
		c.id = e.nextID
		c.queueLocked(c.o.Events.Lost)
		c.queueLocked(func() { c.o.Events.Published("") })
	}
}

// embeddedConn delivers its events in their order, in a goroutine of its own.
type embeddedConn struct {
	hub *Embedded
	o   backend.Options

	// Guarded by hub.mu.
	id     int64
	queue  []func()
	busy   bool // deliver is running an event
	closed bool

	wake chan struct{} // the queue is not empty, or closed
	done chan struct{} // deliver has ended
}

func (c *embeddedConn) queueLocked(f func()) {
	c.queue = append(c.queue, f)
	c.signal()
}

func (c *embeddedConn) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *embeddedConn) deliver() {
	defer close(c.done)
	for range c.wake {
		for {
			c.hub.mu.Lock()
			events := c.queue
			c.queue, c.busy = nil, len(events) > 0 && !c.closed
			closed := c.closed
			c.hub.mu.Unlock()
			if closed {
				return
			}
			if len(events) == 0 {
				break
			}
			for _, f := range events {
				c.tell(f)
			}
		}
	}
}

// tell delivers an event. If the event panics, the connection is renewed as by Disconnect.
func (c *embeddedConn) tell(event func()) {
	// guard: panic-in-embedded-event-is-loss
	// guard: recover-embedded-event
	defer c.o.Panics.Recover("delivering an event", c.lose)
	event()
}

func (c *embeddedConn) lose() {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	c.hub.untrackLocked(c)
	c.hub.nextID++
	c.id = c.hub.nextID
	for _, f := range []func(){c.o.Events.Lost, func() { c.o.Events.Published("") }} {
		c.queueLocked(func() {
			defer c.o.Panics.Recover("delivering a loss") // which is no further loss: that would go on for ever
			f()
		})
	}
}

// step performs f as one step of the tier, and returns when all events from before its
// answer have been delivered.
func (c *embeddedConn) step(ctx context.Context, f func()) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	answered, err := c.perform(f)
	if err != nil || answered == nil {
		return err
	}
	select {
	case <-answered:
		return nil
	case <-c.done:
		return fmt.Errorf("embedded remote: %w", ErrClosed)
	}
}

// perform performs f, and returns a channel that is closed when all events from before
// have been delivered; nil if there are none.
func (c *embeddedConn) perform(f func()) (answered chan struct{}, err error) {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	if c.closed {
		return nil, fmt.Errorf("embedded remote: %w", ErrClosed)
	}
	f()
	if !c.busy && len(c.queue) == 0 {
		return nil, nil
	}
	answered = make(chan struct{})
	c.queueLocked(func() { close(answered) })
	return answered, nil
}

// Close implements [backend.Conn].
func (c *embeddedConn) Close() error {
	h := c.hub
	h.mu.Lock()
	if !c.closed {
		c.closed = true
		delete(h.conns, c)
		h.untrackLocked(c)
		c.signal()
	}
	h.mu.Unlock()
	<-c.done
	return nil
}

// Info implements [backend.Server].
func (c *embeddedConn) Info(ctx context.Context) (i backend.Info, err error) {
	err = c.step(ctx, func() {
		i = backend.Info{Server: "embedded", Policy: "allkeys-lru (log kept)", MaxMemory: c.hub.maxBytes,
			UsedMemory: c.hub.bytes, TrackedKeys: int64(len(c.hub.tracked)), TrackedMax: maxTracked, LogMost: c.hub.mostScopes()}
		if l := c.hub.logs[logKey(c.o.Prefix)]; l != nil {
			i.LogScopes = int64(len(l.latest))
		}
	})
	return i, err
}
