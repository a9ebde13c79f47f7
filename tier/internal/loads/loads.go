// Package loads has what the loads of a process have to do with each other: how many run at once, and
// which wait for which.
package loads

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// ErrFull is returned by Take where as many loads wait as may.
var ErrFull = errors.New("as many loads are waiting as may")

// mu guards what is marked below, of all stores: loaders of one wait for loads of another.
var mu sync.Mutex

// Load is one run of a loader.
type Load struct {
	Space, Key string // of its first key, for messages
	More       int    // how many keys it has besides
	// Parent is the load whose loader waits for this one, if one does.
	Parent  *Load
	Targets []*Target // the results that it is to make
	Run     any       // the run, which the package does not look at

	// Guarded by mu.
	place  *place
	queue  *Places       // in which it waits
	turn   chan struct{} // is closed when it gets a place
	awaits []*Target     // what its loader waits for now
}

// Target is a result that loaders may wait for.
type Target struct {
	load    atomic.Pointer[Load] // which makes it
	waiters []*Load              // whose loaders wait for it; guarded by mu
}

// MadeBy says which load makes t from now on.
func (t *Target) MadeBy(l *Load) { t.load.Store(l) }

// Waiters returns the loads whose loaders wait for t now.
func (t *Target) Waiters() []*Load {
	mu.Lock()
	defer mu.Unlock()
	return slices.Clone(t.waiters)
}

// Places bounds the loads that run at once. A nil *Places bounds none.
type Places struct {
	most    int
	used    int     // guarded by mu
	waiting []*Load // in the order in which they get a place; guarded by mu
}

// place is that of a load, and of those for which its loader waits.
type place struct {
	of   *Places
	held int // by how many loads; guarded by mu
}

// WaitingPerPlace is how many loads may wait for each place.
const WaitingPerPlace = 4

// NewPlaces returns n places; nil, which bounds nothing, if n is 0.
func NewPlaces(n int) *Places {
	if n == 0 {
		return nil
	}
	return &Places{most: n}
}

// Take gets l a place: that of the load whose loader waits for it, or a free one, or, if waits, the next
// one. It returns ErrFull if too many wait already, or the cause of ctx's end.
func (p *Places) Take(ctx context.Context, l *Load, waits bool) error {
	if p == nil {
		return nil
	}
	mu.Lock()
	switch {
	case p.inheritLocked(l):
	case p.used < p.most: // then none waits
		p.used++
		l.place = &place{of: p, held: 1}
	// guard: bounded-queue-of-loads
	// guard: renewals-take-free-places
	case !waits || len(p.waiting) >= WaitingPerPlace*p.most:
		mu.Unlock()
		return ErrFull
	default:
		l.queue, l.turn = p, make(chan struct{})
		p.waiting = append(p.waiting, l)
	}
	turn := l.turn
	mu.Unlock()
	if turn == nil {
		return nil
	}
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	mu.Lock()
	defer mu.Unlock()
	if l.place == nil {
		p.dequeueLocked(l)
		return context.Cause(ctx)
	}
	return nil // it got one meanwhile
}

// inheritLocked gives l the place of a load whose loader waits for l.
func (p *Places) inheritLocked(l *Load) bool {
	// guard: nested-load-uses-place-of-parent
	if l.Parent.lendLocked(p, l) {
		return true
	}
	for _, t := range l.Targets {
		for _, w := range t.waiters {
			if w.lendLocked(p, l) {
				return true
			}
		}
	}
	return false
}

// lendLocked has to share the place that l, or a load whose loader waits for l, has among p.
func (l *Load) lendLocked(p *Places, to *Load) bool {
	for a := l; a != nil; a = a.Parent {
		if a.place != nil && a.place.of == p {
			a.place.held++
			to.place = a.place
			return true
		}
	}
	return false
}

func (p *Places) dequeueLocked(l *Load) {
	if i := slices.Index(p.waiting, l); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
	}
	l.queue = nil
}

// Release gives up l's place, once. The next load gets it when no load has it any more.
func (p *Places) Release(l *Load) {
	if p == nil {
		return
	}
	mu.Lock()
	defer mu.Unlock()
	if l.place == nil {
		return
	}
	pl := l.place
	l.place = nil
	if pl.held--; pl.held > 0 {
		return
	}
	if len(p.waiting) == 0 {
		p.used--
		return
	}
	next := p.waiting[0]
	p.dequeueLocked(next)
	next.place = &place{of: p, held: 1}
	close(next.turn)
}

// Await notes that a loader of l waits for t, until done is called. It returns the loads of a cycle if
// t waits for l: then the wait would not end.
//
//	a loader of a waits for b, which another caller has begun to load
//	the loader of b waits for a
//
// If the load of t waits for a place it shares l's: it would wait for a place that only its own end frees.
func (l *Load) Await(t *Target) (done func(), cycle []*Load) {
	mu.Lock()
	defer mu.Unlock()
	// guard: loads-that-wait-for-each-other
	if cycle = l.cycleLocked(t); cycle != nil {
		return nil, cycle
	}
	l.awaits, t.waiters = append(l.awaits, t), append(t.waiters, l)
	// guard: queued-load-shares-place
	if made := t.load.Load(); made != nil && made.queue != nil && l.lendLocked(made.queue, made) {
		made.queue.dequeueLocked(made)
		close(made.turn)
	}
	return func() {
		mu.Lock()
		defer mu.Unlock()
		l.awaits, t.waiters = without(l.awaits, t), without(t.waiters, l)
	}, nil
}

// without removes one occurrence of x.
func without[T comparable](all []T, x T) []T {
	if i := slices.Index(all, x); i >= 0 {
		return slices.Delete(all, i, i+1)
	}
	return all
}

// cycleLocked returns the loads from that of t to l, if each waits for the next.
func (l *Load) cycleLocked(t *Target) []*Load {
	seen := make(map[*Load]bool)
	var walk func(t *Target) []*Load
	walk = func(t *Target) []*Load {
		at := t.load.Load()
		if at == nil || seen[at] {
			return nil
		}
		if at == l {
			return []*Load{l}
		}
		seen[at] = true
		for _, next := range at.awaits {
			if rest := walk(next); rest != nil {
				return append([]*Load{at}, rest...)
			}
		}
		return nil
	}
	return walk(t)
}

// Describe names the loads of a cycle.
func Describe(cycle []*Load) string {
	var b strings.Builder
	for i, l := range cycle {
		if i > 0 {
			b.WriteString(", which waits for ")
		}
		b.WriteString(l.name())
	}
	return b.String() + ", which waits for " + cycle[0].name()
}

// mostNamed is how many bytes of a key a message has.
const mostNamed = 80

func (l *Load) name() string {
	name := l.Space + " " + strconv.Quote(l.Key[:min(len(l.Key), mostNamed)])
	if l.More > 0 {
		name += " and " + strconv.Itoa(l.More) + " more"
	}
	return name
}
