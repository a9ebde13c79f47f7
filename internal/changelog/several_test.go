package changelog_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/invalidation"
)

// A message of several changes says of each when it was: what was loaded between two of them is judged by that.
func TestAMessageOfSeveralChangesIsAppliedWithoutReadingTheLog(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		from := s.View().Watermark
		x, y, z := s.log.change("s:x"), s.log.change("s:y", "n:z"), s.log.change("s:z")
		deltas, _, _ := s.log.counts()
		s.Receive(s.log.several(t, from))
		synctest.Wait()
		require.Equal(t, z.Tick, s.View().Watermark)
		require.Equal(t, changelog.Changed, s.judge(from, "s:x"))
		require.Equal(t, changelog.Valid, s.judge(x.Tick, "s:x"), "it changed before y did")
		require.Equal(t, changelog.Changed, s.judge(x.Tick, "n:z"))
		require.Equal(t, changelog.Valid, s.judge(y.Tick, "n:z", "s:y"))
		require.Equal(t, changelog.Changed, s.judge(y.Tick, "s:z"))
		after, _, renews := s.log.counts()
		require.Equal(t, deltas, after)
		require.Zero(t, renews)
	})
}

// The process that has recorded one of them, or has read the log between two of them, is no further than it says.
func TestAMessageOfSeveralChangesFollowsOnOneOfThem(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		from := s.View().Watermark
		own, err := s.Change(s.Context(), []Scope{"s:x"}, false, 0)
		require.NoError(t, err)
		y := s.log.change("s:y")
		require.NoError(t, s.CatchUp(s.Context()))
		require.Equal(t, y.Tick, s.View().Watermark)
		z := s.log.change("s:z")
		deltas, _, _ := s.log.counts()
		s.Receive(s.log.several(t, from))
		synctest.Wait()
		require.Equal(t, z.Tick, s.View().Watermark)
		require.Equal(t, changelog.Changed, s.judge(own.Tick, "s:z"))
		after, _, renews := s.log.counts()
		require.Equal(t, deltas, after)
		require.Zero(t, renews, "it is no sign of another history")
	})
}

func TestAMessageOfSeveralChangesAfterAGapMakesTheLogBeRead(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		missed := s.log.change("s:missed")
		s.log.change("s:x")
		last := s.log.change("s:y")
		s.log.set(func(l *script) { l.deltaErr = errDown })
		deltas, _, _ := s.log.counts()
		s.Receive(s.log.several(t, missed.Tick))
		synctest.Wait()
		after, _, _ := s.log.counts()
		require.Equal(t, deltas+1, after)
		require.Equal(t, missed.Prev, s.View().Watermark)
		require.Equal(t, changelog.Changed, s.judge(missed.Prev, "s:y"), "it did happen")
		s.log.set(func(l *script) { l.deltaErr = nil })
		s.Receive(s.log.several(t, missed.Tick))
		synctest.Wait()
		require.Equal(t, last.Tick, s.View().Watermark)
		require.Equal(t, changelog.Changed, s.judge(missed.Prev, "s:missed"))
	})
}

// What changed at the watermark has changed again, so that the watermark is no position any more.
func TestAMessageBesideTheWatermarkMakesTheLogBeRead(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		from := s.View().Watermark
		s.log.change("s:y")
		s.log.change("s:x")
		require.NoError(t, s.CatchUp(s.Context()))
		last := s.log.change("s:x")
		deltas, _, _ := s.log.counts()
		s.Receive(s.log.several(t, from))
		synctest.Wait()
		require.Equal(t, last.Tick, s.View().Watermark)
		after, _, renews := s.log.counts()
		require.Equal(t, deltas+1, after)
		require.Zero(t, renews)
	})
}

