package remote

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
)

// GetOne implements [backend.Reader].
func (c *embeddedConn) GetOne(ctx context.Context, key string) (it backend.Item, err error) {
	err = c.step(ctx, func() { it = c.readLocked(key) })
	return it, err
}

// Get implements [backend.Reader].
func (c *embeddedConn) Get(ctx context.Context, keys []string, q *changelog.DeltaQuery) (items []backend.Item, d changelog.Delta, err error) {
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

func (c *embeddedConn) readLocked(key string) backend.Item {
	raw, _ := c.hub.getLocked(key)
	c.hub.trackLocked(key, c)
	return backend.Item{Raw: raw, Present: raw != ""}
}

// Lease implements [backend.Leaser].
func (c *embeddedConn) Lease(ctx context.Context, reqs []backend.LeaseRequest) (leases []backend.Lease, err error) {
	err = c.step(ctx, func() {
		for _, r := range reqs {
			leases = append(leases, c.leaseLocked(r))
		}
	})
	return leases, err
}

func (c *embeddedConn) leaseLocked(r backend.LeaseRequest) backend.Lease {
	if it := c.readLocked(r.Key); !r.Any && it.Present && (r.Seen == "" || it.Seen() != r.Seen) {
		return backend.Lease{Item: it}
	}
	name := r.Key + backend.LeaseSuffix
	// guard: I7-one-lease-embedded
	if _, taken := c.hub.getLocked(name); !taken {
		c.hub.setLocked(name, stored{r.Token, time.Now().Add(r.TTL)})
		return backend.Lease{Acquired: true}
	}
	c.hub.trackLocked(name, c)
	held, _ := c.hub.items.Peek(name)
	if held.raw == r.Token {
		return backend.Lease{Acquired: true}
	}
	if held.expires.IsZero() { // not written by a store, and would block the key for ever
		c.hub.setLocked(name, stored{r.Token, time.Now().Add(r.TTL)})
		return backend.Lease{Acquired: true}
	}
	// guard: R8-longest-lease-embedded
	if latest := time.Now().Add(r.TTL); held.expires.After(latest) {
		held.expires = latest
		c.hub.setLocked(name, held)
	}
	return backend.Lease{Wait: time.Until(held.expires)}
}

func (c *embeddedConn) holdsLocked(key, token string) bool {
	held, ok := c.hub.getLocked(key + backend.LeaseSuffix)
	return ok && held == token
}

// Extend implements [backend.Leaser].
func (c *embeddedConn) Extend(ctx context.Context, keys []string, token string, ttl time.Duration) error {
	return c.step(ctx, func() {
		for _, k := range keys {
			if c.holdsLocked(k, token) {
				c.hub.setLocked(k+backend.LeaseSuffix, stored{token, time.Now().Add(ttl)})
			}
		}
	})
}

// Release implements [backend.Leaser].
func (c *embeddedConn) Release(ctx context.Context, keys []string, token string) error {
	return c.step(ctx, func() {
		for _, k := range keys {
			if c.holdsLocked(k, token) {
				c.hub.removeLocked(k + backend.LeaseSuffix)
			}
		}
	})
}

// GetUntracked implements [backend.Reader].
func (c *embeddedConn) GetUntracked(ctx context.Context, keys []string) (items []backend.Item, err error) {
	err = c.step(ctx, func() {
		for _, k := range keys {
			raw, _ := c.hub.getLocked(k)
			items = append(items, backend.Item{Raw: raw, Present: raw != ""})
		}
	})
	return items, err
}

// WriteLater implements [backend.Writer].
func (c *embeddedConn) WriteLater(ctx context.Context, writes []backend.Write, then func([]backend.Written, error)) {
	then(c.Write(ctx, writes))
}

// Stage implements [backend.Writer].
func (c *embeddedConn) Stage(context.Context, *backend.Write) error { return nil }

// Write implements [backend.Writer].
func (c *embeddedConn) Write(ctx context.Context, writes []backend.Write) (out []backend.Written, err error) {
	backend.Queue(writes)
	err = c.step(ctx, func() {
		for _, w := range writes {
			out = append(out, c.writeLocked(w))
		}
	})
	return out, err
}

func (c *embeddedConn) writeLocked(w backend.Write) backend.Written {
	// guard: R8-fill-holds-lease-embedded
	if w.Token != "" && !c.holdsLocked(w.Key, w.Token) {
		return backend.Written{}
	}
	// guard: I1-late-write-embedded
	if !w.Admits(time.Now()) {
		return backend.Written{}
	}
	// guard: R9-read-before-write-embedded
	if w.Unread {
		c.hub.trackLocked(w.Key, c)
	}
	raw := string(w.Envelope)
	if int64(len(raw)) > c.hub.maxBytes {
		return backend.Written{Err: fmt.Errorf("%w: %d bytes, the embedded remote holds %d", ErrFull, len(raw), c.hub.maxBytes)}
	}
	c.hub.setLocked(w.Key, stored{raw, w.Expires})
	c.hub.removeLocked(w.Key + backend.LeaseSuffix)
	// guard: R9-track-after-write-embedded
	c.hub.trackLocked(w.Key, c)
	_, there := c.hub.getLocked(w.Key)
	// guard: R9-expired-write-embedded
	return backend.Written{Stored: there, Expired: !there}
}

// Delete implements [backend.Writer].
func (c *embeddedConn) Delete(ctx context.Context, keys []backend.Deletion) (out []backend.Deleted, err error) {
	err = c.step(ctx, func() {
		for _, d := range keys {
			// guard: G5-late-delete-embedded
			late := !d.Admits(time.Now())
			if !late {
				c.deleteLocked(d.Key)
			}
			out = append(out, backend.Deleted{Late: late})
		}
	})
	return out, err
}

func (c *embeddedConn) deleteLocked(key string) {
	if !c.hub.removeLocked(key) {
		c.hub.invalidateLocked(key) // to processes that may be loading it
	}
	c.hub.removeLocked(key + backend.LeaseSuffix)
}

// Discard implements [backend.Leaser].
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

// Purge implements [backend.Server]. It is one step, so there is nothing to resume.
func (c *embeddedConn) Purge(ctx context.Context, p backend.PurgeRequest) (done backend.PurgeProgress, err error) {
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

// LosesWrites implements [backend.Server].
func (c *embeddedConn) LosesWrites() bool { return false }

// Shard implements [backend.Prober].
func (c *embeddedConn) Shard(string) *backend.Shard { return nil }

// Prove implements [backend.Prober].
func (c *embeddedConn) Prove(context.Context, ...string) error { return nil }
