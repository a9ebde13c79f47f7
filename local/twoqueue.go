package local

// The queues of 2Q, and their shares of the entries as its authors advise: Kin a quarter, Kout a half.
const (
	trial uint8 = iota // A1in: a FIFO of entries that came lately
	kept               // Am: an LRU of entries that came back
	twoQueues

	trialShare = 4 // one in so many
	ghostShare = 2
)

// twoQueue is the full version of 2Q. An entry that leaves the trial is remembered; asked for again while it is, it is
// kept. Uses during the trial say nothing: they mostly belong to what brought the entry in.
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

// ghosts remembers the latest keys that left, from the oldest to the newest. Of a key's hash one half is enough: who is
// taken for another is kept for nothing, once in a very long time.
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

// add remembers k, and forgets all but the latest most.
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

// here tells whether a ghost was neither taken nor added anew.
func (g *ghosts) here(old ghost) bool {
	at, ok := g.at[old.key]
	return ok && at == old.at
}

// tidy makes room for so many, or twice as many as there are. A third of that or more is free afterwards.
func (g *ghosts) tidy(room int) {
	fifo := make([]ghost, 0, max(room, 2*len(g.at)))
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
