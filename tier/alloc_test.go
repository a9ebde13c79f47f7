//go:build !race

package tier_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/tier"
)

// The race detector allocates by itself.
func TestALocalHitAllocatesNothing(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		s := f.process(tier.WithMaxStaleness(time.Minute))
		ctx := context.Background()
		pages := view[person](t, s, "docs:technical")
		for key, load := range map[string]tier.Loader[person]{
			"no sources":   is(person{"Ada", 36}),
			"four sources": is(person{"Ada", 36}, "a", "b", "c", "d"),
		} {
			find(t, pages, key, load)
		}
		filled(t, s, 2)
		load := tier.Loader[person](unneeded[person])
		for _, key := range []string{"no sources", "four sources"} {
			allocs := testing.AllocsPerRun(1000, func() {
				if p, err := pages.Get(ctx, key, load); err != nil || p.Age != 36 {
					t.Fatal(p, err)
				}
			})
			assert.Zero(t, allocs, key)
		}
		assert.Positive(t, s.Stats().LocalHits)
	})
}

func TestALocalHitCostsNothingWithATracer(t *testing.T) {
	var seen spans
	s, err := tier.Open(t.Context(), tier.WithTracer(&seen), tier.WithHeartbeat(time.Minute), tier.WithMaxStaleness(2*time.Minute), tier.WithRemoteTimeout(10*time.Second))
	require.NoError(t, err)
	defer s.Close()
	c := view[string](t, s, "docs")
	find(t, c, "k", is("v"))
	filled(t, s, 1)
	before := seen.begunButHeartbeats()
	load := tier.Loader[string](unneeded[string])
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if _, err := c.Get(bg, "k", load); err != nil {
			t.Fatal(err)
		}
	}))
	require.Equal(t, before, seen.begunButHeartbeats())
}
