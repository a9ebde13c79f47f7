package tier_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/tier"
)

// swept is by when what cannot be served again has left the local tier.
const swept = 16 * time.Second

func TestWhatHasExpiredLeavesTheLocalTierByItself(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		s := f.process()
		brief := view[string](t, s, "brief", tier.WithTTL(time.Second))
		stale := view[string](t, s, "stale", tier.WithTTL(time.Second), tier.WithStaleOnError(time.Minute))
		alone := view[string](t, s, "alone", tier.WithTTL(time.Second), tier.WithLocalOnly())
		for i := range 100 {
			find(t, brief, fmt.Sprint(i), is("v"))
			find(t, alone, fmt.Sprint(i), is("v"))
		}
		find(t, stale, "k", is("v"))
		require.Equal(t, 201, s.Stats().LocalEntries)
		time.Sleep(time.Second + swept)
		synctest.Wait()
		require.Equal(t, 1, s.Stats().LocalEntries, "it may be served if the source fails")
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Zero(t, s.Stats().LocalEntries)
		require.Zero(t, s.Stats().LocalBytes)
		find(t, brief, "k", is("v"))
		time.Sleep(time.Second + swept)
		synctest.Wait()
		require.Zero(t, s.Stats().LocalEntries, "and what was stored later")
	})
}

func TestWhatWasInvalidatedLeavesTheLocalTierByItself(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		s, other := f.process(), f.process()
		c := view[string](t, s, "docs")
		find(t, c, "all", is("v"))
		find(t, c, "source", is("v", "doc"))
		f.sync()
		change := func(_ tier.AsOf, err error) {
			require.NoError(t, err)
			time.Sleep(swept)
			synctest.Wait()
		}
		require.Equal(t, 2, s.Stats().LocalEntries)
		change(other.InvalidateSource(t.Context(), "another"))
		require.Equal(t, 2, s.Stats().LocalEntries)
		change(other.InvalidateSource(t.Context(), "doc"))
		require.Equal(t, 1, s.Stats().LocalEntries)
		change(other.InvalidateAll(t.Context()))
		require.Zero(t, s.Stats().LocalEntries)
		require.Zero(t, s.Stats().LocalBytes)
	})
}
