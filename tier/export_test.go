package tier

import (
	"context"
	"time"

	"github.com/tiercache/tiercache/tier/internal/breaker"
	"github.com/tiercache/tiercache/tier/internal/config"
)

// LeaseFirst has c ask for leases along with its reads for a long time to come,
// as where nearly all of them miss.
func LeaseFirst[V any](c *Cache[V]) { c.ns.ExpectMisses() }

// RemoteName is the name under which the remote tier has a key.
func RemoteName[V any](c *Cache[V], key string) string { return c.ns.RemoteName(c.ns.Hash(key)) }

// LeadLate reads as a caller does that found nothing in the local tier before
// between was called, and says where the value came from.
func LeadLate[V any](c *Cache[V], key string, between func()) Origin {
	h := c.ns.Hash(key)
	f, leads, _ := c.s.table.Join(nil, h, key, true)
	if !leads {
		panic("another leads")
	}
	between()
	f.Name = c.ns.RemoteName(h)
	c.leadCall(context.Background(), f, loadFunc{}, config.Call{})
	<-f.Done.Wait()
	c.s.table.Leave(f)
	return Origin(f.Out.Origin)
}

// Openings is how often s has taken a server to be away, if only for a moment.
func Openings(s *Store) int64 { return s.session.Conn.Openings() }

// Waiters is how many callers share the call of key.
func Waiters[V any](c *Cache[V], key string) int {
	waiters, _ := c.s.table.WaitersOf(c.ns.Hash(key))
	return waiters
}

// GoesAndComes tells s that its server went away, and came back.
func GoesAndComes(s *Store) {
	a := &breaker.Outage{Since: time.Now(), Of: &s.session.Conn.Server, Over: make(chan struct{})}
	s.session.OnOutageBegin(a)
	close(a.Over)
	s.session.OnOutageEnd(a)
}

// CostOf is what the local tier counts for key, without what it needs itself.
func CostOf[V any](c *Cache[V], key string) int64 {
	return c.freshCopy(c.ns.Hash(key), key).Meta().Cost
}

// LeaseTTL is how long the leases of a store last.
func LeaseTTL(d time.Duration) Option { return storeOption(func(c *storeConfig) { c.LeaseTTL = d }) }

// Waits reports whether anything waits for the call of key to leave the table.
func Waits[V any](c *Cache[V], key string) bool {
	_, awaited := c.s.table.WaitersOf(c.ns.Hash(key))
	return awaited
}

// Flies reports whether there is a call of key.
func Flies[V any](c *Cache[V], key string) bool { return c.s.table.HasCall(c.ns.Hash(key)) }

// WakeRevalidation has suspended copies of c's store proven in the background.
func WakeRevalidation[V any](c *Cache[V]) { c.s.suspended.Wake() }
