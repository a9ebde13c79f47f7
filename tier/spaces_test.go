package tier_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/embedded"
	"github.com/tiercache/tiercache/tier"
)

// collected runs the garbage collector until done.
func collected(t *testing.T, what string, done func() bool) {
	t.Helper()
	eventually(t, what, func() bool {
		runtime.GC()
		return done()
	})
}

func TestANamespaceThatIsNotUsedAnyMoreIsGone(t *testing.T) {
	f := embeddedFleet(t, nil)
	s := f.process()
	const tenants = 1000
	for i := range tenants {
		c := view[string](t, s, fmt.Sprint("tenant:", i), tier.WithRemoteOnly())
		find(t, c, "k", is("v"))
		find(t, c, "k", unneeded)
	}
	kept := view[string](t, s, "kept")
	find(t, kept, "k", is("v"))
	find(t, kept, "k", unneeded)
	eventually(t, "all is stored", func() bool { return s.Stats().Fills == tenants+1 })
	before := s.Stats()
	require.Equal(t, int64(2*tenants+2), before.Reads())
	collected(t, "the tenants are gone", func() bool { st := s.Stats(); return len(st.Namespaces)+st.Unlisted == 1 })
	after := s.Stats()
	require.Equal(t, before.Counts, after.Counts, "what they have counted is not")
	runtime.KeepAlive(kept)

	c := view[string](t, s, "tenant:7")
	require.Equal(t, "v", find(t, c, "k", unneeded).Value)
	require.Equal(t, int64(1), s.Stats().Namespaces["tenant:7"].Reads(), "it begins anew")
	require.Equal(t, after.Reads()+1, s.Stats().Reads())
	runtime.KeepAlive(c)
}

// A copy in the local tier keeps its namespace, and with it the kind of its views.
func TestANamespaceLastsAsLongAsItsCopies(t *testing.T) {
	f := embeddedFleet(t, nil)
	s := f.process()
	c := view[string](t, s, "docs")
	find(t, c, "k", is("v"))
	c = nil
	for range 5 {
		runtime.GC()
	}
	c = view[string](t, s, "docs")
	require.Equal(t, tier.Local, find(t, c, "k", unneeded).Origin)
	require.Equal(t, int64(2), s.Stats().Namespaces["docs"].Reads())
	require.NoError(t, c.Delete(t.Context(), "k"))
	runtime.KeepAlive(c)
	// What the local tier has noted of its hits may still refer to the copy, until there are others.
	other, n := view[int](t, s, "other"), 0
	collected(t, "it is gone", func() bool {
		for range 100 {
			n++
			find(t, other, fmt.Sprint(n%10), is(1))
		}
		return len(s.Stats().Namespaces) == 1
	})
	runtime.KeepAlive(other)
}

func TestTheListOfNamespacesIsBounded(t *testing.T) {
	f := embeddedFleet(t, nil)
	s := f.process()
	var all []*tier.Cache[int]
	for i := range 300 {
		c := view[int](t, s, fmt.Sprint("tenant:", i))
		find(t, c, "k", is(i))
		all = append(all, c)
	}
	st := s.Stats()
	require.Len(t, st.Namespaces, 200)
	require.Equal(t, 100, st.Unlisted)
	require.Equal(t, int64(300), st.Reads())
	for range 3 {
		for path := range s.Stats().Namespaces {
			require.Contains(t, st.Namespaces, path, "the same ones")
		}
	}
	runtime.KeepAlive(all)
}

// Run with -bench: the time of Stats, and the memory of a namespace that is in use by a view alone.
func BenchmarkStatsOfNamespaces(b *testing.B) {
	for _, n := range []int{100, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, err := tier.Open(b.Context(), tier.WithRemote(embedded.New(0)))
			require.NoError(b, err)
			defer s.Close()
			paths := make([]string, n)
			for i := range paths {
				paths[i] = fmt.Sprint("tenant:", i)
			}
			heap := func() uint64 {
				var m runtime.MemStats
				runtime.GC()
				runtime.GC()
				runtime.ReadMemStats(&m)
				return m.HeapAlloc
			}
			all := make([]*tier.Cache[int], n)
			first, err := tier.New[int](s, "one")
			require.NoError(b, err)
			before := heap()
			for i := range all {
				all[i], err = tier.New[int](s, "one")
				require.NoError(b, err)
			}
			one := heap()
			clear(all)
			before2 := heap()
			for i, path := range paths {
				all[i], err = tier.New[int](s, path)
				require.NoError(b, err)
			}
			each := heap()
			least := time.Hour
			for b.Loop() {
				begun := time.Now()
				s.Stats()
				least = min(least, time.Since(begun))
			}
			b.ReportMetric(float64(least.Microseconds()), "µs-least")
			b.ReportMetric((float64(each-before2)-float64(one-before))/float64(n), "B/namespace")
			runtime.KeepAlive(all)
			runtime.KeepAlive(first)
		})
	}
}
