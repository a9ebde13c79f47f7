package local

import "math"

// adaptive is a tinyLFU with the window of the miniature that has missed least recently.
//
// A miniature is the same policy over a sample of the keys, in a cache that is smaller by the same factor. So no window
// is tried out on the users' entries, and a change costs little: only the share of the window changes. The miniatures
// see what the shard's policy sees: values stored, and uses worth recording. The uses that are skipped, because the
// entry was used just before, would be hits in all of them.
type adaptive[V any] struct {
	tinyLFU[V]
	trials trials
}

func newAdaptive[V any](maxEntries, maxBytes int64) *adaptive[V] {
	p := &adaptive[V]{tinyLFU: *newTinyLFU[V](&frequency{}, windows[firstWindow])}
	p.trials.init(maxEntries, maxBytes)
	return p
}

func (p *adaptive[V]) add(e *Entry[V]) {
	p.tinyLFU.add(e)
	p.sample(e)
}

func (p *adaptive[V]) replace(old, e *Entry[V]) {
	p.tinyLFU.replace(old, e)
	p.sample(e)
}

func (p *adaptive[V]) use(e *Entry[V]) {
	if p.has(e) {
		p.tinyLFU.use(e)
		p.sample(e)
	}
}

func (p *adaptive[V]) sample(e *Entry[V]) {
	if p.trials.sampled(e.key) {
		p.window = p.trials.use(e.key, e.cost)
	}
}

// windows are the shares to choose from: W-TinyLFU as published, two between, and an LRU.
var windows = [...]float64{0.01, 0.2, 0.6, 1}

const (
	firstWindow  = 0     // until another one is ahead: scans and loops exist from the start, frequently used keys do not
	mostSampled  = 512   // entries in a miniature; beyond that the sample is halved
	roundsPerAge = 16    // scores halve after this many uses for each entry of a miniature
	clearlyAhead = 0.005 // of the uses
	beyondChance = 6     // times the root of the lead: with 2, needless changes cost 1.4 points of a short scan
	usesPerLook  = 16
)

// trials are the miniatures.
type trials struct {
	maxEntries, maxBytes float64 // of the miniatures; 0: no such bound
	below                uint64  // a key is sampled if the low half of its hash's high word is less
	frequency            frequency
	minis                [len(windows)]mini
	misses               [len(windows)]float64 // recent ones: the scores
	uses                 float64               // recent ones, of which the misses are a part
	since                int                   // uses since the scores were compared
	chosen               int
}

func (t *trials) init(maxEntries, maxBytes int64) {
	*t = trials{maxEntries: float64(maxEntries), maxBytes: float64(maxBytes), below: 1 << 32, chosen: firstWindow}
	for i := range t.minis {
		t.minis[i].init(&t.frequency, windows[i])
	}
	for t.maxEntries > mostSampled {
		t.halve()
	}
}

func (t *trials) sampled(k Key) bool { return k.Hi&math.MaxUint32 < t.below }

func (t *trials) halve() {
	t.below /= 2
	t.maxEntries /= 2
	t.maxBytes /= 2
	for i := range t.minis {
		t.minis[i].keep(t.sampled)
	}
}

// use records a use of k in all miniatures, and returns the best window.
func (t *trials) use(k Key, cost int64) float64 {
	t.frequency.count(k, t.minis[0].policy.len())
	most := 0
	for i := range t.minis {
		m := &t.minis[i]
		if !m.use(k, cost, t.maxEntries, t.maxBytes) {
			t.misses[i]++
		}
		most = max(most, m.policy.len())
	}
	t.uses++
	if t.since++; t.since >= usesPerLook {
		t.choose(most)
	}
	for most > mostSampled {
		t.halve()
		most /= 2
	}
	return windows[t.chosen]
}

// choose changes to the best window if it is clearly ahead: by a share of the uses, and by more than chance explains.
func (t *trials) choose(entries int) {
	best := t.chosen
	for i, n := range t.misses {
		if n < t.misses[best] {
			best = i
		}
	}
	lead := t.misses[t.chosen] - t.misses[best]
	if lead > clearlyAhead*t.uses && lead > beyondChance*math.Sqrt(lead) {
		t.chosen = best
	}
	keep := math.Exp2(-float64(t.since) / float64(roundsPerAge*max(entries, 64)))
	for i := range t.misses {
		t.misses[i] *= keep
	}
	t.uses *= keep
	t.since = 0
}

// mini is a cache without values.
type mini struct {
	policy *tinyLFU[struct{}]
	index  index[struct{}]
	bytes  float64
	reuse  *Entry[struct{}] // the entry evicted last, to be used again
}

func (m *mini) init(f *frequency, window float64) {
	m.policy = newTinyLFU[struct{}](f, window)
	m.policy.counts = false
	m.index.init()
}

// use reports whether k was there, and stores it if it was not.
func (m *mini) use(k Key, cost int64, maxEntries, maxBytes float64) bool {
	if e := m.index.find(k); e != nil {
		m.policy.use(e)
		return true
	}
	e := m.reuse
	if e == nil {
		e = new(Entry[struct{}])
	}
	m.reuse = nil
	e.key, e.cost = k, cost
	m.index.put(e)
	m.policy.add(e)
	m.bytes += float64(cost)
	for maxEntries > 0 && float64(m.policy.len()) > maxEntries || maxBytes > 0 && m.bytes > maxBytes {
		v := m.policy.victim(noAge)
		if v == e {
			break // the only entry, and too large for a miniature
		}
		m.drop(v)
	}
	return false
}

func (m *mini) drop(e *Entry[struct{}]) {
	m.policy.remove(e)
	m.index.remove(e.key)
	m.bytes -= float64(e.cost)
	m.reuse = e
}

// keep drops the keys that are not sampled any more.
func (m *mini) keep(sampled func(Key) bool) {
	for _, e := range m.policy.all() {
		if !sampled(e.key) {
			m.drop(e)
		}
	}
	if m.policy.compact() {
		m.index.rebuild()
	}
}
