package tier

import (
	"context"
	"time"

	"github.com/tiercache/tiercache/tier/internal/breaker"
	"github.com/tiercache/tiercache/tier/internal/config"
	"github.com/tiercache/tiercache/tier/internal/core"
)

// LeaseFirst has c ask for leases along with its reads for a long time to come,
// as where nearly all of them miss.
func LeaseFirst[V any](c *Cache[V]) { c.view.Cache().Namespace().ExpectMisses() }

// RemoteName is the name under which the remote tier has a key.
func RemoteName[V any](c *Cache[V], key string) string {
	return c.view.Cache().Namespace().RemoteName(c.view.Cache().Namespace().Hash(key))
}

// LeadLate reads as a caller does that found nothing in the local tier before
// between was called, and says where the value came from.
func LeadLate[V any](c *Cache[V], key string, between func()) Origin {
	h := c.view.Cache().Namespace().Hash(key)
	f, leads, _ := c.view.Store().Table.Join(nil, h, key, true)
	if !leads {
		panic("another leads")
	}
	between()
	f.Name = c.view.Cache().Namespace().RemoteName(h)
	c.view.Cache().LeadCall(context.Background(), f, core.LoadFunc{}, config.Call{})
	<-f.Done.Wait()
	c.view.Store().Table.Leave(f)
	return Origin(f.Out.Origin)
}

// Openings is how often s has taken a server to be away, if only for a moment.
func Openings(s *Store) int64 { return s.core.Session.Conn.Openings() }

// Waiters is how many callers share the call of key.
func Waiters[V any](c *Cache[V], key string) int {
	waiters, _ := c.view.Store().Table.WaitersOf(c.view.Cache().Namespace().Hash(key))
	return waiters
}

// GoesAndComes tells s that its server went away, and came back.
func GoesAndComes(s *Store) {
	a := &breaker.Outage{Since: time.Now(), Of: &s.core.Session.Conn.Server, Over: make(chan struct{})}
	s.core.Session.OnOutageBegin(a)
	close(a.Over)
	s.core.Session.OnOutageEnd(a)
}

// CostOf is what the local tier counts for key, without what it needs itself.
func CostOf[V any](c *Cache[V], key string) int64 {
	return c.view.Cache().FreshCopy(c.view.Cache().Namespace().Hash(key), key).Meta().Cost
}

// CostOfCopy is CostOf where there may be no copy.
func CostOfCopy[V any](c *Cache[V], key string) (cost int64, ok bool) {
	it := c.view.Cache().FreshCopy(c.view.Cache().Namespace().Hash(key), key)
	if it == nil {
		return 0, false
	}
	return it.Meta().Cost, true
}

// LeaseTTL is how long the leases of a store last.
func LeaseTTL(d time.Duration) Option { return storeOption(func(c *storeConfig) { c.LeaseTTL = d }) }

// Waits reports whether anything waits for the call of key to leave the table.
func Waits[V any](c *Cache[V], key string) bool {
	_, awaited := c.view.Store().Table.WaitersOf(c.view.Cache().Namespace().Hash(key))
	return awaited
}

// Flies reports whether there is a call of key.
func Flies[V any](c *Cache[V], key string) bool {
	return c.view.Store().Table.HasCall(c.view.Cache().Namespace().Hash(key))
}

// WakeRevalidation has suspended copies of c's store proven in the background.
func WakeRevalidation[V any](c *Cache[V]) { c.view.Store().Suspended.Wake() }

// Stored is how many values the local tier has ever had.
func Stored(s *Store) int64 { return int64(s.core.Local.Stats().Stored) }

// CloseIdleViews has s look for views that are idle.
func CloseIdleViews(s *Store) { s.core.CloseIdleViews() }
