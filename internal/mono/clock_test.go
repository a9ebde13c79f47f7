package mono

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// trustedClock is a clock whose readings are used again.
func trustedClock(t *testing.T) *Clock {
	if !counterIsTrusted() {
		t.Skip("this machine's counter is not trusted")
	}
	return NewClock()
}

func TestSoonIsNeverBeforeNow(t *testing.T) {
	c := NewClock()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200_000 {
				before, soon, after := Now(), c.Soon(), Now()
				if soon < before || soon > after.Add(Slack) {
					t.Errorf("%d ns after what it was before, and %d before what it is after", soon-before, after-soon)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestAReadingOfTheClockIsUsedAgain(t *testing.T) {
	c := trustedClock(t)
	require.Eventually(t, func() bool {
		at := Time(7)
		c.at.Store(int64(at))
		c.ticks.Store(counter())
		return c.Soon() == at.Add(Slack)
	}, 10*time.Second, time.Nanosecond, "each time it took longer than a reading lasts")
}

func TestAReadingIsNotUsedForLong(t *testing.T) {
	c := trustedClock(t)
	for _, ticks := range []uint64{counter() - window, 0, counter() + 1<<40} { // the last: the counter was set back
		c.at.Store(7)
		c.ticks.Store(ticks)
		require.Greater(t, c.Soon(), Time(7).Add(Slack))
	}
}

func TestAReadingAnewIsKept(t *testing.T) {
	c := trustedClock(t)
	ticks := c.ticks.Load()
	now := Time(c.at.Load()).Add(time.Second)
	c.keep(ticks, ticks+1e9, now, ticks+1e9+100)
	require.Equal(t, ticks+1e9, c.ticks.Load())
	require.Equal(t, int64(now), c.at.Load())

	c.keep(ticks, ticks+2e9, now+1, ticks+2e9+100) // another goroutine has read it since
	require.Equal(t, ticks+1e9, c.ticks.Load())
	require.Equal(t, int64(now), c.at.Load())
}

func TestACounterThatTurnsOutToBeWrongIsGivenUp(t *testing.T) {
	for name, ran := range map[string]int{"too slow": 599e6, "behind": -1} {
		t.Run(name, func(t *testing.T) {
			c := trustedClock(t)
			ticks := c.ticks.Load()
			counted := ticks + uint64(ran)
			c.keep(ticks, counted, Time(c.at.Load()).Add(time.Second), counted)
			for range 3 {
				require.Equal(t, uint64(off), c.ticks.Load())
				before := Now()
				require.GreaterOrEqual(t, c.Soon(), before)
			}
		})
	}
}

func TestSoonIsNowInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewClock()
		for range 1000 {
			require.Equal(t, Now(), c.Soon())
			time.Sleep(time.Microsecond)
		}
	})
}

func TestSoonAllocatesNothing(t *testing.T) {
	c := NewClock()
	require.Zero(t, testing.AllocsPerRun(100_000, func() { c.Soon() }))
}