// An older copy of the log goes on. Its message does not have the change that is known here, at a position within what the
// message is of. If the message were applied, the change of x would be below the watermark, and y, which is not missing, would
// be the witness that is asked for.
func TestI6AMessageOfAnotherHistoryIsNotApplied(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		from := s.log.change("s:a")
		require.NoError(t, s.CatchUp(s.Context()))
		x := s.log.change("s:x")
		s.Receive(s.log.message(t, 0))
		require.Equal(t, x.Tick, s.View().Watermark)
		incarnation := s.View().Incarnation
		s.log.lose(from.Tick)
		s.log.set(func(l *script) { l.skip = 1 })
		s.log.change("s:y")
		s.Receive(s.log.several(t, from.Tick))
		synctest.Wait()
		require.NotEqual(t, incarnation, s.View().Incarnation, "the log is another: it lacks the change of x")
	})
}

func TestAMessageThatDoesNotSayItAllMakesTheLogBeRead(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		from := s.View().Watermark
		for range 3 {
			many := make([]Scope, 400)
			for i := range many {
				many[i] = invalidation.Source(strings.Repeat("x", i%60+1) + string(rune('a'+i%26)) + string(rune('a'+i/26)))
			}
			s.log.change(many...)
		}
		s.log.change(Scope("~2:" + strings.Repeat("x", 200)))
		m := s.log.several(t, from)
		require.True(t, m.Partial)
		require.Empty(t, m.Changes)
		s.Receive(m)
		synctest.Wait()
		require.Equal(t, m.Tick, s.View().Watermark)
		_, _, renews := s.log.counts()
		require.Zero(t, renews)
	})
}

func TestAMessageOfSeveralChangesRaisesTheFloor(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		from := s.View().Watermark
		s.log.change("s:x")
		s.log.set(func(l *script) { l.changeLocked(true) })
		all := s.log.change("s:y")
		s.Receive(s.log.several(t, from))
		require.Equal(t, all.Prev, s.View().Floor)
		require.Equal(t, all.Tick, s.View().Watermark)
		require.Equal(t, changelog.Changed, s.judge(all.Prev-1, "s:other"))
		require.Equal(t, changelog.Valid, s.judge(all.Prev, "s:other"))
	})
}

// What other processes have recorded just before is told with the answer, so that a change costs one request.
func TestAChangeIsToldWhatItsProcessHasMissed(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		s.log.change("s:x")
		other := s.log.change("s:y")
		s.log.set(func(l *script) { l.tells = true })
		deltas, _, _ := s.log.counts()
		asOf, err := s.Change(s.Context(), []Scope{"s:own"}, false, 0)
		require.NoError(t, err)
		require.Equal(t, asOf, s.View().AsOf(), "a load that begins now is valid")
		require.Equal(t, changelog.Changed, s.judge(other.Tick-1, "s:y"))
		after, _, _ := s.log.counts()
		require.Equal(t, deltas, after)

		s.log.change("s:z")
		s.log.set(func(l *script) { l.tells = false })
		asOf, err = s.Change(s.Context(), []Scope{"s:own"}, false, 0)
		require.NoError(t, err)
		require.Equal(t, asOf, s.View().AsOf(), "the log is read where it is not told")
	})
}

func TestAPaceLetsABurstThroughAndThenAShare(t *testing.T) {
	var p changelog.Pace
	now := time.Now()
	const receivers = 100
	n := 0
	for p.Wait(now) == 0 {
		n++
		p.Sent(Tick(n), now, receivers)
	}
	require.Equal(t, int(changelog.MessageBurst/(receivers*changelog.MessageCost))+1, n)
	require.Equal(t, Tick(n), p.Told)
	for range 10 {
		wait := p.Wait(now)
		require.Positive(t, wait)
		require.LessOrEqual(t, wait, receivers*changelog.MessageCost)
		now = now.Add(wait)
		require.Zero(t, p.Wait(now))
		p.Sent(0, now, receivers)
	}
	p.Sent(0, now, 1_000_000)
	require.LessOrEqual(t, p.Wait(now), changelog.LongestPause+receivers*changelog.MessageCost, "however many there are")
	require.Zero(t, p.Wait(now.Add(-time.Hour)), "the clock was set back")
	require.Zero(t, p.Wait(now.Add(time.Minute)), "what is saved up is bounded")
}
