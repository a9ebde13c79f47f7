package local

import "testing"

// check fails the test unless all parts of c tell the same story. Nobody may be writing.
func check[V any](t *testing.T, c *Cache[V]) {
	t.Helper()
	entries, bytes := 0, int64(0)
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		checkIndex(t, &s.index)
		all := s.order.all()
		if len(all) != s.index.live || len(all) != s.order.len() || len(all)+len(s.order.free) != len(s.order.at) {
			t.Fatalf("shard %d: %d entries in order, %d in index, %d places of which %d free",
				i, len(all), s.index.live, len(s.order.at), len(s.order.free))
		}
		for _, e := range all {
			if s.index.find(e.key) != e || c.shard(e.key) != s {
				t.Fatalf("shard %d: %v is in order, but not found", i, e.key)
			}
			bytes += e.cost
		}
		entries += len(all)
		if e, bid := s.order.oldest(), s.bid.Load(); (e == nil) != (bid == noBid) || e != nil && bid > e.used.Load() {
			t.Fatalf("shard %d: bids %d, oldest is %v", i, bid, e)
		}
		s.mu.Unlock()
	}
	if entries != c.Len() || bytes != c.Bytes() {
		t.Fatalf("Len %d, Bytes %d; there are %d, %d", c.Len(), c.Bytes(), entries, bytes)
	}
	if c.over() {
		t.Fatalf("%d entries and %d bytes exceed the bounds", entries, bytes)
	}
	if st := c.Stats(); st.Stored != uint64(entries)+st.Replaced+st.Removed+st.Evicted+st.Cleared {
		t.Fatalf("does not add up: %+v", st)
	}
}

func checkIndex[V any](t *testing.T, x *index[V]) {
	t.Helper()
	live, filled := 0, 0
	s := *x.slots.Load()
	for i := range s {
		e := s[i].Load()
		if e == nil {
			continue
		}
		filled++
		if e == x.grave {
			continue
		}
		live++
		if x.find(e.key) != e {
			t.Fatalf("slot %d: %v is not found", i, e.key)
		}
	}
	if live != x.live || filled != x.filled || filled > len(s)*5/8 {
		t.Fatalf("counted %d live, %d filled of %d; there are %d, %d", x.live, x.filled, len(s), live, filled)
	}
}
