package serverclock

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/mono"
)

// The server reads its clock at any moment between question and answer, and the clock runs up to 200 ppm faster or
// slower than the local one from there on.
func TestTheBoundsHoldForAnyMomentOfTheReadingAndAnyDrift(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		asked := mono.Now()
		read := asked.Add(time.Duration(rnd.Int64N(int64(time.Second))))
		answered := read.Add(time.Duration(rnd.Int64N(int64(time.Second))))
		now := asked.Add(time.Duration(rnd.Int64N(int64(time.Hour))))
		at := time.Unix(rnd.Int64N(1<<32), rnd.Int64N(1e9))
		r := Reading{At: at, Asked: asked, Answered: answered}
		passed := now.Sub(read)
		var drift time.Duration
		if passed > 0 {
			drift = time.Duration(rnd.Int64N(2*int64(passed)/maxDrift+1)) - passed/maxDrift
		}
		server := at.Add(passed + drift)
		require.False(t, server.Before(r.Earliest(now)), "%v after the reading", passed)
		require.False(t, server.After(r.Latest(now).Add(max(drift, 0))), "%v after the reading", passed)
	}
}

func TestTheBoundsAreNoWiderThanTheRoundTripAndTheDrift(t *testing.T) {
	asked := mono.Now()
	r := Reading{At: time.Unix(1000, 0), Asked: asked, Answered: asked.Add(3 * time.Millisecond)}
	now := asked.Add(10 * time.Second)
	require.Equal(t, 3*time.Millisecond+10*time.Second/maxDrift, r.Latest(now).Sub(r.Earliest(now)))
}
