package changelog_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/invalidation"
)

// What comes late must not undo what is known already.

func TestALateOverflowingAnswerForgetsNothingNewer(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		for i := range 9 {
			s.log.change(invalidation.Source(string(rune('a' + i))))
		}
		q := s.Query(nil)
		late, err := s.log.Delta(s.Context(), q.DeltaQuery)
		require.NoError(t, err)
		require.True(t, late.Overflow)
		s.log.change("s:other")
		require.NoError(t, s.CatchUp(s.Context()))
		newest := s.log.change("s:x")
		s.Receive(s.log.message(t, 0))
		require.Equal(t, newest.Tick, s.View().Watermark)

		done, err := s.Apply(s.Context(), q, late)
		require.NoError(t, err)
		require.True(t, done)
		require.Equal(t, newest.Tick, s.View().Watermark)
		require.NotEqual(t, changelog.Valid, s.judge(newest.Tick-1, "s:x"), "it changed at the watermark")
		require.NoError(t, s.Fetch(s.Context(), []Scope{"s:x"}))
		require.NotEqual(t, changelog.Valid, s.judge(newest.Tick-1, "s:x"))
	}, maxKnown(4))
}

func TestALateAnswerIsNoNewsBelowTheHorizon(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		s.log.change("s:x")
		q := s.Query(nil)
		late, err := s.log.Delta(s.Context(), q.DeltaQuery) // s:x changed at 101
		require.NoError(t, err)
		s.log.change("s:y")
		again := s.log.change("s:x") // and at 103
		for i := range 9 {
			s.log.change(invalidation.Source(string(rune('a' + i))))
		}
		require.NoError(t, s.CatchUp(s.Context())) // overflows: s:x may have changed at any time
		require.NotEqual(t, changelog.Valid, s.judge(again.Tick-1, "s:x"))

		_, err = s.Apply(s.Context(), q, late)
		require.NoError(t, err)
		require.NotEqual(t, changelog.Valid, s.judge(again.Tick-1, "s:x"))
		require.NoError(t, s.Fetch(s.Context(), []Scope{"s:x"}))
	}, maxKnown(4))
}

func TestALateAnswerTeachesNothingBelowTheHorizon(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		s.log.change("s:x")
		q := s.Query([]Scope{"s:x"})
		late, err := s.log.Delta(s.Context(), q.DeltaQuery)
		require.NoError(t, err)
		late.Changes = nil // say that the question was asked since
		s.log.change("s:y")
		again := s.log.change("s:x")
		for i := range 9 {
			s.log.change(invalidation.Source(string(rune('a' + i))))
		}
		require.NoError(t, s.CatchUp(s.Context()))
		marks := s.Pin([]Scope{"s:x"})
		defer s.Release(marks)
		asOf := AsOf{Incarnation: s.View().Incarnation, Tick: again.Tick - 1}
		v := s.Judge(asOf, marks)
		require.Equal(t, changelog.Unknown, v)

		_, err = s.Apply(s.Context(), q, late)
		require.NoError(t, err)
		v = s.Judge(asOf, marks)
		require.Equal(t, changelog.Unknown, v, "the answer is older than what is unknown")
		require.NoError(t, s.Fetch(s.Context(), []Scope{"s:x"}))
		v = s.Judge(asOf, marks)
		require.Equal(t, changelog.Changed, v)
	}, maxKnown(4))
}

// A change is recorded, the log is lost, and a new one is followed before the
// answer of the change is there.
func TestALateAcknowledgementDoesNotBringBackALostLog(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		old := s.View().AsOf()
		renewed := AsOf{}
		s.log.set(func(l *script) {
			l.answered = func() {
				s.log.set(func(l *script) { l.answered = nil })
				s.log.lose(-1)
				require.NoError(t, s.CatchUp(s.Context()))
				renewed = s.View().AsOf()
				s.log.set(func(l *script) { l.deltaErr = errDown })
			}
		})
		asOf, err := s.Change(s.Context(), []Scope{"s:x"}, false, 0)
		require.NoError(t, err)
		require.NotEqual(t, old.Incarnation, renewed.Incarnation)
		require.Equal(t, renewed.Incarnation, asOf.Incarnation, "it was recorded again in the log that there is")
		require.Equal(t, asOf, s.View().AsOf())
		require.Equal(t, changelog.Changed, s.judgeAsOf(AsOf{Incarnation: old.Incarnation, Tick: asOf.Tick}, "s:y"),
			"nothing of the lost log is believed")
		require.Equal(t, changelog.Changed, s.judgeAsOf(renewed, "s:x"))
		require.Equal(t, changelog.Valid, s.judgeAsOf(asOf, "s:x"))
	})
}

func TestAnAnswerThatAMessageOvertookMovesNothingBack(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		q := s.Query(nil)
		d, err := s.log.Delta(s.Context(), q.DeltaQuery)
		require.NoError(t, err)
		a := s.log.change("s:x")
		s.Receive(s.log.message(t, 0))
		epoch := s.View().Epoch
		done, err := s.Apply(s.Context(), q, d)
		require.NoError(t, err)
		require.True(t, done, "it is no sign of a lost log")
		require.Equal(t, a.Tick, s.View().Watermark)
		require.Equal(t, epoch, s.View().Epoch)
		require.Equal(t, changelog.Changed, s.judge(a.Tick-1, "s:x"))
		_, _, renews := s.log.counts()
		require.Zero(t, renews)
	})
}

func TestAnAnswerOfAReplacedLogIsAskedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		q := s.Query(nil)
		d, err := s.log.Delta(s.Context(), q.DeltaQuery)
		require.NoError(t, err)
		s.log.lose(-1)
		require.NoError(t, s.CatchUp(s.Context()))
		now := s.View().AsOf()
		done, err := s.Apply(s.Context(), q, d)
		require.NoError(t, err)
		require.False(t, done)
		require.Equal(t, now, s.View().AsOf())
	})
}
