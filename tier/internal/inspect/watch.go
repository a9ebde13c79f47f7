package inspect

import (
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tiercache/tiercache/internal/mono"
)

// Kind is what took time.
type Kind uint8

// The kinds. Those from KindLoad on are in the order of tier.EventKind.
const (
	KindRemoteHit  Kind = iota // a read that the remote tier answered
	KindLoadedRead             // a read that waited for a loader, its own caller's or another's
	KindLoad                   // a run of a loader
	KindFill                   // a loaded value was stored
	KindWrite                  // Set or Delete
	KindInvalidate             // an invalidation was recorded
	numKinds

	KindNone = numKinds // is counted, and not measured
)

// Watch samples which keys are read, and measures how long work takes, while there are users of it. The zero Watch has none, and
// costs a hit one comparison.
//
// A local hit takes some 30 ns, so only a part of the hits is looked at. That part is adapted: all of them while there are few, so
// that a page shows something where there is little traffic, and about targetSamples a second where there is much.
type Watch struct {
	threshold atomic.Uint64 // a read is sampled if its scrambled number is below; 0: none is
	users     atomic.Int32
	_         [64]byte // keeps what is written below from slowing hits, which read the threshold

	mu struct {
		sync.Mutex               // guards what follows; it is not taken for reads that are not sampled
		now, before    *window   // nil without users
		taken          int       // samples in this window
		lastAdaptation mono.Time // of the threshold
	}
}

// window is what was seen in a time of windowLength.
type window struct {
	begun mono.Time
	keys  topKeys
	times [numKinds]histogram
}

const (
	windowLength = 30 * time.Second
	// targetSamples is how many reads a second are sampled, where there are more.
	targetSamples = 1000
	adaptEvery    = time.Second
	all           = math.MaxUint64
	// golden is 2^64 divided by the golden ratio: multiples of it are spread so evenly that a part of them that lies below a
	// threshold does not fall into step with reads that go round a number of keys.
	golden = 0x9e3779b97f4a7c15
)

// Start begins to watch, or to watch for one user more.
func (w *Watch) Start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.users.Add(1) == 1 {
		now := mono.Now()
		w.mu.now, w.mu.before = &window{begun: now}, &window{begun: now}
		w.mu.taken, w.mu.lastAdaptation = 0, now
		w.threshold.Store(all)
	}
}

// Stop ends what Start began.
func (w *Watch) Stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.users.Add(-1) == 0 {
		w.threshold.Store(0)
		w.mu.now, w.mu.before = nil, nil
	}
}

// IsDue reports whether the read with this number, of those that are counted together, is to be sampled.
func (w *Watch) IsDue(n int64) bool { return uint64(n)*golden < w.threshold.Load() }

// Take counts a read that is due.
func (w *Watch) Take(namespace, key string) {
	now := mono.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.takeLocked(now, namespace, key)
}

func (w *Watch) takeLocked(now mono.Time, namespace, key string) {
	part := w.threshold.Load()
	if part == 0 {
		return // the last user has just gone
	}
	w.turnLocked(now)
	w.mu.now.keys.add(Key{namespace, key}, float64(all)/float64(part))
	if w.mu.taken++; w.mu.taken > 2*targetSamples {
		w.adaptLocked(now)
	}
}

// adaptLocked has a larger or smaller part of the reads sampled, when a second has passed or too many were.
func (w *Watch) adaptLocked(now mono.Time) {
	part := w.threshold.Load()
	over := w.mu.taken > 2*targetSamples
	if passed := now.Sub(w.mu.lastAdaptation); part == 0 || !over && passed < adaptEvery {
		return
	}
	switch {
	case over:
		part = max(part>>2, 1<<32)
	case w.mu.taken < targetSamples/2 && part < all:
		part = part<<1 | 1
	}
	w.threshold.Store(part)
	w.mu.taken, w.mu.lastAdaptation = 0, now
}

// turnLocked begins a new window when the present one is over.
func (w *Watch) turnLocked(now mono.Time) {
	w.adaptLocked(now)
	switch passed := now.Sub(w.mu.now.begun); {
	case passed >= 2*windowLength:
		w.mu.before, w.mu.now = &window{begun: now.Add(-windowLength)}, &window{begun: now}
	case passed >= windowLength:
		w.mu.before, w.mu.now = w.mu.now, &window{begun: now}
	}
}

// Read counts a read that no fast path answered, and that began at a time. Local says that the local tier answered it, and then
// it is counted as a hit is.
func (w *Watch) Read(kind Kind, began mono.Time, namespace, key string) {
	part := w.threshold.Load()
	if part == 0 {
		return
	}
	now := mono.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	if part == all || rand.Uint64() < part {
		w.takeLocked(now, namespace, key)
	}
	if began != 0 && kind < numKinds && w.mu.now != nil {
		w.turnLocked(now)
		w.mu.now.times[kind].add(now.Sub(began))
	}
}

// Took counts work that took a time.
func (w *Watch) Took(kind Kind, took time.Duration) {
	if w.threshold.Load() == 0 || kind >= numKinds || took <= 0 {
		return
	}
	now := mono.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mu.now == nil {
		return // the last user has just gone
	}
	w.turnLocked(now)
	w.mu.now.times[kind].add(took)
}

// Seen is what was seen in about the last half to full minute.
type Seen struct {
	Span time.Duration
	// Hottest are the keys that were read most, by estimated reads a second.
	Hottest []Hot
	// OneIn: of so many reads one was looked at, at last.
	OneIn float64
	Times [numKinds]Times
}

// Key is one of a namespace.
type Key struct{ Namespace, Name string }

// Hot is a key, and how often it is read.
type Hot struct {
	Key
	PerSecond float64
}

// Times sums up how long work of one kind took.
type Times struct {
	Count         int64
	P50, P99, Max time.Duration
}

// Now returns what was seen, with up to so many keys.
func (w *Watch) Now(most int) Seen {
	now := mono.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	part := w.threshold.Load()
	if part == 0 {
		return Seen{}
	}
	w.turnLocked(now)
	s := Seen{Span: max(now.Sub(w.mu.before.begun), time.Second), OneIn: float64(all) / float64(part)}
	for _, k := range merge(&w.mu.before.keys, &w.mu.now.keys, most) {
		s.Hottest = append(s.Hottest, Hot{k.key, k.count / s.Span.Seconds()})
	}
	for i := range s.Times {
		h := w.mu.before.times[i]
		h.merge(&w.mu.now.times[i])
		s.Times[i] = Times{Count: h.count, P50: h.quantile(0.5), P99: h.quantile(0.99), Max: h.longest}
	}
	return s
}
