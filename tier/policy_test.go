package tier_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/eviction"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier"
)

// A loop longer than the local tier: an LRU has evicted each key by the time it
// is asked for again, a policy that counts uses keeps some.
func TestTheLocalPolicyIsTheOneThatWasChosen(t *testing.T) {
	hits := func(p local.Policy) int64 {
		f := embeddedFleet(t, nil)
		s := f.process(tier.WithLocalEntries(100), tier.WithLocalPolicy(p))
		c := view[int](t, s, "docs")
		for i := range 1000 {
			_, err := c.Get(t.Context(), fmt.Sprint(i%150), is(i))
			require.NoError(t, err)
			filled(t, s, s.Stats().Loads)
		}
		assert.LessOrEqual(t, s.Stats().LocalEntries, 100)
		return s.Stats().LocalHits
	}
	require.Zero(t, hits(local.LRU))
	require.Greater(t, hits(eviction.TinyLFU), int64(100))
}
