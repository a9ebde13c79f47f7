package remote

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tiercache/tiercache/internal/changelog"
)

// GetOne implements [Conn].
func (c *embeddedConn) GetOne(ctx context.Context, key string) (it Item, err error) {
	err = c.step(ctx, func() { it = c.readLocked(key) })
	return it, err
}

// Get implements [Conn].
func (c *embeddedConn) Get(ctx context.Context, keys []string, q *changelog.DeltaQuery) (items []Item, d changelog.Delta, err error) {
	err = c.step(ctx, func() {
		if q != nil {
			d = c.deltaLocked(*q)
		}
		for _, k := range keys {
			items = append(items, c.readLocked(k))
		}
	})
	return items, d, err
}

func (c *embeddedConn) readLocked(key string) Item {
	raw, ok := c.hub.getLocked(key)
	c.hub.trackLocked(key, c)
	return Item{raw, ok}
}

// Lease implements [Conn].
func (c *embeddedConn) Lease(ctx context.Context, reqs []LeaseRequest) (leases []Lease, err error) {
	err = c.step(ctx, func() {
		for _, r := range reqs {
			leases = append(leases, c.leaseLocked(r))
		}
	})
	return leases, err
}

func (c *embeddedConn) leaseLocked(r LeaseRequest) Lease {
	if it := c.readLocked(r.Key); !r.Any && it.found && (r.Seen == "" || it.Seen() != r.Seen) {
		return Lease{Item: it}
	}
	name := r.Key + leaseSuffix
	// guard: I7-one-lease-embedded
	if _, taken := c.hub.getLocked(name); !taken {
		c.hub.setLocked(name, stored{r.Token, time.Now().Add(r.TTL)})
		return Lease{Acquired: true}
	}
	c.hub.trackLocked(name, c)
	held, _ := c.hub.items.Peek(name)
	if held.raw == r.Token {
		return Lease{Acquired: true}
	}
	if held.expires.IsZero() { // not written by a store, and would block the key for ever
		c.hub.setLocked(name, stored{r.Token, time.Now().Add(r.TTL)})
		return Lease{Acquired: true}
	}
	// guard: R8-longest-lease-embedded
	if latest := time.Now().Add(r.TTL); held.expires.After(latest) {
		held.expires = latest
		c.hub.setLocked(name, held)
	}
	return Lease{Wait: time.Until(held.expires)}
}

func (c *embeddedConn) holdsLocked(key, token string) bool {
	held, ok := c.hub.getLocked(key + leaseSuffix)
	return ok && held == token
}

// Extend implements [Conn].
func (c *embeddedConn) Extend(ctx context.Context, keys []string, token string, ttl time.Duration) error {
	return c.step(ctx, func() {
		for _, k := range keys {
			if c.holdsLocked(k, token) {
				c.hub.setLocked(k+leaseSuffix, stored{token, time.Now().Add(ttl)})
			}
		}
	})
}

// Release implements [Conn].
func (c *embeddedConn) Release(ctx context.Context, keys []string, token string) error {
	return c.step(ctx, func() {
		for _, k := range keys {
			if c.holdsLocked(k, token) {
				c.hub.removeLocked(k + leaseSuffix)
			}
		}
	})
}

// GetUntracked implements [Conn].
func (c *embeddedConn) GetUntracked(ctx context.Context, keys []string) (items []Item, err error) {
	err = c.step(ctx, func() {
		for _, k := range keys {
			raw, ok := c.hub.getLocked(k)
			items = append(items, Item{raw, ok})
		}
	})
	return items, err
}

// WriteLater implements [Conn].
func (c *embeddedConn) WriteLater(ctx context.Context, writes []Write, then func([]Written, error)) {
	then(c.Write(ctx, writes))
}

// Write implements [Conn].
func (c *embeddedConn) Write(ctx context.Context, writes []Write) (out []Written, err error) {
	queue(writes)
	err = c.step(ctx, func() {
		for _, w := range writes {
			out = append(out, c.writeLocked(w))
		}
	})
	return out, err
}

func (c *embeddedConn) writeLocked(w Write) Written {
	// guard: R8-fill-holds-lease-embedded
	if w.Token != "" && !c.holdsLocked(w.Key, w.Token) {
		return Written{}
	}
	// guard: I1-late-write-embedded
	if !w.admits(time.Now()) {
		return Written{}
	}
	// guard: R9-read-before-write-embedded
	if w.Unread {
		c.hub.trackLocked(w.Key, c)
	}
	raw := string(w.Envelope)
	if int64(len(raw)) > c.hub.maxBytes {
		return Written{Err: fmt.Errorf("%w: %d bytes, the embedded remote holds %d", ErrFull, len(raw), c.hub.maxBytes)}
	}
	c.hub.setLocked(w.Key, stored{raw, w.Expires})
	c.hub.removeLocked(w.Key + leaseSuffix)
	// guard: R9-track-after-write-embedded
	c.hub.trackLocked(w.Key, c)
	_, there := c.hub.getLocked(w.Key)
	// guard: R9-expired-write-embedded
	return Written{Stored: there, Expired: !there}
}

// Delete implements [Conn].
func (c *embeddedConn) Delete(ctx context.Context, keys []Deletion) (out []Deleted, err error) {
	err = c.step(ctx, func() {
		for _, d := range keys {
			// guard: G5-late-delete-embedded
			late := !d.admits(time.Now())
			if !late {
				c.deleteLocked(d.Key)
			}
			out = append(out, Deleted{Late: late})
		}
	})
	return out, err
}

func (c *embeddedConn) deleteLocked(key string) {
	if !c.hub.removeLocked(key) {
		c.hub.invalidateLocked(key) // to processes that may be loading it
	}
	c.hub.removeLocked(key + leaseSuffix)
}

// Discard implements [Conn].
func (c *embeddedConn) Discard(ctx context.Context, keys []string, token string) error {
	return c.step(ctx, func() {
		for _, k := range keys {
			// guard: R8-holder-discards-embedded
			if c.holdsLocked(k, token) {
				c.deleteLocked(k)
			}
		}
	})
}

// Purge implements [Conn]. It is one step, so there is nothing to resume.
func (c *embeddedConn) Purge(ctx context.Context, p PurgeRequest) (done PurgeProgress, err error) {
	if _, err := parseResume(p); err != nil {
		return done, err
	}
	err = c.step(ctx, func() {
		for _, k := range c.hub.items.Keys() {
			done.Scanned++
			for _, prefix := range p.Prefixes {
				if strings.HasPrefix(k, prefix) && c.hub.removeLocked(k) {
					done.Removed++
					break
				}
			}
		}
	})
	if err == nil && p.Progress != nil {
		p.Progress(done)
	}
	return done, err
}

// LosesWrites implements [Conn].
func (c *embeddedConn) LosesWrites() bool { return false }

// Shard implements [Conn].
func (c *embeddedConn) Shard(string) *Shard { return nil }

// Prove implements [Conn].
func (c *embeddedConn) Prove(context.Context, ...string) error { return nil }
