package changelog_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/invalidation"
)

func TestAChangeIsDistrustedFromItsCallOn(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		held := s.Pin([]Scope{"s:x"})
		defer s.Release(held)
		require.Equal(t, Tick(0), held[0].Last())
		s.log.set(func(l *script) {
			l.answered = func() {
				require.Equal(t, changed, s.judge(invalidation.Never-1, "s:x"))
				require.Equal(t, invalidation.Never, held[0].Last())
				require.Equal(t, valid, s.judge(100, "s:y"))
			}
		})
		asOf, err := s.Change(t.Context(), []Scope{"s:x", "s:z"}, false, 0)
		require.NoError(t, err)
		require.Equal(t, AsOf{Incarnation: 1, Tick: 101}, asOf)
		require.Equal(t, changed, s.judge(100, "s:x"))
		require.Equal(t, valid, s.judgeAsOf(asOf, "s:x", "s:z"))
		require.Equal(t, Tick(101), held[0].Last())

		s.log.set(func(l *script) {
			l.answered = func() { require.False(t, s.View().Covers(AsOf{Incarnation: 1, Tick: invalidation.Never - 1})) }
		})
		all, err := s.Change(t.Context(), nil, true, 0)
		require.NoError(t, err)
		require.False(t, s.View().Covers(asOf))
		require.True(t, s.View().Covers(all))
	})
}

func TestAChangeAfterOthersCatchesUp(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		s.log.change("s:x")
		asOf, err := s.Change(t.Context(), []Scope{"s:y"}, false, 0)
		require.NoError(t, err)
		require.Equal(t, asOf, s.View().AsOf(), "loads that begin now are believed")
		require.Equal(t, changed, s.judge(100, "s:x"))
	})
}

func TestAFailedChangeStaysDistrustedAndIsSentAgain(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		s.log.set(func(l *script) { l.appendErr = errDown })
		for range 3 {
			_, err := s.Change(t.Context(), []Scope{"s:x"}, false, 0)
			require.ErrorIs(t, err, errDown)
		}
		_, err := s.Change(t.Context(), []Scope{"s:y"}, false, 0)
		require.ErrorIs(t, err, errDown)
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, 2, s.Health().Undelivered)
		require.ErrorIs(t, s.Health().Err, errDown)
		require.Equal(t, changed, s.judge(invalidation.Never-1, "s:x"))
		require.Equal(t, changed, s.judge(invalidation.Never-1, "s:y"))
		require.Equal(t, valid, s.judge(100, "s:z"))

		s.log.set(func(l *script) { l.appendErr = nil })
		time.Sleep(250 * time.Millisecond)
		synctest.Wait()
		require.Zero(t, s.Health().Undelivered)
		require.Equal(t, []change{{101, s.log.changes[0].scopes, false}}, s.log.changes, "the newest covers the older, and one change takes them all")
		require.ElementsMatch(t, []Scope{"s:x", "s:y"}, s.log.changes[0].scopes)
		require.Equal(t, changed, s.judge(100, "s:x"))
		require.Equal(t, valid, s.judge(101, "s:x", "s:y"))
	}, heartbeat(250*time.Millisecond))
}

// A change of a scope that succeeds does not end an earlier one of the same scope that
// failed and is still pending, unless it was begun later.
func TestTwoChangesOfOneScopeAreDistrustedEach(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		s.log.set(func(l *script) { l.appendErr = errDown })
		_, err := s.Change(t.Context(), []Scope{"s:x"}, false, 0)
		require.Error(t, err)
		s.log.set(func(l *script) { l.appendErr = nil })
		_, err = s.Change(t.Context(), []Scope{"s:x"}, false, 0)
		require.NoError(t, err)
		require.Equal(t, changed, s.judge(invalidation.Never-1, "s:x"), "the first is still to be recorded")
		s.Wake()
		synctest.Wait()
		require.Equal(t, valid, s.judge(s.View().Watermark, "s:x"))
		require.Zero(t, s.Health().Undelivered)
	})
}

