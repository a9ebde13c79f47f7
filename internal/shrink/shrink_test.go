package shrink

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAMapThatIsEmptiedGivesItsMemoryBack(t *testing.T) {
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	const n = 1 << 17
	m, peak, copies := make(map[int]int), Peak(0), 0
	for i := range n {
		m[i] = i
	}
	full := heap()
	for i := range n - 10 {
		delete(m, i)
		before := peak
		m = AfterDelete(m, &peak)
		if peak < before {
			copies++
		}
	}
	require.Greater(t, full-heap(), int64(16*n), "of keys and values")
	require.Less(t, copies, 10, "now and then")
	require.Len(t, m, 10)
	for i := n - 10; i < n; i++ {
		require.Equal(t, i, m[i])
	}
}
