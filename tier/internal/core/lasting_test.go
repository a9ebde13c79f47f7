package core

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/tier/internal/stripe"
)

// A namespace that is used again before the cleanup of the Namespace before has run counts in the same counters.
func TestTheCountsOfANamespaceOutlastIt(t *testing.T) {
	s := &Store{}
	l := s.Namespaces.table.Get("docs", func() *Lasting { return &Lasting{path: "docs"} })
	use := func(alive int) *Counters {
		l.used = &usedNamespace{alive: alive}
		l.used.Init(&s.Total, s.Hits.New())
		return &l.used.Counters
	}
	c := use(2)
	c.Loads.Add(3)
	c.LocalHits.Add()
	s.namespaceIsGone(l)
	c.Loads.Add(1)
	c.LocalHits.Add()
	s.namespaceIsGone(l)
	require.Nil(t, l.used)
	c = use(1)
	c.Stale.Add(5)
	s.namespaceIsGone(l)
	all := l.figuresLocked()
	var sum Counters
	for i, one := range sum.All() {
		one.Add(all[i])
	}
	require.Equal(t, []int64{4, 5, 2}, []int64{sum.Loads.Load(), sum.Stale.Load(), all[numCounts]})
	require.Equal(t, []int64{4, 5, 2}, []int64{s.Total.Loads.Load(), s.Total.Stale.Load(), s.Hits.Sum()})
	require.NotEqual(t, stripe.Past(""), l.past)
}

// The cleanup of a namespace's root may come when there is another namespace of that path.
func TestTheCleanupOfANamespaceLeavesTheNextOneAlone(t *testing.T) {
	s := &Store{}
	admit := func() *View {
		v := &View{plan: &Plan{s: s}}
		require.NoError(t, s.admitLocked("docs", v))
		return v
	}
	v := admit()
	gone := &Lasting{path: "docs"} // stands for one before
	s.rootIsGone(gone)
	require.Same(t, v.ns, s.Namespaces.table.Find("docs"))
	require.Same(t, v, admit().root)
	s.rootIsGone(v.ns)
	require.Same(t, v.ns, s.Namespaces.table.Find("docs"), "there is a view")
	runtime.KeepAlive(v)
}
