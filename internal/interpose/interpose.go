// Package interpose stands between a store and its remote tier in tests: it
// lets a test stop a request before it is sent or after it was answered, and
// hold, drop or reorder what the remote tier reports, so that a race becomes a
// schedule.
package interpose

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/bound"
	"github.com/tiercache/tiercache/internal/changelog"
)

// Op names methods of [backend.Conn].
type Op string

// The operations that hooks are told of.
const (
	Get     Op = "get"
	Heads   Op = "heads" // of entries, and nothing else
	Lease   Op = "lease"
	Extend  Op = "extend"
	Release Op = "release"
	Write   Op = "write"
	Delete  Op = "delete"
	Append  Op = "append"
	Renew   Op = "renew"
	Delta   Op = "delta"
	Info    Op = "info"
)

// Backend wraps another. Its fields may be set until a store is opened on it;
// afterwards through Set.
type Backend struct {
	Inner backend.Backend

	mu     sync.Mutex // guards the rest
	reach  func(context.Context, Op) error
	before func(Op) error
	after  func(Op) error
	filter func(Event) bool
	handed func()
	held   []Event
	late   map[Op]*way // of requests that are delayed
}

// way is what delayed requests are on.
type way struct {
	open   chan struct{}  // closed when they arrive
	coming sync.WaitGroup // the requests
}

// Event is something the remote tier reported.
type Event struct {
	Changed []string // keys, if they changed
	Lost    bool
	Moved   bool
	Message string // of the channel, if none of the others
	deliver func()
}

// Reach is Before for what has to know how long a request may wait; it comes
// first.
func (b *Backend) Reach(f func(context.Context, Op) error) { b.set(func() { b.reach = f }) }

// Before has f called before each request is sent; its error is the request's.
func (b *Backend) Before(f func(Op) error) { b.set(func() { b.before = f }) }

// After has f called after each request was answered, before the store hears.
func (b *Backend) After(f func(Op) error) { b.set(func() { b.after = f }) }

// Delay has requests of a kind take until arrive is called. As over a network, a call that is given up meanwhile
// returns with the end of its context, or of the limit of that if the request may have been sent, and the request
// arrives all the same. arrive waits until those have been performed.
func (b *Backend) Delay(ops ...Op) (arrive func()) {
	w := &way{open: make(chan struct{})}
	b.set(func() {
		b.late = make(map[Op]*way)
		for _, op := range ops {
			b.late[op] = w
		}
	})
	return func() {
		b.set(func() { b.late = nil })
		close(w.open)
		w.coming.Wait()
	}
}

// Handed has f called when a load hands over what it writes, before its callers are
// told of the value.
func (b *Backend) Handed(f func()) { b.set(func() { b.handed = f }) }

// Filter has f asked about each event: if it returns false the event is held
// until Deliver, or for ever.
func (b *Backend) Filter(f func(Event) bool) { b.set(func() { b.filter = f }) }

func (b *Backend) set(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

// Held returns how many events are held.
func (b *Backend) Held() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.held)
}

// Deliver hands over the held events, in the order that pick gives to their
// indices; without pick all of them in the order they came.
func (b *Backend) Deliver(pick ...int) {
	b.mu.Lock()
	held := b.held
	b.held = nil
	b.mu.Unlock()
	if len(pick) == 0 {
		for i := range held {
			pick = append(pick, i)
		}
	}
	for _, i := range pick {
		held[i].deliver()
	}
}

// String implements [backend.Backend].
func (b *Backend) String() string { return "interposed " + b.Inner.String() }

// Connect implements [backend.Backend].
func (b *Backend) Connect(ctx context.Context, o backend.Options) (backend.Conn, error) {
	inner := o.Events
	o.Events = backend.Events{
		Changed: func(keys []string) {
			keys = slices.Clone(keys) // it may be held
			for i, k := range keys {
				keys[i] = strings.Clone(k)
			}
			b.event(Event{Changed: keys, deliver: func() { inner.Changed(keys) }})
		},
		Lost:  func() { b.event(Event{Lost: true, deliver: inner.Lost}) },
		Moved: func() { b.event(Event{Moved: true, deliver: inner.Moved}) },
		Published: func(m string) {
			b.event(Event{Message: m, deliver: func() { inner.Published(m) }})
		},
	}
	c, err := b.Inner.Connect(ctx, o)
	if err != nil {
		return nil, err
	}
	return &conn{c, b}, nil
}

func (b *Backend) event(e Event) {
	b.mu.Lock()
	pass := b.filter == nil || b.filter(e)
	if !pass {
		b.held = append(b.held, e)
	}
	b.mu.Unlock()
	if pass {
		e.deliver()
	}
}

type conn struct {
	backend.Conn
	b *Backend
}

// delayed runs a request, in its own time if requests of its kind are delayed. f is given the context to run with,
// and must not touch what the caller reads if this returns an error.
func (c *conn) delayed(ctx context.Context, op Op, f func(context.Context) error) error {
	c.b.mu.Lock()
	w := c.b.late[op]
	if w != nil {
		w.coming.Add(1) // under the mutex, and so before arrive waits
	}
	c.b.mu.Unlock()
	if w == nil {
		return f(ctx)
	}
	answered := make(chan error, 1)
	go func() {
		defer w.coming.Done()
		<-w.open
		answered <- f(context.WithoutCancel(ctx))
	}()
	sent := bound.Limit(ctx)
	select {
	case err := <-answered:
		return err
	case <-sent.Done():
		return sent.Err()
	}
}

