package local

import queue "container/heap"

// Hottest returns up to most entries, those used last first, as far as the order of uses is known: see Policy. It is for
// what is done once in a while: it looks at every entry.
func (c *Cache[V]) Hottest(most int) []*Entry[V] {
	if most <= 0 {
		return nil
	}
	var kept coldest[V]
	for i := range c.shards {
		entries := c.shards[i].entries()
		for j := len(entries) - 1; j >= 0; j-- { // those that leave last first
			e := entries[j]
			switch used := e.used.Load(); {
			case len(kept) < most:
				queue.Push(&kept, usedEntry[V]{e, used})
			case used > kept[0].used:
				kept[0] = usedEntry[V]{e, used}
				queue.Fix(&kept, 0)
			}
		}
	}
	out := make([]*Entry[V], len(kept))
	for i := len(kept) - 1; i >= 0; i-- {
		out[i] = queue.Pop(&kept).(usedEntry[V]).e
	}
	return out
}

// entries returns all entries, roughly in the order in which they would leave.
func (s *shard[V]) entries() []*Entry[V] {
	s.lock()
	defer s.unlock()
	return s.order.all()
}

// usedEntry is an entry and when it was used, which must not change in a heap.
type usedEntry[V any] struct {
	e    *Entry[V]
	used uint64
}

// coldest is a heap with the entry first that was used longest ago.
type coldest[V any] []usedEntry[V]

func (h coldest[V]) Len() int           { return len(h) }
func (h coldest[V]) Less(i, j int) bool { return h[i].used < h[j].used }
func (h coldest[V]) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *coldest[V]) Push(x any)        { *h = append(*h, x.(usedEntry[V])) }
func (h *coldest[V]) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	*h = (*h)[:last]
	return e
}