func TestTooManyFailedChangesBecomeOneOfEverything(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		s.log.set(func(l *script) { l.appendErr = errDown })
		fail := func(from, to int) {
			scopes := make([]Scope, 0, to-from)
			for i := from; i < to; i++ {
				scopes = append(scopes, Scope(fmt.Sprintf("s:%d", i)))
			}
			_, err := s.Change(t.Context(), scopes, false, 0)
			require.Error(t, err)
		}
		fail(0, 10_000)
		require.False(t, s.Health().UndeliveredAll)
		require.True(t, s.View().Covers(s.View().AsOf()))
		fail(9_000, 10_001)
		h := s.Health()
		require.True(t, h.UndeliveredAll)
		require.Zero(t, h.Undelivered)
		require.LessOrEqual(t, h.Scopes, 1, "they are not remembered one by one")
		require.False(t, s.View().Covers(AsOf{Incarnation: 1, Tick: invalidation.Never - 1}))
		fail(0, 5)
		s.log.set(func(l *script) { l.appendErr = nil })
		s.Wake()
		synctest.Wait()
		h = s.Health()
		require.False(t, h.UndeliveredAll)
		require.Zero(t, h.Undelivered)
		require.True(t, s.View().Covers(s.View().AsOf()))
		require.False(t, s.View().Covers(AsOf{Incarnation: 1, Tick: 100}))
		require.Equal(t, valid, s.judge(s.View().Watermark, "s:3", "s:9999"))
	})
}

func TestASettledChangeIsRecordedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		first, err := s.Change(t.Context(), []Scope{"s:x"}, false, 5*time.Second)
		require.NoError(t, err)
		time.Sleep(5*time.Second - 1)
		synctest.Wait()
		require.Equal(t, valid, s.judgeAsOf(first, "s:x"))
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		require.Equal(t, changed, s.judgeAsOf(first, "s:x"), "what was loaded from a lagging replica is cut off")
		require.Len(t, s.log.changes, 2)
		time.Sleep(time.Minute)
		require.Len(t, s.log.changes, 2, "once")
	})
}

func TestAFailedChangeSettlesToo(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		s.log.set(func(l *script) { l.appendErr = errDown })
		_, err := s.Change(t.Context(), []Scope{"s:x"}, false, 5*time.Second)
		require.Error(t, err)
		s.log.set(func(l *script) { l.appendErr = nil })
		time.Sleep(time.Second)
		synctest.Wait()
		soon := s.View().AsOf()
		require.Equal(t, valid, s.judgeAsOf(soon, "s:x"), "it was sent again")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		require.Equal(t, changed, s.judgeAsOf(soon, "s:x"))
	}, heartbeat(250*time.Millisecond))
}

func TestAChangeOfEverythingSettlesTooAndCloseEndsWhatIsStillToSettle(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		change := func(scopes []Scope, all bool, settle time.Duration) {
			_, err := s.Change(t.Context(), scopes, all, settle)
			require.NoError(t, err)
		}
		change([]Scope{"s:x"}, false, time.Second)
		change(nil, true, time.Second)
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Len(t, s.log.changes, 3, "both are recorded again at once")
		change([]Scope{"s:x"}, false, 0)
		change([]Scope{"s:x"}, false, time.Second)
		s.Close()
		require.Len(t, s.log.changes, 5)
	})
}

func TestAFailedChangeStaysDistrustedThoughTheLogIsLost(t *testing.T) {
	for name, lose := range map[string]func(s *scene){
		"lost":     func(s *scene) { s.log.lose(-1) },
		"overflow": func(s *scene) { s.log.change("s:1", "s:2", "s:3", "s:4", "s:5", "s:6") },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *scene) {
				s.log.set(func(l *script) { l.appendErr = errDown })
				_, err := s.Change(t.Context(), []Scope{"s:x"}, false, 0)
				require.Error(t, err)
				lose(s)
				require.NoError(t, s.CatchUp(t.Context()))
				require.Equal(t, changed, s.judge(invalidation.Never-1, "s:x"))
				require.Equal(t, valid, s.judge(s.View().Watermark, "s:y"))
				s.log.set(func(l *script) { l.appendErr = nil })
				s.Wake()
				synctest.Wait()
				require.Equal(t, valid, s.judge(s.View().Watermark, "s:x"))
				require.Equal(t, changed, s.judge(s.View().Watermark-1, "s:x"))
			}, maxKnown(5))
		})
	}
}
