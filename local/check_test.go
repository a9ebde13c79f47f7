package local

import (
	"math"
	"testing"
)

// check fails the test unless all parts of c agree. There must be no writer meanwhile.
func check[V any](t *testing.T, c *Cache[V]) {
	t.Helper()
	entries, bytes := 0, int64(0)
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		checkIndex(t, &s.index)
		all := s.order.all()
		if len(all) != s.index.live || len(all) != s.order.len() {
			t.Fatalf("shard %d: %d entries in order, %d in index", i, len(all), s.index.live)
		}
		checkPolicy(t, s.order)
		for _, e := range all {
			if s.index.find(e.key) != e || c.shard(e.key) != s {
				t.Fatalf("shard %d: %v is in order, but not found", i, e.key)
			}
			bytes += e.cost
		}
		entries += len(all)
		if e, age := s.order.victim(math.MaxUint64), s.oldestAge.Load(); (e == nil) != (age == noAge) || e != nil && age > e.used.Load() {
			t.Fatalf("shard %d: bids %d, victim is %v", i, age, e)
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
	gs := x.groups.Load()
	for slot := range gs.slots {
		e := gs.slots[slot].Load()
		if tag := gs.tag(slot); (tag <= tombstone) != (e == nil) || e != nil && tag != tagOf(e.key) {
			t.Fatalf("slot %d: %v with tag %x", slot, e, tag)
		} else if tag != empty {
			filled++
		}
		if e == nil {
			continue
		}
		live++
		if x.find(e.key) != e {
			t.Fatalf("slot %d: %v is not found", slot, e.key)
		}
	}
	if live != x.live || filled != x.filled || 10*filled > 7*len(gs.slots) {
		t.Fatalf("counted %d live, %d filled of %d; there are %d, %d", live, filled, len(gs.slots), x.live, x.filled)
	}
}

// checkPolicy fails the test unless every place is an entry's or free.
func checkPolicy[V any](t *testing.T, p policy[V]) {
	t.Helper()
	switch p := p.(type) {
	case *order[V]:
		if p.len()+len(p.free) != len(p.at) {
			t.Fatalf("%d entries, %d places of which %d free", p.len(), len(p.at), len(p.free))
		}
	case *twoQueue[V]:
		checkQueues(t, &p.queues)
		if len(p.ghosts.at) > len(p.ghosts.fifo)-p.ghosts.head {
			t.Fatalf("%d ghosts, %d in order", len(p.ghosts.at), len(p.ghosts.fifo)-p.ghosts.head)
		}
	case *tinyLFU[V]:
		checkQueues(t, &p.queues)
	case *adaptive[V]:
		checkQueues(t, &p.queues)
		for i := range p.trials.minis {
			m := &p.trials.minis[i]
			checkQueues(t, &m.policy.queues)
			checkIndex(t, &m.index)
			if m.index.live != m.policy.len() {
				t.Fatalf("miniature %d: %d entries in order, %d in index", i, m.policy.len(), m.index.live)
			}
		}
	default:
		t.Fatalf("no check for %T", p)
	}
}

func checkQueues[V any](t *testing.T, q *queues[V]) {
	t.Helper()
	linked := 0
	for queue, size := range q.sizes {
		n := 0
		for at := q.nodes[queue].next; at != uint32(queue); at = q.nodes[at].next {
			x := q.nodes[at]
			if x.e == nil || x.e.slot != at || int(x.queue) != queue || q.nodes[x.next].prev != at {
				t.Fatalf("queue %d, place %d: %+v", queue, at, x)
			}
			n++
		}
		if n != size {
			t.Fatalf("queue %d: %d entries, counted %d", queue, n, size)
		}
		linked += n
	}
	if linked != q.len() {
		t.Fatalf("%d places in use, %d linked", q.len(), linked)
	}
	if q.last != nil && !q.has(q.last) {
		t.Fatalf("the one stored last left: %v", q.last)
	}
}
