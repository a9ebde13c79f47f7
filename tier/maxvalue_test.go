package tier_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/tier"
)

func TestAValueAboveTheLimitIsAnErrorOfSet(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		s := f.process(tier.WithMaxValue(1000))
		c, other := view[[]string](t, s, "docs"), view[[]string](t, f.process(), "docs")
		value := func(n int) []string { return []string{strings.Repeat("x", n-4)} } // of n bytes
		require.NoError(t, c.Set(t.Context(), "k", value(1000)))
		err := c.Set(t.Context(), "k", value(1001))
		require.ErrorContains(t, err, "1001 bytes")
		require.ErrorContains(t, err, "the limit is 1000 (WithMaxValue)")
		err = c.SetMany(t.Context(), map[string][]string{"a": value(10), "b": value(2000)})
		require.ErrorContains(t, err, "2000 bytes")
		f.sync()
		require.Equal(t, value(10), find(t, other, "a", unneededs).Value)
	})
}

func unneededs(context.Context, *tier.Entry) ([]string, error) { panic("it is there") }

// What is too long for the remote tier is returned, and kept here for as long as no process changes the key.
func TestALoadedValueAboveTheLimitIsKeptHere(t *testing.T) {
	onEachRemote(t, func(t *testing.T, f *fleet) {
		s := f.process(tier.WithMaxValue(1000))
		c, other := view[[]string](t, s, "docs"), view[[]string](t, f.process(), "docs")
		loads := 0
		get := func() []string {
			return find(t, c, "k", func(context.Context, *tier.Entry) ([]string, error) {
				loads++
				return []string{strings.Repeat("x", 2000), fmt.Sprint(loads)}, nil
			}).Value
		}
		for range 3 {
			require.Equal(t, "1", get()[1])
		}
		require.Equal(t, int64(1), s.Stats().EncodeErrors)
		_, ok, err := other.Peek(t.Context(), "k")
		require.NoError(t, err)
		require.False(t, ok)
		require.NoError(t, other.Set(t.Context(), "k", []string{"set"}))
		f.sync()
		require.Equal(t, []string{"set"}, get())
		require.NoError(t, other.Delete(t.Context(), "k"))
		f.sync()
		require.Equal(t, "2", get()[1])
		require.Equal(t, "2", get()[1])
		require.NoError(t, other.Delete(t.Context(), "k"), "which the server does not have")
		f.sync()
		require.Equal(t, "3", get()[1])
	})
}

func TestAValueAboveAnEighthOfTheLocalTierIsNotKeptThere(t *testing.T) {
	s, err := tier.Open(t.Context(), tier.WithLocalBytes(1<<20), tier.WithRemoteTimeout(10*time.Second))
	require.NoError(t, err)
	defer s.Close()
	c := view[string](t, s, "docs")
	for i := range 100 {
		require.NoError(t, c.Set(t.Context(), fmt.Sprint(i), strings.Repeat("x", 1000)))
	}
	before := s.Stats()
	require.Equal(t, 100, before.LocalEntries)
	require.NoError(t, c.Set(t.Context(), "large", strings.Repeat("x", 100<<10)))
	require.Equal(t, 101, s.Stats().LocalEntries)
	require.NoError(t, c.Set(t.Context(), "large", strings.Repeat("x", 200<<10)))
	require.Equal(t, 100, s.Stats().LocalEntries, "nor is what was there before")
	require.Zero(t, s.Stats().LocalEvictions)
	r := find(t, c, "large", unneeded)
	require.Equal(t, tier.Remote, r.Origin)
	require.Len(t, r.Value, 200<<10)
}

func TestTheLimitOfValuesIsChecked(t *testing.T) {
	for _, n := range []int64{0, -1, 1 << 40} {
		_, err := tier.Open(t.Context(), tier.WithMaxValue(n))
		require.ErrorContains(t, err, fmt.Sprint("WithMaxValue ", n))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := tier.Open(ctx, tier.WithMaxValue(100<<20), tier.WithRemoteTimeout(10*time.Second))
	require.NoError(t, err)
	require.NoError(t, s.Close())
}
