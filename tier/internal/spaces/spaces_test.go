package spaces

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

type space struct{ path string }

func TestSomeOfManyAreListed(t *testing.T) {
	var table Table[space]
	get := func(i int) *space {
		return table.Get(fmt.Sprint(i), func() *space { return &space{fmt.Sprint(i)} })
	}
	const n = Most + 20
	for i := range n {
		s := get(i)
		require.Same(t, s, get(i))
		require.Same(t, s, table.Find(s.path))
	}
	require.Equal(t, n, table.Len())
	require.Len(t, table.All(), n)
	listed := table.Listed()
	require.Len(t, listed, Most)
	for range 3 {
		require.ElementsMatch(t, listed, table.Listed(), "the same ones")
	}
	for i, s := range listed[:50] {
		table.Remove(s.path)
		require.Nil(t, table.Find(s.path))
		require.Len(t, table.Listed(), min(Most, n-i-1), "others have taken their places")
	}
	require.Subset(t, table.Listed(), listed[50:])
	for i := range n {
		table.Remove(fmt.Sprint(i))
	}
	require.Zero(t, table.Len())
	require.Empty(t, table.Listed())
	require.Empty(t, table.All())
	get(1)
	require.Equal(t, 1, table.Len())
}
