package tier

// LeaseFirst has c ask for leases along with its reads for a long time to come,
// as where nearly all of them miss.
func LeaseFirst[V any](c *Cache[V]) { c.ns.misses.Store(1 << 30) }

// RemoteName is the name under which the remote tier has a key.
func RemoteName[V any](c *Cache[V], key string) string { return c.ns.remoteName(c.ns.hash(key)) }
