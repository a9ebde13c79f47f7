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
// A bid can be out of date, because uses wait to be applied. It errs only towards old, so the lowest bidder is asked;
// it applies its uses and then either evicts or bids anew. Readers could make shards bid anew again and again, so
// after one round the one asked has to evict what is its oldest by then.
func (c *Cache[V]) shrink() {
	for tries := 0; c.over(); tries++ {
		i, bid := c.clock.oldest()
		if bid == noBid {
			return // what is over belongs to Puts that have counted but not bid yet: each of them comes here itself
		}
		if tries > len(c.shards) {
			bid = noBid
		}
		if e := c.shards[i].evict(bid, c.over); e != nil {
			c.left(e, Evicted)
			tries = 0
		}
	}
}
