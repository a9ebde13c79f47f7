package local

// over reports whether the cache exceeds a bound.
func (c *Cache[V]) over() bool {
	return c.config.MaxEntries > 0 && c.total.entries.Load() > int64(c.config.MaxEntries) ||
		c.config.MaxBytes > 0 && c.total.bytes.Load() > c.config.MaxBytes
}

// shrink evicts the oldest entries of the whole cache until it is within its bounds.
//
// Bounds for each shard would be simpler and wrong, for two reasons: a value larger than a shard's part could not be
// stored, and keys never spread evenly, so a working set that just fits would thrash some shards while others have
// space left.
//
// A shard's age can be out of date, because uses wait to be applied. It errs only towards old. So the shard with the
// lowest age applies its uses, and then either evicts or has a new age. Readers could keep giving shards new ages, so
// after one round the chosen shard has to evict its oldest entry.
func (c *Cache[V]) shrink() {
	for tries := 0; c.over(); tries++ {
		i, age := c.clock.oldest()
		if age == noAge {
			return // the excess is of Puts that have counted their entry but not set an age yet: each of them calls shrink
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
