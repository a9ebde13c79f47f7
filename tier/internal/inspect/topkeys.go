package inspect

import (
	"cmp"
	"slices"
	"strings"
)

// mostKeys is how many keys are counted at a time. A key that is read in more than that part of all reads is always among them
// (Metwally et al., "Efficient computation of frequent and top-k elements", 2005).
const mostKeys = 256

// topKeys counts the most frequent of very many keys. When a key comes that is not counted, it takes the place of the one with the
// lowest count, and goes on from that: so a count may be too high by what it began with, which is subtracted, and is then too low.
type topKeys struct {
	counts map[Key]*counted
	least  []*counted // a heap: the lowest count first
}

type counted struct {
	key          Key
	count, began float64
	at           int // in the heap
}

func (t *topKeys) add(k Key, weight float64) {
	if c := t.counts[k]; c != nil {
		c.count += weight
		t.sink(c)
		return
	}
	if t.counts == nil {
		t.counts = make(map[Key]*counted)
	}
	k.Name = strings.Clone(k.Name) // it may be part of something larger
	if len(t.least) < mostKeys {
		c := &counted{key: k, count: weight, at: len(t.least)}
		t.counts[k], t.least = c, append(t.least, c)
		for i := c.at; i > 0 && t.least[(i-1)/2].count > t.least[i].count; i = (i - 1) / 2 {
			t.swap(i, (i-1)/2)
		}
		return
	}
	c := t.least[0]
	delete(t.counts, c.key)
	t.counts[k] = c
	c.key, c.began, c.count = k, c.count, c.count+weight
	t.sink(c)
}

// sink restores the order of the heap after a count has grown.
func (t *topKeys) sink(c *counted) {
	for {
		i, below := c.at, 2*c.at+1
		if below+1 < len(t.least) && t.least[below+1].count < t.least[below].count {
			below++
		}
		if below >= len(t.least) || t.least[below].count >= c.count {
			return
		}
		t.swap(i, below)
	}
}

func (t *topKeys) swap(i, j int) {
	t.least[i], t.least[j] = t.least[j], t.least[i]
	t.least[i].at, t.least[j].at = i, j
}

// merge returns the keys with the highest counts of both.
func merge(a, b *topKeys, most int) []counted {
	sums := make(map[Key]float64, mostKeys)
	for _, t := range []*topKeys{a, b} {
		for _, c := range t.least {
			sums[c.key] += c.count - c.began
		}
	}
	top := make([]counted, 0, len(sums))
	for k, n := range sums {
		top = append(top, counted{key: k, count: n})
	}
	slices.SortFunc(top, func(a, b counted) int {
		return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(a.key.Namespace, b.key.Namespace), cmp.Compare(a.key.Name, b.key.Name))
	})
	return top[:min(most, len(top))]
}
