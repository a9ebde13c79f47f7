package local

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// model is an LRU with bounds in the plainest form: a list from oldest to newest.
type model struct {
	maxEntries int
	maxBytes   int64
	list       []item
	left       []string
}

type item struct {
	k    Key
	v    *int
	cost int64
}

func (m *model) drop(i int, why Reason) {
	m.left = append(m.left, fmt.Sprint(m.list[i].k, *m.list[i].v, why))
	m.list = slices.Delete(m.list, i, i+1)
}

func (m *model) find(k Key) int {
	return slices.IndexFunc(m.list, func(it item) bool { return it.k == k })
}

func (m *model) bytes() (sum int64) {
	for _, it := range m.list {
		sum += it.cost + Overhead
	}
	return sum
}

func (m *model) get(k Key) *int {
	i := m.find(k)
	if i < 0 {
		return nil
	}
	it := m.list[i]
	m.list = append(slices.Delete(m.list, i, i+1), it)
	return it.v
}

func (m *model) put(k Key, v *int, cost int64) bool {
	if i := m.find(k); i >= 0 {
		m.drop(i, Replaced)
	}
	if m.maxBytes > 0 && cost+Overhead > m.maxBytes {
		return false
	}
	m.list = append(m.list, item{k, v, cost})
	for m.maxEntries > 0 && len(m.list) > m.maxEntries || m.maxBytes > 0 && m.bytes() > m.maxBytes {
		m.drop(0, Evicted)
	}
	return true
}

// TestASmallCacheIsAnExactLRU compares every answer, every value that leaves, and the order, with the model's.
func TestASmallCacheIsAnExactLRU(t *testing.T) {
	for _, bounds := range []Config[*int]{
		{MaxEntries: 1}, {MaxEntries: 7}, {MaxEntries: 100},
		{MaxBytes: 3 * (Overhead + 50)}, {MaxBytes: 60 * (Overhead + 50)},
		{MaxEntries: 30, MaxBytes: 30 * (Overhead + 50)},
	} {
		t.Run(fmt.Sprintf("%d entries, %d bytes", bounds.MaxEntries, bounds.MaxBytes), func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			compareWithModel(t, rand.New(rand.NewPCG(seed, 0)), bounds)
		})
	}
}

func compareWithModel(t *testing.T, r *rand.Rand, config Config[*int]) {
	m := &model{maxEntries: config.MaxEntries, maxBytes: config.MaxBytes}
	var left []string
	config.OnRemove = func(e *Entry[*int], why Reason) { left = append(left, fmt.Sprint(e.Key(), *e.Value, why)) }
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	most := int64(200)
	if config.MaxBytes > 0 {
		most = config.MaxBytes - Overhead + 20 // now and then too large
	}
	for step := range 8000 {
		k := testKey(r.IntN(150))
		switch op := r.IntN(1000); {
		case op < 550:
			got, ok := c.Get(k)
			if want := m.get(k); got != want || ok != (want != nil) {
				t.Fatalf("step %d: Get gives %v, %v; want %v", step, got, ok, want)
			}
		case op < 600:
			got, ok := c.Peek(k)
			if i := m.find(k); ok != (i >= 0) || ok && got != m.list[i].v {
				t.Fatalf("step %d: Peek gives %v, %v", step, got, ok)
			}
		case op < 900:
			v, cost := &step, r.Int64N(100)
			if r.IntN(50) == 0 {
				cost = r.Int64N(most + 1)
			}
			if got, want := c.Put(k, v, cost), m.put(k, v, cost); got != want {
				t.Fatalf("step %d: Put gives %v, want %v", step, got, want)
			}
		case op < 995:
			odd := func(v *int) bool { return op < 950 || *v%2 == 1 }
			i := m.find(k)
			want := i >= 0 && odd(m.list[i].v)
			if want {
				m.drop(i, Removed)
			}
			e := c.PeekEntry(k)
			if got := e != nil && odd(e.Value) && (op%2 == 0 && c.Remove(k) || op%2 != 0 && c.RemoveEntry(e)); got != want {
				t.Fatalf("step %d: removing gives %v, want %v", step, got, want)
			}
		default:
			c.Clear()
			for len(m.list) > 0 {
				m.drop(0, Cleared)
			}
		}
		if !slices.Equal(left, m.left) {
			t.Fatalf("step %d: left %v, want %v", step, left, m.left)
		}
		left, m.left = nil, nil
		if c.Bytes() != m.bytes() || c.Len() != len(m.list) {
			t.Fatalf("step %d: %d entries, %d bytes; want %d, %d", step, c.Len(), c.Bytes(), len(m.list), m.bytes())
		}
		check(t, c)
	}
}

// TestAnyCacheHoldsWhatWasPut cannot know which entries are left, but an entry that is there has the latest value,
// and one that is not has left.
func TestAnyCacheHoldsWhatWasPut(t *testing.T) {
	for _, kind := range append(kinds, kind{LRU, 16}) {
		t.Run(fmt.Sprint(kind), func(t *testing.T) { holdsWhatWasPut(t, kind) })
	}
}

func holdsWhatWasPut(t *testing.T, kind kind) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	there := map[Key]int{}
	config := Config[int]{MaxEntries: 1500, MaxBytes: 1500 * (Overhead + 100), Shards: kind.shards, Policy: kind.policy}
	config.OnRemove = func(e *Entry[int], _ Reason) {
		k, v := e.Key(), e.Value
		if there[k] == v {
			delete(there, k)
		}
	}
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	for step := 1; step <= 60_000; step++ {
		k := testKey(r.IntN(4000))
		switch op := r.IntN(100_000); {
		case op < 50_000:
			if got, ok := c.Get(k); got != there[k] || ok != (there[k] != 0) {
				t.Fatalf("step %d: Get gives %v, %v; want %v", step, got, ok, there[k])
			}
		case op < 90_000:
			there[k] = step
			if cost := r.Int64N(200); !c.Put(k, step, cost) {
				t.Fatalf("step %d: cost %d refused", step, cost)
			}
		case op < 99_995:
			want := there[k] != 0
			if got := c.Remove(k); got != want {
				t.Fatalf("step %d: Remove gives %v, want %v", step, got, want)
			}
		default:
			c.Clear()
			if len(there) != 0 {
				t.Fatalf("step %d: not cleared: %v", step, there)
			}
		}
		if c.Len() != len(there) {
			t.Fatalf("step %d: %d entries, want %d", step, c.Len(), len(there))
		}
		if step%500 == 0 {
			check(t, c)
		}
	}
}
