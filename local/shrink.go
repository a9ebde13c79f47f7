package local

// over tells whether the cache exceeds a bound.
func (c *Cache[V]) over() bool {
	return c.config.MaxEntries > 0 && c.total.entries.Load() > int64(c.config.MaxEntries) ||
		c.config.MaxBytes > 0 && c.total.bytes.Load() > c.config.MaxBytes
}

// shrink evicts the oldest entries of the whole cache until it is within its bounds.
//
// Bounds of one shard each would be simpler and are wrong twice: a value larger than a shard's part could not be
// stored, and keys never spread evenly, so a working set that just fits would thrash some shards while others have
// room.
//
// A age can be out of date, because uses wait to be applied. It errs only towards old, so the lowest bidder is asked;
// it applies its uses and then either evicts or ages anew. Readers could make shards age anew again and again, so
// after one round the one asked has to evict what is its oldest by then.
func (c *Cache[V]) shrink() {
	for tries := 0; c.over(); tries++ {
		i, age := c.clock.oldest()
		if age == noAge {
			return // what is over belongs to Puts that have counted but not age yet: each of them comes here itself
		}
		if tries > len(c.shards) {
			age = noAge
		}
		if e := c.shards[i].evict(age, c.over); e != nil {
			c.left(e, Evicted)
			tries = 0
		}
	}
}