// notSent is the error of a request that was stopped before it was sent; see remoteerr.NotSent.
type notSent struct{ error }

func (n notSent) Unwrap() error { return n.error }
func (n notSent) NotSent() bool { return true }

// around runs a request between the hooks.
func (c *conn) around(ctx context.Context, op Op, f func() error) error {
	c.b.mu.Lock()
	reach, before, after := c.b.reach, c.b.before, c.b.after
	c.b.mu.Unlock()
	if reach != nil {
		if err := reach(ctx, op); err != nil {
			return err
		}
	}
	if before != nil {
		if err := before(op); err != nil {
			return notSent{err}
		}
	}
	err := f()
	if after != nil && err == nil {
		err = after(op)
	}
	return err
}

func (c *conn) GetOne(ctx context.Context, key string) (it backend.Item, err error) {
	err = c.around(ctx, Get, func() error { it, err = c.Conn.GetOne(ctx, key); return err })
	return it, err
}

func (c *conn) Get(ctx context.Context, keys []string, q *changelog.DeltaQuery) (items []backend.Item, d changelog.Delta, err error) {
	err = c.around(ctx, Get, func() error { items, d, err = c.Conn.Get(ctx, keys, q); return err })
	return items, d, err
}

func (c *conn) GetHeads(ctx context.Context, heads, keys []string, q *changelog.DeltaQuery) (items []backend.Item, d changelog.Delta, err error) {
	op := Get
	if len(keys) == 0 {
		op = Heads
	}
	err = c.around(ctx, op, func() error { items, d, err = c.Conn.GetHeads(ctx, heads, keys, q); return err })
	return items, d, err
}

func (c *conn) Lease(ctx context.Context, r []backend.LeaseRequest) (l []backend.Lease, err error) {
	err = c.around(ctx, Lease, func() error { l, err = c.Conn.Lease(ctx, r); return err })
	return l, err
}

func (c *conn) Extend(ctx context.Context, keys []string, token string, ttl time.Duration) error {
	return c.around(ctx, Extend, func() error {
		return c.delayed(ctx, Extend, func(ctx context.Context) error { return c.Conn.Extend(ctx, keys, token, ttl) })
	})
}

func (c *conn) Release(ctx context.Context, keys []string, token string) error {
	return c.around(ctx, Release, func() error {
		return c.delayed(ctx, Release, func(ctx context.Context) error { return c.Conn.Release(ctx, keys, token) })
	})
}

func (c *conn) GetUntracked(ctx context.Context, keys []string) (items []backend.Item, err error) {
	err = c.around(ctx, Get, func() error { items, err = c.Conn.GetUntracked(ctx, keys); return err })
	return items, err
}

// WriteLater has Queued called before the hooks, as on a connection that is busy for as
// long as these hold the writes.
func (c *conn) WriteLater(ctx context.Context, w []backend.Write, then func([]backend.Written, error)) {
	c.b.mu.Lock()
	handed := c.b.handed
	c.b.mu.Unlock()
	if handed != nil {
		handed()
	}
	for i := range w {
		if queued := w[i].Queued; queued != nil {
			w[i].Queued = nil
			queued()
		}
	}
	then(c.Write(ctx, w))
}

func (c *conn) Write(ctx context.Context, w []backend.Write) ([]backend.Written, error) {
	return around(ctx, c, Write, func(ctx context.Context) ([]backend.Written, error) { return c.Conn.Write(ctx, w) })
}

func (c *conn) Delete(ctx context.Context, keys []backend.Deletion) ([]backend.Deleted, error) {
	return around(ctx, c, Delete, func(ctx context.Context) ([]backend.Deleted, error) { return c.Conn.Delete(ctx, keys) })
}

// around is conn.around of a request that may be delayed and whose answer says more than that it was performed.
func around[A any](ctx context.Context, c *conn, op Op, f func(context.Context) (A, error)) (answer A, err error) {
	err = c.around(ctx, op, func() error {
		answers := make(chan A, 1)
		err := c.delayed(ctx, op, func(ctx context.Context) error {
			a, err := f(ctx)
			answers <- a
			return err
		})
		if err == nil {
			answer = <-answers
		}
		return err
	})
	return answer, err
}

func (c *conn) Discard(ctx context.Context, keys []string, token string) error {
	return c.around(ctx, Delete, func() error {
		return c.delayed(ctx, Delete, func(ctx context.Context) error { return c.Conn.Discard(ctx, keys, token) })
	})
}

func (c *conn) Append(ctx context.Context, ch changelog.Change) (a changelog.Appended, err error) {
	err = c.around(ctx, Append, func() error { a, err = c.Conn.Append(ctx, ch); return err })
	return a, err
}

func (c *conn) Renew(ctx context.Context, lost changelog.Loss) error {
	return c.around(ctx, Renew, func() error { return c.Conn.Renew(ctx, lost) })
}

func (c *conn) Delta(ctx context.Context, q changelog.DeltaQuery) (d changelog.Delta, err error) {
	err = c.around(ctx, Delta, func() error { d, err = c.Conn.Delta(ctx, q); return err })
	return d, err
}

func (c *conn) Info(ctx context.Context) (i backend.Info, err error) {
	err = c.around(ctx, Info, func() error { i, err = c.Conn.Info(ctx); return err })
	return i, err
}
