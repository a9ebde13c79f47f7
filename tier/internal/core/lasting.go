package core

import (
	"cmp"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"weak"

	"github.com/tiercache/tiercache/tier/internal/record"
	"github.com/tiercache/tiercache/tier/internal/session"
	"github.com/tiercache/tiercache/tier/internal/spaces"
	"github.com/tiercache/tiercache/tier/internal/stripe"
)

// Lasting is what there is of a namespace for as long as a view, a load or a local copy refers to it. It is small, since a
// service may have a view for each of very many tenants. All the rest is the Namespace: that is made when it is used, and gone
// when it is not used any more.
type Lasting struct {
	path string
	// The next ones are guarded by the mutex of Namespaces.
	root weak.Pointer[View] // see View
	used *usedNamespace     // nil: none is
	past stripe.Past        // what was counted before

	declared session.Declared
	warmed   atomic.Bool // a view has begun to read what is hot elsewhere
}

// usedNamespace is the part of a Lasting that is there while there is a Namespace.
type usedNamespace struct {
	Counters
	latest weak.Pointer[Namespace]
	alive  int // of all Namespaces that count here, those that are not gone
}

// Namespaces has those of a store.
type Namespaces struct {
	mu     sync.Mutex // guards what follows, and fields of Lasting
	table  spaces.Table[Lasting]
	opened []weak.Pointer[View] // that have a Cache, and some that are gone
	most   int                  // of opened, before those that are gone are looked for
	// rootIsGone is Store.rootIsGone, as one value for all.
	rootIsGone func(*Lasting)
}

// admitLocked makes v a view of the namespace of path. It fails while there is a view of another shape.
func (s *Store) admitLocked(path string, v *View) error {
	l := s.Namespaces.table.Get(path, func() *Lasting { return &Lasting{path: path} })
	root := l.root.Value()
	// guard: I2-refuse-mixed-views
	if root != nil && root.plan.shape != v.plan.shape {
		return record.MixedViews(path, root.plan.shape, v.plan.shape)
	}
	if l.used != nil {
		if ns := l.used.latest.Value(); ns != nil {
			ns.Kinds.Admit(v.plan.shape)
		}
	}
	v.ns, v.root = l, root
	if root == nil {
		l.root = weak.Make(v)
		if s.Namespaces.rootIsGone == nil {
			s.Namespaces.rootIsGone = s.rootIsGone
		}
		runtime.AddCleanup(v, s.Namespaces.rootIsGone, l)
	}
	return nil
}

// namespaceLocked returns the Namespace, which is made if there is none.
func (s *Store) namespaceLocked(l *Lasting) *Namespace {
	if l.used == nil {
		l.used = &usedNamespace{}
		l.used.Init(&s.Total, s.Hits.New())
	}
	if ns := l.used.latest.Value(); ns != nil {
		return ns
	}
	ns := &Namespace{lasting: l, Stats: &l.used.Counters}
	unpin := ns.Init(&s.Session, l.path, &l.declared)
	l.used.latest = weak.Make(ns)
	l.used.alive++
	runtime.AddCleanup(ns, func(l *Lasting) {
		unpin()
		s.namespaceIsGone(l)
	}, l)
	return ns
}

// namespaceIsGone is called for each Namespace: nothing counts in it any more.
func (s *Store) namespaceIsGone(l *Lasting) {
	s.Namespaces.mu.Lock()
	defer s.Namespaces.mu.Unlock()
	l.used.alive--
	// guard: counts-outlast-namespace
	if l.used.alive > 0 { // there is another one already
		return
	}
	all := l.figuresLocked()
	s.Hits.Release(l.used.LocalHits)
	l.used, l.past = nil, stripe.PastOf(all[:])
	s.removeUnusedLocked(l)
}

// rootIsGone is called for each root of a namespace's views.
func (s *Store) rootIsGone(l *Lasting) {
	s.Namespaces.mu.Lock()
	defer s.Namespaces.mu.Unlock()
	s.removeUnusedLocked(l)
}

// removeUnusedLocked forgets l if nothing is left of it. It is called more than once, if there was another root:
//
//	a view, the root, is dropped; another is made, which is the next root, and dropped
//	the cleanup of the first root: forgets the namespace
//	a view is made: there is a new Lasting of the path
//	the cleanup of the second root: leaves that alone
func (s *Store) removeUnusedLocked(l *Lasting) {
	// guard: namespace-of-same-path
	if s.Namespaces.table.Find(l.path) != l {
		return
	}
	// guard: namespace-in-use-stays
	if l.used == nil && l.root.Value() == nil {
		s.Namespaces.table.Remove(l.path)
	}
}

// figuresLocked returns all that was counted in the namespace, as Counters.figures does.
func (l *Lasting) figuresLocked() (all [numCounts + 1]int64) {
	l.past.Of(all[:])
	if l.used != nil {
		for i, n := range l.used.figures() {
			all[i] += n
		}
	}
	return all
}

// Counts calls tell with what was counted in at most spaces.Most namespaces, local hits apart, and returns how many there are.
func (s *Store) Counts(tell func(path string, c *Counters, localHits int64)) (namespaces int) {
	s.Namespaces.mu.Lock()
	listed := s.Namespaces.table.Listed()
	all := make([][numCounts + 1]int64, len(listed))
	for i, l := range listed {
		all[i] = l.figuresLocked()
	}
	namespaces = s.Namespaces.table.Len()
	s.Namespaces.mu.Unlock()
	for i, l := range listed {
		c := &Counters{}
		for k, one := range c.All() {
			one.Add(all[i][k])
		}
		tell(l.path, c, all[i][numCounts])
	}
	return namespaces
}

// eachNamespace calls f with those that are used, in the order of their paths.
func (s *Store) eachNamespace(f func(ns *Namespace)) {
	var all []*Namespace
	s.Namespaces.mu.Lock()
	for _, l := range s.Namespaces.table.All() {
		if l.used == nil {
			continue
		}
		if ns := l.used.latest.Value(); ns != nil {
			all = append(all, ns)
		}
	}
	s.Namespaces.mu.Unlock()
	slices.SortFunc(all, func(a, b *Namespace) int { return cmp.Compare(a.Path, b.Path) })
	for _, ns := range all {
		f(ns)
	}
}
