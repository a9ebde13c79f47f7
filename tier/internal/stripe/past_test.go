package stripe

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNumbersOfThePastTakeFewBytes(t *testing.T) {
	all := make([]int64, 200)
	require.Empty(t, PastOf(all))
	all[0], all[3], all[150], all[199] = 1, 63, -2, math.MaxInt64
	p := PastOf(all)
	require.Less(t, len(p), 24)
	got := []int64{9, 9, 9, 200: 0}[:200]
	p.Of(got)
	require.Equal(t, all, got)
}
