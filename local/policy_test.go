package local

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
)

// kind is what tests of the whole cache are run over.
type kind struct {
	policy Policy
	shards int
}

func (k kind) String() string { return fmt.Sprintf("%v in %d shards", k.policy, k.shards) }

var kinds = []kind{{LRU, 1}, {LRU, 8}, {TwoQueue, 1}, {TinyLFU, 1}, {Adaptive, 1}}

// plainTwoQueue is 2Q in the plainest form: lists of values, oldest first.
type plainTwoQueue struct{ trial, kept, ghosts []int }

func (m *plainTwoQueue) use(v int) {
	if i := slices.Index(m.kept, v); i >= 0 {
		m.kept = append(slices.Delete(m.kept, i, i+1), v)
	}
}

func (m *plainTwoQueue) add(v int) {
	if i := slices.Index(m.ghosts, v); i >= 0 {
		m.ghosts = slices.Delete(m.ghosts, i, i+1)
		m.kept = append(m.kept, v)
		return
	}
	m.trial = append(m.trial, v)
}

// evict evicts anyone but the one stored last.
func (m *plainTwoQueue) evict(last int) {
	n := len(m.trial) + len(m.kept)
	from := &m.kept
	if len(m.trial) > max(1, n/4) || len(m.kept) == 0 || len(m.kept) == 1 && m.kept[0] == last {
		from = &m.trial
	}
	i := 0
	if (*from)[0] == last {
		i = 1
	}
	v := (*from)[i]
	*from = slices.Delete(*from, i, i+1)
	if from == &m.trial {
		m.ghosts = append(m.ghosts, v)
		m.ghosts = m.ghosts[max(0, len(m.ghosts)-n/2):]
	}
}

// TestTwoQueueIsThatOfThePaper compares order and ghosts with the plain one's after each step.
func TestTwoQueueIsThatOfThePaper(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	const most = 40
	p, m, there := newTwoQueue[int](), &plainTwoQueue{}, map[int]*Entry[int]{}
	for step := range 20_000 {
		v := min(r.IntN(150), r.IntN(150))
		if there[v] != nil {
			p.use(there[v])
			m.use(v)
		} else {
			there[v] = &Entry[int]{key: testKey(v), Value: v}
			p.add(there[v])
			m.add(v)
			if p.len() > most {
				e := p.victim(noAge)
				p.evict(e)
				delete(there, e.Value)
				m.evict(v)
			}
		}
		var got []int
		for _, e := range p.all() {
			got = append(got, e.Value)
		}
		if want := slices.Concat(m.trial, m.kept); !slices.Equal(got, want) {
			t.Fatalf("step %d: %v, want %v", step, got, want)
		}
		for _, g := range m.ghosts {
			if _, ok := p.ghosts.at[testKey(g).Lo]; !ok {
				t.Fatalf("step %d: %d is forgotten", step, g)
			}
		}
		if len(p.ghosts.at) != len(m.ghosts) {
			t.Fatalf("step %d: %d ghosts, want %d", step, len(p.ghosts.at), len(m.ghosts))
		}
		checkPolicy(t, policy[int](p))
	}
}

// TestAGhostThatCameBackIsAsNew: what is still noted of its first time says nothing.
func TestAGhostThatCameBackIsAsNew(t *testing.T) {
	var g ghosts
	a, b, c := testKey(0), testKey(1), testKey(2)
	g.add(a, 2)
	g.take(a)
	g.add(b, 2)
	g.add(a, 2)
	g.add(c, 2) // one too many: b is the oldest
	if g.take(b) || !g.take(a) || !g.take(c) || g.take(a) {
		t.Error("not the latest two are remembered")
	}
}

// TestALateUseMovesNoEntry: its entry left, and its place went to another.
func TestALateUseMovesNoEntry(t *testing.T) {
	for _, kind := range kinds {
		p := newPolicy(&Config[int]{Policy: kind.policy, MaxEntries: 10})
		all := []*Entry[int]{e(0, 0), e(0, 1), e(0, 2)}
		for i, e := range all {
			e.key = testKey(i)
			p.add(e)
		}
		p.remove(all[0])
		other := e(0, 3)
		p.add(other)
		latest := e(0, 5)
		p.add(latest)
		before := p.all()
		p.use(all[0])
		if got := p.all(); !slices.Equal(got, before) || other.slot != all[0].slot {
			t.Errorf("%v: moved", kind)
		}
		replacement := e(0, 4)
		p.replace(all[1], replacement)
		before = p.all()
		p.use(all[1])
		if got := p.all(); !slices.Equal(got, before) || p.len() != 4 {
			t.Errorf("%v: moved after a replacement", kind)
		}
	}
}

