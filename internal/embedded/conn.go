package embedded

import (
	"context"
	"fmt"
	"time"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
)

// conn delivers its events in their order, in a goroutine of its own.
type conn struct {
	remote *Remote
	o      backend.Options

	// Guarded by remote.mu.
	id     int64
	queue  []func()
	busy   bool // deliver is running an event
	closed bool
	later  *time.Timer // calls untold once it is due: see tellLater
	untold func()      // publishes what waits, unless that was done

	wake chan struct{} // the queue is not empty, or closed
	done chan struct{} // deliver has ended
}

func (c *conn) queueLocked(f func()) {
	c.queue = append(c.queue, f)
	c.signal()
}

func (c *conn) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *conn) deliver() {
	defer close(c.done)
	for range c.wake {
		for {
			c.remote.mu.Lock()
			events := c.queue
			c.queue, c.busy = nil, len(events) > 0 && !c.closed
			closed := c.closed
			c.remote.mu.Unlock()
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
func (c *conn) tell(event func()) {
	// guard: panic-in-embedded-event-is-loss
	// guard: recover-embedded-event
	defer c.o.Panics.Recover("delivering an event", c.lose)
	event()
}

func (c *conn) lose() {
	c.remote.mu.Lock()
	defer c.remote.mu.Unlock()
	c.remote.untrackLocked(c)
	c.remote.nextID++
	c.id = c.remote.nextID
	for _, f := range []func(){c.o.Events.Lost, func() { c.o.Events.Published("") }} {
		c.queueLocked(func() {
			defer c.o.Panics.Recover("delivering a loss") // which is no further loss: that would go on for ever
			f()
		})
	}
}

// step performs f as one step of the tier, and returns when all events from before its
// answer have been delivered.
func (c *conn) step(ctx context.Context, f func()) error {
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
		return fmt.Errorf("embedded remote: %w", backend.ErrClosed)
	}
}

// perform performs f, and returns a channel that is closed when all events from before
// have been delivered; nil if there are none.
func (c *conn) perform(f func()) (answered chan struct{}, err error) {
	c.remote.mu.Lock()
	defer c.remote.mu.Unlock()
	if c.closed {
		return nil, fmt.Errorf("embedded remote: %w", backend.ErrClosed)
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
func (c *conn) Close() error {
	h := c.remote
	h.mu.Lock()
	if !c.closed {
		c.closed = true
		delete(h.conns, c)
		if c.later != nil {
			c.later.Stop()
			// guard: closing-tells-what-waits-embedded
			c.untold()
		}
		h.untrackLocked(c)
		c.signal()
	}
	h.mu.Unlock()
	<-c.done
	return nil
}

// Trackers implements [backend.Server].
func (c *conn) Trackers(ctx context.Context) (n int64, err error) {
	err = c.step(ctx, func() {
		for other := range c.remote.conns {
			if !other.o.NoTracking {
				n++
			}
		}
	})
	return n, err
}

// Info implements [backend.Server].
func (c *conn) Info(ctx context.Context) (i backend.Info, err error) {
	err = c.step(ctx, func() {
		i = backend.Info{Server: "embedded", Policy: "allkeys-lru (log kept)", MaxMemory: c.remote.maxBytes,
			UsedMemory: c.remote.bytes, TrackedKeys: int64(len(c.remote.tracked)), TrackedMax: maxTracked, LogMost: changelog.MostScopes(c.remote.maxBytes)}
		if l := c.remote.logs[changelog.LogKey(c.o.Prefix)]; l != nil {
			i.LogScopes = int64(len(l.latest))
		}
	})
	return i, err
}
