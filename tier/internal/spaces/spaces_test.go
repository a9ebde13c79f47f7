package spaces

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"weak"

	"github.com/stretchr/testify/require"
)

type space struct{ path string }

func TestASpaceIsReleasedOnceNothingRefersToIt(t *testing.T) {
	var table Table[space]
	var released atomic.Int32
	get := func(i int) *space {
		path := fmt.Sprint(i)
		return table.Get(path, func() (*space, func()) { return &space{path}, func() { released.Add(1) } })
	}
	const n = Most + 20
	kept := make([]*space, n)
	for i := range kept {
		kept[i] = get(i)
		require.Same(t, kept[i], get(i))
	}
	require.Equal(t, n, table.Len())
	require.Len(t, table.All(), n)
	require.Len(t, table.Listed(), Most)
	for i := range 50 {
		kept[i] = nil
	}
	for table.Len() > n-50 {
		runtime.GC()
	}
	require.Len(t, table.Listed(), n-50, "others have taken their places")
	runtime.KeepAlive(kept)
	clear(kept)
	for table.Len() > 0 || released.Load() < n {
		runtime.GC()
	}
	require.Empty(t, table.Listed())
	require.Empty(t, table.All())
	require.Equal(t, int32(n), released.Load())
}

// The cleanup of a namespace may come when there is another of its path.
func TestTheCleanupOfANamespaceLeavesTheNextOneAlone(t *testing.T) {
	var table Table[space]
	create := func() (*space, func()) { return &space{}, func() {} }
	first := table.Get("a", create)
	gone := weak.Make(&space{}) // stands for one before
	table.remove("a", gone)
	require.Same(t, first, table.Get("a", create))
	require.Len(t, table.Listed(), 1)
	runtime.KeepAlive(first)
}
