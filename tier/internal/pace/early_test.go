package pace

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAnEntryIsRenewedSoonEnoughForItsLoad(t *testing.T) {
	var took LoadTime
	require.Equal(t, 0.9, took.EarlyShare(0.9, time.Minute, 1), "nothing is known of its loads")
	took.Note(3 * time.Second)
	sum, distinct := 0.0, make(map[float64]bool)
	const n = 10_000
	for i := range uint64(n) {
		at := took.EarlyShare(0.99, time.Minute, i)
		require.LessOrEqual(t, at, 0.95)
		require.GreaterOrEqual(t, at, 0.5)
		require.Equal(t, at, took.EarlyShare(0.99, time.Minute, i))
		sum += at
		distinct[at] = true
	}
	require.InDelta(t, 0.925, sum/n, 0.002, "a load and a half ahead")
	require.Greater(t, len(distinct), n/2)
	require.Equal(t, 0.3, took.EarlyShare(0.3, time.Minute, 1), "the share comes sooner")
	require.Equal(t, 0.5, took.EarlyShare(0.9, time.Second, 1), "a load takes longer than the TTL")
	require.Zero(t, took.EarlyShare(0, time.Minute, 1), "none is asked for")
}

func TestTheLoadTimeFollowsTheLoads(t *testing.T) {
	var took LoadTime
	for range 50 {
		took.Note(time.Second)
	}
	for range 50 {
		took.Note(4 * time.Second)
	}
	require.InDelta(t, float64(4*time.Second), float64(took.mean.Load()), float64(10*time.Millisecond))
}
