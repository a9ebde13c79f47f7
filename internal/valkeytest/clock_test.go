package valkeytest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The clocks of the server and of what it keeps are stepped; what it measures
// is not.
func TestAServersClockIsSteppedWhileItRuns(t *testing.T) {
	NeedSteppedClock(t)
	EachVersion(t, func(t *testing.T, s *Server) {
		ahead := func() time.Duration {
			clock, err := s.Do(t, "TIME").AsStrSlice()
			require.NoError(t, err)
			sec, err := time.ParseDuration(clock[0] + "s")
			require.NoError(t, err)
			return sec - time.Duration(time.Now().UnixNano())
		}
		about := func(d time.Duration) {
			t.Helper()
			require.InDelta(t, d.Seconds(), ahead().Seconds(), 600)
		}
		ttl := func() time.Duration {
			ms, err := s.Do(t, "PTTL", "k").ToInt64()
			require.NoError(t, err)
			return time.Duration(ms) * time.Millisecond
		}
		about(0)
		s.StepClock(time.Hour)
		about(time.Hour)
		s.Do(t, "SET", "k", "v", "EX", "7200")
		s.StepClock(-90 * time.Minute)
		about(-90 * time.Minute)
		require.InDelta(t, (2*time.Hour + 150*time.Minute).Seconds(), ttl().Seconds(), 600)
		s.Restart()
		about(-90 * time.Minute)
		s.Do(t, "DEBUG", "SLEEP", "0.001")
		s.StepClock(0)
		about(0)
	}, SteppedClock())
}
