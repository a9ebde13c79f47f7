package changelog_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/changelog"
)

// idler is a tail with a heartbeat a second, whose reads the test counts.
func idler(t *testing.T, play func(t *testing.T, s *scene, reads *atomic.Int64, heartbeats func(d time.Duration) int)) {
	var reads atomic.Int64
	bubble(t, func(t *testing.T, s *scene) {
		play(t, s, &reads, func(d time.Duration) int {
			before, _, _ := s.log.counts()
			time.Sleep(d)
			synctest.Wait()
			after, _, _ := s.log.counts()
			return after - before
		})
	}, heartbeat(time.Second), func(c *changelog.Config) { c.Reads = reads.Load })
}

func TestATailIsIdleAfterAMinuteWithoutReads(t *testing.T) {
	idler(t, func(t *testing.T, s *scene, reads *atomic.Int64, heartbeats func(time.Duration) int) {
		time.Sleep(time.Second / 2) // between two ticks
		for range 60 {
			reads.Add(1)
			require.Equal(t, 2, heartbeats(2*time.Second), "one read in two seconds is enough")
			require.False(t, s.Health().Idle)
		}
		require.Equal(t, 58, heartbeats(58*time.Second))
		require.False(t, s.Health().Idle)
		require.LessOrEqual(t, heartbeats(4*time.Second), 3)
		require.True(t, s.Health().Idle)
		require.Equal(t, 30, heartbeats(10*time.Minute), "one in 20 s")
		require.True(t, s.Health().Idle)
		require.Less(t, s.Health().ProofAge, 21*time.Second)

		reads.Add(1)
		require.Equal(t, 1, heartbeats(time.Second), "the next tick")
		require.False(t, s.Health().Idle)
		require.Equal(t, 10, heartbeats(10*time.Second))
	})
}

// Query is for reads that nothing counts before they are answered.
func TestAQueryEndsIdling(t *testing.T) {
	idler(t, func(t *testing.T, s *scene, reads *atomic.Int64, heartbeats func(time.Duration) int) {
		heartbeats(5 * time.Minute)
		require.True(t, s.Health().Idle)
		s.Query(nil)
		require.GreaterOrEqual(t, heartbeats(10*time.Second), 10)
		require.False(t, s.Health().Idle)
	})
}

// What is pending waits for heartbeats, and so does the news that the server is back.
func TestATailThatOwesSomethingIsNotIdle(t *testing.T) {
	idler(t, func(t *testing.T, s *scene, reads *atomic.Int64, heartbeats func(time.Duration) int) {
		s.log.set(func(l *script) { l.appendErr = errDown })
		_, err := s.Change(t.Context(), []Scope{"s:x"}, false, 0)
		require.ErrorIs(t, err, errDown)
		require.GreaterOrEqual(t, heartbeats(5*time.Minute), 299)
		require.False(t, s.Health().Idle)
		s.log.set(func(l *script) { l.appendErr = nil })
		heartbeats(2 * time.Second)
		require.Zero(t, s.Health().Undelivered)
		heartbeats(2 * time.Second)
		require.True(t, s.Health().Idle)

		_, appends, _ := s.log.counts()
		s.log.set(func(l *script) { l.appendErr = errDown })
		_, err = s.Change(t.Context(), nil, true, 0)
		require.ErrorIs(t, err, errDown)
		s.log.set(func(l *script) { l.appendErr = nil })
		heartbeats(time.Second)
		_, after, _ := s.log.counts()
		require.Equal(t, appends+2, after, "it is sent again with the next tick")
		heartbeats(2 * time.Second)
		require.True(t, s.Health().Idle)

		s.log.set(func(l *script) { l.deltaErr = errDown })
		s.Lost()
		require.GreaterOrEqual(t, heartbeats(5*time.Minute), 300)
		require.False(t, s.Health().Idle)
		s.log.set(func(l *script) { l.deltaErr = nil })
		heartbeats(3 * time.Second)
		require.True(t, s.Health().Idle)
		require.NoError(t, s.Health().Err)
	})
}

// A message that shows a gap has the log read, as ever.
func TestAnIdleTailHearsMessages(t *testing.T) {
	idler(t, func(t *testing.T, s *scene, reads *atomic.Int64, heartbeats func(time.Duration) int) {
		heartbeats(5 * time.Minute)
		s.log.change("s:x")
		s.log.change("s:y")
		m, err := changelog.ParseMessage(s.log.messages[1])
		require.NoError(t, err)
		s.Receive(m)
		synctest.Wait()
		require.Equal(t, changed, s.judge(100, "s:x"))
		require.True(t, s.Health().Idle, "what others change is no read")
	})
}
