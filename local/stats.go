package local

// Stats counts, since New, what the writers did. Hits and misses are not among them: a counter on the read path would
// cost more than the read, so a caller that needs them counts them itself.
//
// At rest, Stored is the sum of Entries, Replaced, Removed, Evicted and Cleared.
type Stats struct {
	Entries int   // now in the cache
	Bytes   int64 // now in the cache, with Overhead for each entry

	Stored   uint64 // values accepted by Put
	Rejected uint64 // values that Put refused because they were too large

	// Values that left, by reason.
	Replaced, Removed, Evicted, Cleared uint64
}

// Stats takes each shard's lock for a moment. The parts are not of one instant while writers run.
func (c *Cache[V]) Stats() Stats {
	st := Stats{Entries: c.Len(), Bytes: c.Bytes(), Rejected: c.rejected.Load()}
	for i := range c.shards {
		stored, left := c.shards[i].counts()
		st.Stored += stored
		st.Replaced += left[Replaced]
		st.Removed += left[Removed]
		st.Evicted += left[Evicted]
		st.Cleared += left[Cleared]
	}
	return st
}
