package embedded

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
)

// GetOne implements [backend.Reader].
func (c *conn) GetOne(ctx context.Context, key string) (it backend.Item, err error) {
	err = c.step(ctx, func() { it = c.readLocked(key) })
	return it, err
}

// Get implements [backend.Reader].
func (c *conn) Get(ctx context.Context, keys []string, q *changelog.DeltaQuery) (items []backend.Item, d changelog.Delta, err error) {
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

// GetHeads implements [backend.Reader].
func (c *conn) GetHeads(ctx context.Context, heads, keys []string, q *changelog.DeltaQuery) ([]backend.Item, changelog.Delta, error) {
	items, d, err := c.Get(ctx, slices.Concat(heads, keys), q)
	for i := range items[:min(len(heads), len(items))] {
		it := &items[i]
		it.Raw = it.Raw[:min(len(it.Raw), backend.HeadsLen)]
	}
	return items, d, err
}

func (c *conn) readLocked(key string) backend.Item {
	raw, _ := c.remote.getLocked(key)
	c.remote.trackLocked(key, c)
	return backend.Item{Raw: raw, Present: raw != ""}
}

// Lease implements [backend.Leaser].
func (c *conn) Lease(ctx context.Context, reqs []backend.LeaseRequest) (leases []backend.Lease, err error) {
	err = c.step(ctx, func() {
		for _, r := range reqs {
			leases = append(leases, c.leaseLocked(r))
		}
	})
	return leases, err
}

func (c *conn) leaseLocked(r backend.LeaseRequest) backend.Lease {
	if it := c.readLocked(r.Key); !r.Any && it.Present && (r.Seen == "" || it.Seen() != r.Seen) {
		return backend.Lease{Item: it}
	}
	name := r.Key + backend.LeaseSuffix
	// guard: I7-one-lease-embedded
	if _, taken := c.remote.getLocked(name); !taken {
		c.remote.setLocked(name, stored{r.Token, time.Now().Add(r.TTL)})
		return backend.Lease{Acquired: true}
	}
	c.remote.trackLocked(name, c)
	held, _ := c.remote.items.Peek(name)
	if held.raw == r.Token {
		return backend.Lease{Acquired: true}
	}
	if held.expires.IsZero() { // not written by a store, and would block the key for ever
		c.remote.setLocked(name, stored{r.Token, time.Now().Add(r.TTL)})
		return backend.Lease{Acquired: true}
	}
	// guard: R8-longest-lease-embedded
	if latest := time.Now().Add(r.TTL); held.expires.After(latest) {
		held.expires = latest
		c.remote.setLocked(name, held)
	}
	return backend.Lease{Wait: time.Until(held.expires)}
}

func (c *conn) holdsLocked(key, token string) bool {
	held, ok := c.remote.getLocked(key + backend.LeaseSuffix)
	return ok && held == token
}

// Extend implements [backend.Leaser].
func (c *conn) Extend(ctx context.Context, keys []string, token string, ttl time.Duration) error {
	return c.step(ctx, func() {
		for _, k := range keys {
			if c.holdsLocked(k, token) {
				c.remote.setLocked(k+backend.LeaseSuffix, stored{token, time.Now().Add(ttl)})
			}
		}
	})
}

// Release implements [backend.Leaser].
func (c *conn) Release(ctx context.Context, keys []string, token string) error {
	return c.step(ctx, func() {
		for _, k := range keys {
			if c.holdsLocked(k, token) {
				c.remote.removeLocked(k + backend.LeaseSuffix)
			}
		}
	})
}

// GetUntracked implements [backend.Reader].
func (c *conn) GetUntracked(ctx context.Context, keys []string) (items []backend.Item, err error) {
	err = c.step(ctx, func() {
		for _, k := range keys {
			raw, _ := c.remote.getLocked(k)
			items = append(items, backend.Item{Raw: raw, Present: raw != ""})
		}
	})
	return items, err
}

// WriteLater implements [backend.Writer].
func (c *conn) WriteLater(ctx context.Context, writes []backend.Write, then func([]backend.Written, error)) {
	then(c.Write(ctx, writes))
}

// Stage implements [backend.Writer].
func (c *conn) Stage(context.Context, *backend.Write) error { return nil }

// Write implements [backend.Writer].
func (c *conn) Write(ctx context.Context, writes []backend.Write) (out []backend.Written, err error) {
	backend.Queue(writes)
	err = c.step(ctx, func() {
		for _, w := range writes {
			out = append(out, c.writeLocked(w))
		}
	})
	return out, err
}

func (c *conn) writeLocked(w backend.Write) backend.Written {
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
		c.remote.trackLocked(w.Key, c)
	}
	raw := string(w.Envelope)
	if int64(len(raw)) > c.remote.maxBytes {
		return backend.Written{Err: fmt.Errorf("%w: %d bytes, the embedded remote holds %d", backend.ErrFull, len(raw), c.remote.maxBytes)}
	}
	c.remote.setLocked(w.Key, stored{raw, w.Expires})
	c.remote.removeLocked(w.Key + backend.LeaseSuffix)
	// guard: R9-track-after-write-embedded
	c.remote.trackLocked(w.Key, c)
	_, there := c.remote.getLocked(w.Key)
	// guard: R9-expired-write-embedded
	return backend.Written{Stored: there, Expired: !there}
}

// Delete implements [backend.Writer].
func (c *conn) Delete(ctx context.Context, keys []backend.Deletion) (out []backend.Deleted, err error) {
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

func (c *conn) deleteLocked(key string) {
	if !c.remote.removeLocked(key) {
		c.remote.invalidateLocked(key) // to processes that may be loading it
	}
	c.remote.removeLocked(key + backend.LeaseSuffix)
}

// Discard implements [backend.Leaser].
func (c *conn) Discard(ctx context.Context, keys []string, token string) error {
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
func (c *conn) Purge(ctx context.Context, p backend.PurgeRequest) (done backend.PurgeProgress, err error) {
	if _, err := p.Position(); err != nil {
		return done, err
	}
	err = c.step(ctx, func() {
		for _, k := range c.remote.items.Keys() {
			done.Scanned++
			for _, prefix := range p.Prefixes {
				if strings.HasPrefix(k, prefix) && c.remote.removeLocked(k) {
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
func (c *conn) LosesWrites() bool { return false }

// Shard implements [backend.Prober].
func (c *conn) Shard(string) *backend.Shard { return nil }

// Prove implements [backend.Prober].
func (c *conn) Prove(context.Context, ...string) error { return nil }
