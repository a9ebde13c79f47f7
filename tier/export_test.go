package tier

import (
	"context"
	"time"

	"github.com/tiercache/tiercache/tier/internal/breaker"
)

// LeaseFirst has c ask for leases along with its reads for a long time to come,
// as where nearly all of them miss.
func LeaseFirst[V any](c *Cache[V]) { c.ns.misses.Store(1 << 30) }

// RemoteName is the name under which the remote tier has a key.
func RemoteName[V any](c *Cache[V], key string) string { return c.ns.remoteName(c.ns.hash(key)) }

// LeadLate reads like a caller that found nothing in the local tier before between was
// called, and returns the origin of the value.
func LeadLate[V any](c *Cache[V], key string, between func()) Origin {
	h := c.ns.hash(key)
	f, leads, _ := c.s.table.join(nil, h, key, true)
	if !leads {
		panic("another leads")
	}
	between()
	f.name = c.ns.remoteName(h)
	c.leadCall(context.Background(), f, loadFunc{}, callConfig{})
	c.await(context.Background(), f, nil)
	c.s.table.leave(f)
	return f.out.origin
}

// Waiters is how many callers share the call of key.
func Waiters[V any](c *Cache[V], key string) int {
	h := c.ns.hash(key)
	s := c.s.table.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.keys[h]; k != nil && k.call != nil {
		return k.call.waiters
	}
	return 0
}

// GoesAndComes tells s that its server went away, and came back.
func GoesAndComes(s *Store) {
	a := &breaker.Outage{Since: time.Now(), Of: &s.conn.Server, Over: make(chan struct{})}
	s.onOutageBegin(a)
	close(a.Over)
	s.onOutageEnd(a)
}

// CostOf is what the local tier counts for key, without what it needs itself.
func CostOf[V any](c *Cache[V], key string) int64 {
	return c.peekLocal(c.ns.hash(key), key).meta().cost
}

// LeaseTTL is how long the leases of a store last.
func LeaseTTL(d time.Duration) Option { return storeOption(func(c *storeConfig) { c.leaseTTL = d }) }

// Waits reports whether anything waits for the call of key to leave the table.
func Waits[V any](c *Cache[V], key string) bool {
	h := c.ns.hash(key)
	s := c.s.table.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.keys[h]
	return k != nil && k.call != nil && k.call.left.state.Load() != nil
}

// Flies reports whether there is a call of key.
func Flies[V any](c *Cache[V], key string) bool { return c.s.table.hasCall(c.ns.hash(key)) }
