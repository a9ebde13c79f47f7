package local_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/local"
)

func TestAllHasEveryEntryOnce(t *testing.T) {
	for _, shards := range []int{1, 8} {
		c, err := local.New(local.Config[uint64]{MaxEntries: 1 << 20, Shards: shards})
		require.NoError(t, err)
		key := func(i uint64) local.Key {
			return local.Key{Hi: i * 0x9e3779b97f4a7c15, Lo: i * 0xbf58476d1ce4e5b9}
		}
		const n = 5000
		for i := range uint64(n) {
			c.Put(key(i), i, 0)
		}
		for i := range uint64(n) {
			if i%3 == 0 {
				c.Remove(key(i))
			}
		}
		seen := make(map[uint64]bool)
		for e := range c.All() {
			require.False(t, seen[e.Value])
			require.Equal(t, key(e.Value), e.Key())
			seen[e.Value] = true
		}
		require.Len(t, seen, c.Len())
		for range c.All() {
			break
		}
	}
}
