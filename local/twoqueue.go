package local

// The queues of 2Q, and their shares of the entries as its authors advise: Kin a quarter, Kout a half.
const (
	trial uint8 = iota // A1in: a FIFO of entries that were stored recently
	kept               // Am: an LRU of entries that were stored again
	twoQueues

	trialShare = 4 // one in so many
	ghostShare = 2
)

// twoQueue is the full version of 2Q. The key of an entry that leaves the trial is remembered; if it is stored again
// meanwhile, it is kept. Uses during the trial do not count: they mostly belong to the request that stored the entry.
type twoQueue[V any] struct {
	queues[V]
	ghosts ghosts // A1out
}

func newTwoQueue[V any]() *twoQueue[V] {
	p := new(twoQueue[V])
	p.init(int(twoQueues))
	return p
}

func (p *twoQueue[V]) add(e *Entry[V]) {
	if p.ghosts.take(e.key) {
		p.push(e, kept)
		return
	}
	p.push(e, trial)
}

func (p *twoQueue[V]) replace(old, e *Entry[V]) {
	p.exchange(old, e)
	p.use(e)
}

func (p *twoQueue[V]) use(e *Entry[V]) {
	if p.has(e) && p.in(e) == kept {
		p.move(e, kept)
	}
}

func (p *twoQueue[V]) victim(uint64) *Entry[V] {
	if p.sizes[trial] > max(1, p.len()/trialShare) {
		return p.first(trial, kept)
	}
	return p.first(kept, trial)
}

func (p *twoQueue[V]) evict(e *Entry[V]) {
	if p.in(e) == trial {
		p.ghosts.add(e.key, p.len()/ghostShare)
	}
	p.remove(e)
}

// ghosts remembers the latest keys that left, from the oldest to the newest. Half of a key's hash is enough: a key that
// is taken for another one is kept needlessly, once in a very long time.
type ghosts struct {
	at   map[uint64]uint32 // when it was added
	fifo []ghost           // begins at head; holds also those that were taken
	head int
	now  uint32
}

type ghost struct {
	key uint64
	at  uint32
}

// add remembers k, and forgets all keys except the latest most.
func (g *ghosts) add(k Key, most int) {
	if g.at == nil {
		g.at = make(map[uint64]uint32)
	}
	if len(g.fifo) == cap(g.fifo) {
		g.tidy(most + most/2 + 8)
	}
	g.now++
	g.at[k.Lo] = g.now
	g.fifo = append(g.fifo, ghost{k.Lo, g.now})
	for len(g.at) > most {
		if old := g.fifo[g.head]; g.here(old) {
			delete(g.at, old.key)
		}
		g.head++
	}
}

// here reports whether a ghost was neither taken nor added again.
func (g *ghosts) here(old ghost) bool {
	at, ok := g.at[old.key]
	return ok && at == old.at
}

// tidy drops the ghosts that were taken, and makes the array large enough for so many, or for twice as many as there are.
// A third of it or more is free afterwards.
func (g *ghosts) tidy(size int) {
	fifo := make([]ghost, 0, max(size, 2*len(g.at)))
	for _, old := range g.fifo[g.head:] {
		if g.here(old) {
			fifo = append(fifo, old)
		}
	}
	g.fifo, g.head = fifo, 0
}

// take forgets k and reports whether it was remembered.
func (g *ghosts) take(k Key) bool {
	_, ok := g.at[k.Lo]
	delete(g.at, k.Lo)
	return ok
}
