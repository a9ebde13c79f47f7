package local

// queues keeps the entries of one shard in several queues, each from its oldest to its newest. Not safe for concurrent
// use.
//
// Links are numbers in one array: half the size of pointers, and the garbage collector does not follow them.
type queues[V any] struct {
	nodes []node[V] // by slot; the first are the ends of the queues, each linked to itself when its queue is empty
	sizes []int     // by queue
	free  []uint32  // slots
	last  *Entry[V] // stored last
}

type node[V any] struct {
	e          *Entry[V] // nil: free, or the end of a queue
	prev, next uint32
	queue      uint8
}

func (q *queues[V]) init(n int) {
	*q = queues[V]{nodes: make([]node[V], n), sizes: make([]int, n)}
	for i := range q.nodes {
		q.nodes[i] = node[V]{prev: uint32(i), next: uint32(i)}
	}
}

func (q *queues[V]) len() int { return len(q.nodes) - len(q.sizes) - len(q.free) }

// has reports whether e is here: another entry may have its slot.
func (q *queues[V]) has(e *Entry[V]) bool {
	return int(e.slot) < len(q.nodes) && q.nodes[e.slot].e == e
}

func (q *queues[V]) in(e *Entry[V]) uint8 { return q.nodes[e.slot].queue }

// push makes e, which is not here yet, the newest of a queue.
func (q *queues[V]) push(e *Entry[V], queue uint8) {
	if n := len(q.free) - 1; n >= 0 {
		e.slot = q.free[n]
		q.free = q.free[:n]
	} else {
		e.slot = uint32(len(q.nodes))
		q.nodes = append(q.nodes, node[V]{})
	}
	q.nodes[e.slot].e = e
	q.link(e.slot, queue)
	q.last = e
}

// exchange puts e into the slot of old.
func (q *queues[V]) exchange(old, e *Entry[V]) {
	e.slot = old.slot
	q.nodes[e.slot].e = e
	q.last = e
}

// move makes e the newest of a queue.
func (q *queues[V]) move(e *Entry[V], queue uint8) {
	q.unlink(e.slot)
	q.link(e.slot, queue)
}

func (q *queues[V]) remove(e *Entry[V]) {
	q.unlink(e.slot)
	q.nodes[e.slot].e = nil
	q.free = append(q.free, e.slot)
	if q.last == e {
		q.last = nil // it may be garbage now
	}
}

func (q *queues[V]) link(slot uint32, queue uint8) {
	end := &q.nodes[queue]
	n := &q.nodes[slot]
	n.prev, n.next, n.queue = end.prev, uint32(queue), queue
	q.nodes[end.prev].next = slot
	end.prev = slot
	q.sizes[queue]++
}

func (q *queues[V]) unlink(slot uint32) {
	n := q.nodes[slot]
	q.nodes[n.prev].next, q.nodes[n.next].prev = n.next, n.prev
	q.sizes[n.queue]--
}

// oldest returns the oldest entry of a queue that is not the one stored last, or nil.
func (q *queues[V]) oldest(queue uint8) *Entry[V] {
	e := q.nodes[q.nodes[queue].next].e
	if e != nil && e == q.last {
		e = q.nodes[q.nodes[e.slot].next].e
	}
	return e
}

// first returns the oldest entry of the first of the queues that has one. The entry stored last is returned only if
// there is no other.
func (q *queues[V]) first(order ...uint8) *Entry[V] {
	for _, queue := range order {
		if e := q.oldest(queue); e != nil {
			return e
		}
	}
	return q.last
}

// oldestAge returns the lowest age: these entries do not leave in the order of their uses, and there is only one shard.
func (q *queues[V]) oldestAge() uint64 {
	if q.len() == 0 {
		return noAge
	}
	return 0
}

func (q *queues[V]) all() []*Entry[V] {
	entries := make([]*Entry[V], 0, q.len())
	for queue := range q.sizes {
		for slot := q.nodes[queue].next; q.nodes[slot].e != nil; slot = q.nodes[slot].next {
			entries = append(entries, q.nodes[slot].e)
		}
	}
	return entries
}

// compact frees memory if there are less than half as many entries as there were, and reports whether it did.
func (q *queues[V]) compact() bool {
	if len(q.nodes) < 128 || q.len() >= len(q.nodes)/2 {
		return false
	}
	entries, last := q.all(), q.last
	old := make([]uint8, len(entries))
	for i, e := range entries {
		old[i] = q.in(e)
	}
	q.init(len(q.sizes))
	for i, e := range entries {
		q.push(e, old[i])
	}
	q.last = last
	return true
}
