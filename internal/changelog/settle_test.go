package changelog_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/mono"
)

// timed has the log's ticks be the time, as a server's are.
func (s *scene) timed() {
	s.log.set(func(l *script) { l.tick = max(l.tick, Tick(time.Now().UnixMicro())-1); l.skip = 0 })
	require.NoError(s, s.CatchUp(s.Context()))
}

// left is for how long a value may be kept that was begun to be loaded so long ago.
func (s *scene) left(ago time.Duration, scopes ...Scope) time.Duration {
	s.Helper()
	now := mono.Now()
	end, err := s.End(s.Context(), s.View().AsOf(), now.Add(-ago), scopes, true)
	require.NoError(s, err)
	if end == changelog.Endless {
		return -1
	}
	return end.Sub(now).Round(time.Millisecond)
}

// another is a change by another process, which settles.
func (s *scene) another(lag time.Duration, x Scope) changelog.Appended {
	s.Helper()
	other := follow(s.T, s.log)
	_, err := other.Change(s.Context(), []Scope{x}, false, lag)
	require.NoError(s, err)
	other.Close()
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	return changelog.Appended{Incarnation: s.log.incarnation, Tick: s.log.tick}
}

// S1 to S3, of a change of this process.
func TestWhatIsLoadedBeforeAChangeHasSettledEndsWithThat(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		s.timed()
		require.Equal(t, -time.Duration(1), s.left(0, "s:x"))
		_, err := s.Change(t.Context(), []Scope{"s:x", "s:y"}, false, time.Minute)
		require.NoError(t, err)
		require.Len(t, s.log.changes, 1)
		require.Len(t, s.log.changes[0].scopes, 4, "in one step")
		time.Sleep(10 * time.Second)
		require.Equal(t, 50*time.Second, s.left(0, "n:d", "s:x"))
		require.Equal(t, 50*time.Second, s.left(0, "n:d", "s:y"))
		require.Equal(t, -time.Duration(1), s.left(0, "n:d", "s:z"))
		require.Equal(t, 2, s.Health().Settling)
		time.Sleep(50 * time.Second)
		require.Equal(t, -time.Duration(1), s.left(0, "s:x"), "it has settled")
		require.Equal(t, time.Duration(0), s.left(time.Second, "s:x"), "but not what was begun before")
		require.Zero(t, s.Health().Settling)
	})
}

// S2: a process that was cut off hears of the change late, and starts to count then; what it loads ends
// by the time of the server.
func TestAChangeThatIsHeardOfLate(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		s.timed()
		s.another(time.Minute, "s:x")
		time.Sleep(50 * time.Second)
		require.NoError(t, s.CatchUp(t.Context()))
		require.Equal(t, 10*time.Second, s.left(0, "s:x"))
		time.Sleep(20 * time.Second)
		require.Equal(t, -10*time.Second, s.left(0, "s:x"), "the server's clock may be wrong: not kept")
		time.Sleep(40 * time.Second)
		require.Equal(t, -time.Duration(1), s.left(0, "s:x"))
	})
}

// S2: a process that starts has only the server's clock to go by.
func TestAProcessThatStartsWhileAChangeSettles(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		s.timed()
		s.another(time.Minute, "s:x")
		time.Sleep(50 * time.Second)
		late := &scene{T: t, Tail: follow(t, s.log), log: s.log}
		require.Equal(t, 10*time.Second, late.left(0, "s:x"))
		time.Sleep(10 * time.Second)
		require.Equal(t, -time.Duration(1), late.left(0, "s:x"))
	})
}

// S3: after more changes than are known the log is asked.
func TestAChangeThatWasForgottenBeforeItHasSettled(t *testing.T) {
	for name, miss := range map[string]func(s *scene){
		"overflow": func(s *scene) { s.log.change("s:1", "s:2", "s:3", "s:4", "s:5", "s:6") },
		"forgotten": func(s *scene) {
			require.NoError(s, s.CatchUp(s.Context()))
			for _, x := range []Scope{"s:1", "s:2", "s:3", "s:4", "s:5", "s:6"} {
				_, err := s.Change(s.Context(), []Scope{x}, false, 0)
				require.NoError(s, err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *scene) {
				s.timed()
				s.another(time.Minute, "s:x")
				miss(s)
				require.NoError(t, s.CatchUp(t.Context()))
				time.Sleep(10 * time.Second)
				require.Equal(t, 50*time.Second, s.left(0, "s:x"))
				require.Equal(t, -time.Duration(1), s.left(0, "s:other"))
				end, err := s.End(t.Context(), s.View().AsOf(), mono.Now(), []Scope{"s:x"}, false)
				require.NoError(t, err)
				require.LessOrEqual(t, end, mono.Now(), "not kept without asking")
				s.log.set(func(l *script) { l.deltaErr = errDown })
				_, err = s.End(t.Context(), s.View().AsOf(), mono.Now(), []Scope{"s:x"}, true)
				require.ErrorIs(t, err, errDown)
				s.log.set(func(l *script) { l.deltaErr = nil })
				time.Sleep(time.Minute)
				deltas, _, _ := s.log.counts()
				require.Equal(t, -time.Duration(1), s.left(0, "s:x"))
				after, _, _ := s.log.counts()
				require.Equal(t, deltas, after, "all has settled: nothing to ask")
			}, maxKnown(5))
		})
	}
}

