package local

// queues keeps the entries of one shard in several queues, each from its oldest to its newest. Not safe for concurrent
// use.
//
// Links are numbers in one array: half of what pointers take, and nothing for the garbage collector to follow.
type queues[V any] struct {
	nodes []node[V] // by place; the first are the ends of the queues, each linked to itself when its queue is empty
	sizes []int     // by queue
	free  []uint32  // places
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

// has tells whether e is here: its place may have gone to another.
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

// exchange puts e in place of old.
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

func (q *queues[V]) link(place uint32, queue uint8) {
	end := &q.nodes[queue]
	n := &q.nodes[place]
	n.prev, n.next, n.queue = end.prev, uint32(queue), queue
	q.nodes[end.prev].next = place
	end.prev = place
	q.sizes[queue]++
}

func (q *queues[V]) unlink(place uint32) {
	n := q.nodes[place]
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

// first returns the oldest entry of the first of some queues that has one. Of all entries, the one stored last comes
// last.
func (q *queues[V]) first(order ...uint8) *Entry[V] {
	for _, queue := range order {
		if e := q.oldest(queue); e != nil {
			return e
		}
	}
	return q.last
}

// oldestAge is the least there is: these entries do not leave in the order of their uses, and there is but one shard.
func (q *queues[V]) oldestAge() uint64 {
	if q.len() == 0 {
		return noAge
	}
	return 0
}

func (q *queues[V]) all() []*Entry[V] {
	entries := make([]*Entry[V], 0, q.len())
	for queue := range q.sizes {
		for place := q.nodes[queue].next; q.nodes[place].e != nil; place = q.nodes[place].next {
			entries = append(entries, q.nodes[place].e)
		}
	}
	return entries
}

// compact gives back memory if the entries are less than half of what they were, and reports whether it did.
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
