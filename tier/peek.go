package tier

import (
	"context"

	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/local"
)

// Peek returns the value of key if a tier has it, and never loads. A remembered
// "not found" is no value. It does not fill the local tier. A value that was just
// loaded here and is still being stored is waited for. It returns ErrUnavailable
// if only the remote tier could tell and did not answer.
func (c *Cache[V]) Peek(ctx context.Context, key string) (V, bool, error) {
	var zero V
	it, err := c.peek(ctx, key)
	if it == nil || it.negative {
		return zero, false, err
	}
	return c.valueOf(it), true, err
}

func (c *core) peek(ctx context.Context, key string) (*item, error) {
	if err := c.admitWrite(ctx, key); err != nil { // it waits for no load
		return nil, err
	}
	h := c.ns.hash(key)
	if it := c.peekLocal(h, key); it != nil || c.cfg.localOnly {
		return it, nil
	}
	for range 3 {
		// The write of a value that a call has returned may be under way, and this would read
		// the value from before it.
		// guard: I10-peek-waits-for-fill
		if err := c.s.table.awaitStored(ctx, h); err != nil {
			return nil, err
		}
		v := c.s.tail.View()
		stored, done, err := c.readOne(ctx, c.ns.remoteName(h), callConfig{}, v)
		if err != nil {
			c.countRemoteError(err)
			return nil, remoteError(ctx, "peek", err)
		}
		if !done {
			continue
		}
		it, _, _ := c.open(ctx, &storedValue{key: key, stored: stored, basis: basis{epoch: v.Epoch, keyTick: v.Watermark}, now: mono.Now()})
		if it == nil {
			return nil, nil
		}
		it.release(c.s.tail)
		if mono.Now() >= it.meta().fresh {
			return nil, nil
		}
		// guard: I10-untracked-peek
		c.removeOtherVersions(h, it, nil)
		return it, nil
	}
	return nil, remoteError(ctx, "peek", changelog.ErrUnstable)
}

// peekLocal returns a local copy that is fresh, and valid or servable in the outage.
func (c *core) peekLocal(h local.Key, key string) *item {
	if c.cfg.remoteOnly {
		return nil
	}
	e := c.s.local.PeekEntry(h)
	if e == nil {
		return nil
	}
	it, now, v := &e.Value, mono.Now(), c.s.tail.View()
	// guard: I2-peek-of-own-kind
	if !c.ofType(it) || it.key != key || now >= it.meta().fresh ||
		!it.servable(now) || !c.s.isValid(it, v, now) && !c.servableInOutage(it, now) {
		return nil
	}
	return it
}
