package inspect

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/mono"
)

func TestAWatchWithoutUsersSeesNothing(t *testing.T) {
	var w Watch
	for n := range int64(1000) {
		require.False(t, w.IsDue(n))
	}
	w.Read(KindRemoteHit, mono.Now(), "docs", "a")
	w.Took(KindLoad, time.Second)
	w.Take("docs", "a")
	require.Equal(t, Seen{}, w.Now(10))
	w.Start()
	require.Empty(t, w.Now(10).Hottest, "what came before is not seen")
	w.Stop()
	require.False(t, w.IsDue(0))
}

func TestAllReadsAreSampledWhereThereAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w Watch
		w.Start()
		defer w.Stop()
		for range 10 { // it takes some seconds to find out
			time.Sleep(time.Second)
			w.Now(1)
		}
		for n := range int64(100) {
			require.True(t, w.IsDue(n+1), "read %d", n)
			w.Take("docs", fmt.Sprint("key-", n%4))
		}
		s := w.Now(10)
		require.InDelta(t, 1, s.OneIn, 0.01)
		require.Len(t, s.Hottest, 4)
		for _, k := range s.Hottest {
			require.InDelta(t, 25/s.Span.Seconds(), k.PerSecond, 0.1)
		}
	})
}

func TestFewOfManyReadsAreSampledAndEstimatesAreRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w Watch
		w.Start()
		defer w.Stop()
		samples, n := 0, int64(0)
		for range 40 { // seconds, of a million reads each that go round 64 keys: a period that sampling could fall into step with
			time.Sleep(time.Second)
			for range 1_000_000 {
				if n++; w.IsDue(n) {
					samples++
					w.Take("docs", fmt.Sprint("key-", n%64))
				}
			}
		}
		require.Less(t, samples, 40*5*targetSamples)
		s := w.Now(100)
		require.Len(t, s.Hottest, 64)
		for _, k := range s.Hottest {
			require.InEpsilon(t, 1e6/64, k.PerSecond, 0.3, k.Name)
		}
	})
}

func TestTheHottestKeysAreFoundAmongVeryMany(t *testing.T) {
	var top topKeys
	r := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		name := fmt.Sprint("cold-", r.IntN(100_000))
		if r.IntN(10) == 0 {
			name = fmt.Sprint("hot-", r.IntN(4))
		}
		top.add(Key{"docs", name}, 1)
	}
	found := merge(&top, &topKeys{}, 4)
	for _, k := range found {
		require.Contains(t, k.key.Name, "hot-")
		require.InEpsilon(t, 200_000/40, k.count, 0.3)
	}
	require.Len(t, top.counts, mostKeys)
}

func TestWhatWasSeenIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w Watch
		w.Start()
		defer w.Stop()
		w.Take("docs", "a")
		w.Took(KindLoad, 3*time.Millisecond)
		time.Sleep(windowLength + time.Second)
		require.Len(t, w.Now(10).Hottest, 1)
		require.EqualValues(t, 1, w.Now(10).Times[KindLoad].Count)
		time.Sleep(windowLength + time.Second)
		require.Empty(t, w.Now(10).Hottest)
		w.Take("docs", "a")
		time.Sleep(5 * windowLength)
		require.Empty(t, w.Now(10).Hottest)
	})
}

func TestQuantilesAreWithinAnEighth(t *testing.T) {
	var h histogram
	for i := range 10_000 {
		h.add(time.Duration(i+1) * 37 * time.Microsecond)
	}
	require.InEpsilon(t, 5000*37e3, float64(h.quantile(0.5)), 0.13)
	require.InEpsilon(t, 9900*37e3, float64(h.quantile(0.99)), 0.13)
	require.Equal(t, 370*time.Millisecond, h.quantile(1))
	for _, d := range []time.Duration{-1, 0, 1, 7 * time.Microsecond, 8 * time.Microsecond, 15999 * time.Nanosecond, time.Hour, 1 << 62} {
		at := bucketOf(d)
		require.GreaterOrEqual(t, at, 0)
		if d < 1<<40 && d >= 0 {
			require.GreaterOrEqual(t, upTo(at), d)
			require.LessOrEqual(t, float64(upTo(at)), 1.13*float64(d)+2000)
		}
	}
}