// What the log has forgotten before it had settled may have been of any scope.
func TestAChangeThatTheLogHasForgotten(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		s.timed()
		a := s.another(time.Minute, "s:x")
		s.log.set(func(l *script) {
			l.changes, l.floor, l.trimmed = nil, a.Tick, map[time.Duration]Tick{time.Minute: a.Tick}
		})
		time.Sleep(20 * time.Second)
		late := &scene{T: t, Tail: follow(t, s.log), log: s.log}
		require.Equal(t, 40*time.Second, late.left(0, "s:x"))
		require.Equal(t, 40*time.Second, late.left(0, "s:other"))
		time.Sleep(40 * time.Second)
		require.Equal(t, -time.Duration(1), late.left(0, "s:x"))
	})
}

// S5.
func TestAChangeThatHasNotSettledIsRecordedInANewLog(t *testing.T) {
	for _, x := range []Scope{"s:x", ""} {
		bubble(t, func(t *testing.T, s *scene) {
			s.timed()
			other := follow(t, s.log)
			_, err := other.Change(t.Context(), []Scope{"s:x"}[:min(1, len(x))], x == "", time.Minute)
			require.NoError(t, err)
			other.Close()
			require.NoError(t, s.CatchUp(t.Context()))
			time.Sleep(20 * time.Second)
			s.log.lose(-1)
			s.log.set(func(l *script) { l.appendErr = errDown })
			s.timed()
			require.NoError(t, s.CatchUp(t.Context()))
			s.Wake()
			synctest.Wait()
			if x != "" {
				require.Equal(t, changed, s.judge(s.View().Watermark, "s:x"), "pending until the new log has it")
				require.Equal(t, valid, s.judge(s.View().Watermark, "s:y"))
			}
			s.log.set(func(l *script) { l.appendErr = nil })
			s.Wake()
			synctest.Wait()
			late := &scene{T: t, Tail: follow(t, s.log), log: s.log}
			require.Equal(t, valid, late.judge(late.View().Watermark, "s:x"))
			for _, p := range []*scene{s, late} {
				require.InDelta(t, 40*time.Second, p.left(0, "s:x"), float64(4*time.Second), "it settles when it would have")
			}
			time.Sleep(45 * time.Second)
			require.Equal(t, -time.Duration(1), late.left(0, "s:x"))
		}, heartbeat(time.Second))
	}
}

// Of many changes within one lag only some are looked at, and nothing older is kept for longer.
func TestManyChangesWithinOneLag(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		s.timed()
		for range 20 {
			s.timed()
			_, err := s.Change(t.Context(), []Scope{"s:x"}, false, time.Minute)
			require.NoError(t, err)
			time.Sleep(time.Second)
		}
		require.LessOrEqual(t, s.left(0, "s:x"), time.Duration(0), "the first have been left out: nothing is kept until they have settled")
		time.Sleep(51 * time.Second)
		require.Equal(t, time.Second, s.left(0, "s:x"), "the end of the oldest that is looked at")
		time.Sleep(time.Minute)
		require.Equal(t, -time.Duration(1), s.left(0, "s:x"))
	})
}

// Different lags of one scope, and a change that could not be recorded at first.
func TestSeveralLagsOfOneScope(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		s.timed()
		s.log.set(func(l *script) { l.appendErr = errDown })
		for _, lag := range []time.Duration{time.Minute, 20 * time.Second, 90*time.Second + 1} {
			_, err := s.Change(t.Context(), []Scope{"s:x"}, false, lag)
			require.Error(t, err)
		}
		s.log.set(func(l *script) { l.appendErr = nil })
		s.Wake()
		synctest.Wait()
		for _, want := range []time.Duration{20 * time.Second, 40 * time.Second, 31 * time.Second, -1} {
			require.Equal(t, want, s.left(0, "s:x"))
			time.Sleep(max(0, want))
		}
	})
}

func TestALagIsRoundedUpToTwoDigits(t *testing.T) {
	for lag, want := range map[time.Duration]time.Duration{
		0: 0, 1: time.Millisecond, time.Millisecond: time.Millisecond, 99 * time.Millisecond: 99 * time.Millisecond, 100 * time.Millisecond: 100 * time.Millisecond,
		101 * time.Millisecond: 110 * time.Millisecond, 1500 * time.Millisecond: 1500 * time.Millisecond, time.Minute: time.Minute,
		time.Minute + 1: 61 * time.Second, 999 * time.Millisecond: time.Second, time.Hour: time.Hour, time.Hour - 1: time.Hour,
	} {
		require.Equal(t, want, changelog.RoundLag(lag), lag)
	}
}

func FuzzParseLag(f *testing.F) {
	for _, s := range []string{"z1", "zrs", "zrs@1234", "z", "z0", "z-1", "zzzzzzzzzzzzzzzz", "zrs@", "zrs@-1", "zrs@99999999999999999999", "@", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, ok := changelog.ParseLag(s)
		if ok {
			require.Positive(t, l.Lag)
			require.LessOrEqual(t, l.Lag, changelog.MaxSettle)
			require.GreaterOrEqual(t, l.Trimmed, Tick(0))
		}
		if lag, ok := changelog.LagOf(Scope(s)); ok {
			require.True(t, strings.HasPrefix(s, "z"))
			require.Positive(t, lag)
		}
	})
}
