package local

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheHottestAreThoseUsedLast(t *testing.T) {
	for _, policy := range []Policy{LRU, Adaptive} {
		c, err := New(Config[int]{MaxEntries: 1000, Policy: policy})
		require.NoError(t, err)
		require.Empty(t, c.Hottest(10))
		key := func(i int) Key { return Key{Hi: uint64(i) << 56, Lo: uint64(i) * 0x9e3779b97f4a7c15} }
		for i := range 200 {
			c.Put(key(i), i, 1)
		}
		require.Empty(t, c.Hottest(0))
		require.Len(t, c.Hottest(1000), 200)
		var found []int
		for _, e := range c.Hottest(3) {
			found = append(found, e.Value)
		}
		require.Equal(t, []int{199, 198, 197}, found, policy)
	}
}
