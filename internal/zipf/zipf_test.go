package zipf

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheLawIsZipfs(t *testing.T) {
	r, z, counts := rand.New(rand.NewPCG(3, 4)), New(100, 1), make([]int, 100)
	for range 200_000 {
		counts[z.Draw(r)]++
	}
	// The first of a hundred has 1/5.187 of all, the second half as many.
	require.InDelta(t, 200_000/5.187, counts[0], 800)
	require.InDelta(t, 0.5, float64(counts[1])/float64(counts[0]), 0.02)
	require.NotZero(t, counts[99])
}

func TestDrawsAreAlwaysTheSame(t *testing.T) {
	a := Draws(1000, 5000)
	require.Equal(t, a, Draws(1000, 5000))
	require.Len(t, a, 5000)
	for _, d := range a {
		require.Less(t, int(d), 1000)
	}
}