// TestCompactingQueuesKeepsTheirOrder and gives memory back.
func TestCompactingQueuesKeepsTheirOrder(t *testing.T) {
	p := newTwoQueue[int]()
	var all []*Entry[int]
	for i := range 1000 {
		e := e(0, i)
		e.key = testKey(i)
		all = append(all, e)
		p.push(e, uint8(i%2))
	}
	for i, e := range all[:900] {
		if i%3 != 0 {
			p.remove(e)
		}
	}
	before, last := p.all(), p.last
	if !p.compact() || len(p.nodes) != len(before)+int(twoQueues) || p.last != last || !slices.Equal(p.all(), before) {
		t.Errorf("%d places for %d entries", len(p.nodes), len(before))
	}
	p.use(all[1]) // left long ago; its place does not exist any more, or is another's
	p.use(all[899])
	if !slices.Equal(p.all(), before) || p.compact() {
		t.Error("moved, or compacted again")
	}
	checkPolicy(t, policy[int](p))
}

// TestTheHeapOfAnEntryIsWithinOverhead, under each policy, after long use.
func TestTheHeapOfAnEntryIsWithinOverhead(t *testing.T) {
	skipHeap(t)
	for _, p := range []Policy{TwoQueue, TinyLFU, Adaptive} {
		for _, n := range []int{10_000, 13_000, 17_000, 30_000} {
			keys := make([]Key, 12*n)
			for i := range keys {
				keys[i] = testKey(i)
			}
			v, before := new(int), heap()
			c := newCache(t, Config[*int]{MaxEntries: n, Policy: p})
			for i, k := range keys {
				c.Put(k, v, 0)
				if i > 2*n && i%3 == 0 {
					c.Put(keys[i-3*n/4], v, 0)
				}
			}
			got := heap() - before
			if p == Adaptive {
				got -= trialBytes
			}
			t.Logf("%v, %d entries: %.1f", p, n, float64(got)/float64(n))
			if float64(got) > 1.02*Overhead*float64(n) {
				t.Errorf("%v, %d entries: %.1f bytes for each, Overhead is %d", p, n, float64(got)/float64(n), Overhead)
			}
			check(t, c)
			runtime.KeepAlive(keys)
		}
	}
}

const trialBytes = 250_000 // as the doc comment of Adaptive says

// TestTheOneStoredLastIsNotTheVictim, unless it is alone: the value that takes nearly all room comes after those that have
// to make room for it.
func TestTheOneStoredLastIsNotTheVictim(t *testing.T) {
	for _, kind := range kinds {
		r := rand.New(rand.NewPCG(1, 2))
		p := newPolicy(&Config[int]{Policy: kind.policy, MaxEntries: 5})
		there := map[int]*Entry[int]{}
		for step := range 5000 {
			v := r.IntN(12)
			old, last := there[v], &Entry[int]{key: testKey(v), Value: v}
			switch {
			case old != nil && r.IntN(2) == 0:
				old.used.Store(uint64(step))
				p.use(old)
				continue
			case old != nil:
				p.replace(old, last)
			default:
				p.add(last)
			}
			last.used.Store(uint64(step))
			there[v] = last
			for n := p.len() - r.IntN(5); n > 0 || p.len() > 5; n-- {
				e := p.victim(noAge)
				if e == last && p.len() > 1 {
					t.Fatalf("%v, step %d: the one stored last leaves before %d others", kind, step, p.len()-1)
				}
				p.evict(e)
				delete(there, e.Value)
			}
		}
	}
}

// TestTinyLFUKeepsItsPartOfALoop, close to what the optimum does: half of a loop of twice its size.
func TestTinyLFUKeepsItsPartOfALoop(t *testing.T) {
	const entries, n = 500, 60_000
	c := newCache(t, Config[int]{MaxEntries: entries, Policy: TinyLFU})
	hits := 0
	for i := range n {
		k := testKey(i % (2 * entries))
		if _, ok := c.Get(k); ok {
			hits++
		} else {
			c.Put(k, i, 0)
		}
	}
	if rate := 100 * float64(hits) / n; rate < 47 {
		t.Errorf("%.1f %%", rate)
	}
}
