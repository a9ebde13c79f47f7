package tier

import (
	"context"

	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier/internal/inflight"
	"github.com/tiercache/tiercache/tier/internal/record"
)

// Peek returns the value of key if a tier has it, and never loads. A remembered
// "not found" is no value. It does not fill the local tier. A value that was just
// loaded here and is still being stored is waited for. It returns ErrUnavailable
// if only the remote tier could tell and did not answer.
func (c *Cache[V]) Peek(ctx context.Context, key string) (V, bool, error) {
	var zero V
	it, err := c.peek(ctx, key)
	if it == nil || it.Negative {
		return zero, false, err
	}
	return c.valueOf(it), true, err
}

func (c *core) peek(ctx context.Context, key string) (*record.Item, error) {
	if c.s.closed.Load() { // it waits for no load, so it need not be admitted
		return nil, ErrClosed
	}
	if err := checkKey(key); err != nil {
		return nil, err
	}
	h := c.ns.Hash(key)
	if it := c.peekLocal(h, key); it != nil || c.cfg.LocalOnly {
		return it, nil
	}
	if ctx.Err() != nil {
		return nil, endOf(ctx)
	}
	for range 3 {
		// The write of a value that a call has returned may be under way, and this would read
		// the value from before it.
		// guard: I10-peek-waits-for-fill
		if err := c.awaitStored(ctx, h); err != nil {
			return nil, err
		}
		v := c.s.session.Tail.View()
		stored, done, err := c.s.session.ReadOne(ctx, c.ns.RemoteName(h), false, v)
		if err != nil {
			c.countRemoteError(err)
			return nil, remoteError(ctx, "peek", err)
		}
		if !done {
			continue
		}
		r := storedValue{key: key, stored: stored, Basis: inflight.Basis{Epoch: v.Epoch, KeyTick: v.Watermark}, now: mono.Now()}
		it, cause, _ := c.open(ctx, &r)
		if link := linkOf(stored, cause); it == nil && link != 0 {
			if r.stored, done, err = c.s.session.ReadOne(ctx, c.besideName(h), false, c.s.session.Tail.View()); err != nil {
				c.countRemoteError(err)
				return nil, remoteError(ctx, "peek", err)
			}
			if done {
				it, _, _ = c.openBeside(ctx, &r, link, cause)
			}
		}
		if it == nil {
			return nil, nil
		}
		it.Release(c.s.session.Tail)
		if mono.Now() >= it.Meta().Fresh {
			return nil, nil
		}
		// guard: I10-untracked-peek
		c.removeOtherVersions(h, it, nil)
		return it, nil
	}
	return nil, remoteError(ctx, "peek", changelog.ErrUnstable)
}

// awaitStored waits until what was loaded for h is stored as well, if that is under way.
func (c *core) awaitStored(ctx context.Context, h local.Key) error {
	if e := c.s.table.Storing(h); e != nil {
		return waitFor(ctx, e)
	}
	return nil
}

// peekLocal returns a local copy that is fresh, and valid or servable in the outage.
func (c *core) peekLocal(h local.Key, key string) *record.Item {
	if c.cfg.RemoteOnly || c.ns.IsBypassed() {
		return nil
	}
	e := c.s.local.PeekEntry(h)
	if e == nil {
		return nil
	}
	it, now, v := &e.Value, mono.Now(), c.s.session.Tail.View()
	// guard: I2-peek-of-own-kind
	if !c.ofType(it) || it.Key != key || now >= it.Meta().Fresh ||
		!it.Servable(now) || !c.s.session.IsValid(it, v, now) && !c.servableInOutage(it, now) {
		return nil
	}
	return it
}
