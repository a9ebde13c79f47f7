package changelog_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/internal/valkeytest"
)

func TestMain(m *testing.M) { valkeytest.Main(m) }

const (
	valid   = changelog.Valid
	changed = changelog.Changed
	unknown = changelog.Unknown
)

// What a tail that has applied everything up to tick 100 makes of messages, first
// while the log cannot be read, then when it can.
func TestMessagesAreHintsAndTheLogIsTheTruth(t *testing.T) {
	for _, x := range []struct {
		name      string
		do        func(l *script)
		deliver   []int // which of the messages, in which order; 0 is the first
		edit      func(m *changelog.Message)
		watermark Tick // while the log cannot be read
		x, y      changelog.Verdict
		reads     bool // whether the log is read at once
	}{
		{name: "InOrder", do: func(l *script) { l.change("s:x"); l.change("s:y") }, deliver: []int{0, 1},
			watermark: 102, x: changed, y: changed},
		{name: "Twice", do: func(l *script) { l.change("s:x") }, deliver: []int{0, 0, 0},
			watermark: 101, x: changed, y: valid},
		{name: "Lost", do: func(l *script) { l.change("s:x") },
			watermark: 100, x: valid, y: valid},
		{name: "AfterAGap", do: func(l *script) { l.change("s:x"); l.change("s:y") }, deliver: []int{1},
			watermark: 100, x: valid, y: changed, reads: true},
		{name: "Reordered", do: func(l *script) { l.change("s:x"); l.change("s:y") }, deliver: []int{1, 0},
			watermark: 101, x: changed, y: changed, reads: true},
		{name: "InPart", do: func(l *script) { l.change("s:x") }, deliver: []int{0},
			edit:      func(m *changelog.Message) { m.Partial, m.Scopes = true, nil },
			watermark: 100, x: valid, y: valid, reads: true},
		{name: "Everything", do: func(l *script) { l.set(func(l *script) { l.changeLocked(true) }) }, deliver: []int{0},
			watermark: 101, x: changed, y: changed},
		{name: "EverythingAfterAGap", do: func(l *script) { l.change("s:x"); l.set(func(l *script) { l.changeLocked(true) }) }, deliver: []int{1},
			watermark: 100, x: changed, y: changed, reads: true},
		{name: "OfAnotherLog", do: func(l *script) { l.change("s:x") }, deliver: []int{0},
			edit:      func(m *changelog.Message) { m.Incarnation++ },
			watermark: 100, x: valid, y: valid, reads: true},
		{name: "OfThePast", do: func(l *script) {}, deliver: []int{0},
			edit:      func(m *changelog.Message) { m.Prev, m.Tick = 40, 41 },
			watermark: 100, x: valid, y: valid},
	} {
		t.Run(x.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *scene) {
				x.do(s.log)
				if len(s.log.messages) == 0 {
					s.log.messages = []string{fmt.Sprintf("%016x 99 100 %s", 1, changelog.Body([]Scope{"s:x"}, false))}
				}
				s.log.set(func(l *script) { l.deltaErr = errDown })
				before, _, _ := s.log.counts()
				for _, i := range x.deliver {
					m, err := changelog.ParseMessage(s.log.messages[i])
					require.NoError(t, err)
					if x.edit != nil {
						x.edit(&m)
					}
					s.Receive(m)
				}
				synctest.Wait()
				after, _, _ := s.log.counts()
				require.Equal(t, x.reads, after > before)
				require.Equal(t, x.watermark, s.View().Watermark)
				require.Equal(t, x.x, s.judge(100, "s:x"))
				require.Equal(t, x.y, s.judge(100, "s:y"))

				s.log.set(func(l *script) { l.deltaErr = nil })
				require.NoError(t, s.CatchUp(t.Context()))
				require.Equal(t, s.log.tick, s.View().Watermark)
				require.Equal(t, s.log.floor, s.View().Floor)
				for _, scope := range []Scope{"s:x", "s:y"} {
					want := valid
					if s.log.latest(scope) > 100 || s.log.floor > 100 {
						want = changed
					}
					require.Equal(t, want, s.judge(100, scope), scope)
					require.Equal(t, valid, s.judge(s.log.tick, scope), scope)
				}
			})
		})
	}
}

func (s *script) latest(scope Scope) (last Tick) {
	for _, c := range s.changes {
		for _, x := range c.scopes {
			if x == scope {
				last = c.tick
			}
		}
	}
	return last
}

// An answer to what was asked before the connection was lost may be another
// server's than the one that is asked from there on.
func TestAnAnswerToAnEarlierQuestionIsNoProof(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		time.Sleep(time.Second)
		q := s.Query(nil)
		d, err := s.log.Delta(t.Context(), q.DeltaQuery)
		require.NoError(t, err)
		s.log.set(func(l *script) { l.deltaErr = errDown })
		time.Sleep(time.Second)
		s.Lost()
		_, err = s.Apply(t.Context(), q, d)
		require.NoError(t, err)
		require.Greater(t, s.View().Age(mono.Now()), 1000*time.Hour)
		s.log.set(func(l *script) { l.deltaErr = nil })
		time.Sleep(time.Second)
		require.NoError(t, s.CatchUp(t.Context()))
		require.Zero(t, s.View().Age(mono.Now()))
	})
}

func TestOnlyAnAnsweredReadIsAProof(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		require.Zero(t, s.View().Age(mono.Now()))
		s.log.change("s:x")
		time.Sleep(time.Second)
		s.Receive(s.log.message(t, 0))
		require.Equal(t, time.Second, s.View().Age(mono.Now()), "a message proves nothing")
		s.log.set(func(l *script) { l.deltaErr = errDown })
		require.Error(t, s.CatchUp(t.Context()))
		require.Equal(t, time.Second, s.Health().ProofAge)
		s.log.set(func(l *script) { l.deltaErr = nil })

		q := s.Query(nil)
		time.Sleep(time.Second)
		d, err := s.log.Delta(t.Context(), q.DeltaQuery)
		require.NoError(t, err)
		time.Sleep(time.Second)
		_, err = s.Apply(t.Context(), q, d)
		require.NoError(t, err)
		require.Equal(t, 2*time.Second, s.View().Age(mono.Now()), "it counts from when the question was sent")
		require.False(t, s.View().ServerTime(mono.Now()).Before(time.Now()), "an upper bound")

		older := s.Query(nil)
		time.Sleep(time.Second)
		require.NoError(t, s.CatchUp(t.Context()))
		d, err = s.log.Delta(t.Context(), older.DeltaQuery)
		require.NoError(t, err)
		_, err = s.Apply(t.Context(), older, d)
		require.NoError(t, err)
		require.Zero(t, s.View().Age(mono.Now()), "an older proof replaces no newer one")

		s.Close()
		require.Greater(t, s.View().Age(mono.Now()), 1000*time.Hour, "after Close there is none")
	})
}

func TestTheEpochMovesWhenPushesMayBeLost(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		moved := func(do func()) bool {
			before := *s.View()
			do()
			now := s.View()
			if now.Epoch != before.Epoch {
				require.NotEqual(t, before.Seq, now.Seq)
			}
			return now.Epoch != before.Epoch
		}
		catchUp := func() { require.NoError(t, s.CatchUp(t.Context())) }
		require.False(t, moved(catchUp))
		require.True(t, moved(func() { s.log.set(func(l *script) { l.connection = 2 }); catchUp() }))
		require.False(t, moved(catchUp))
		reads, _, _ := s.log.counts()
		require.True(t, moved(s.Lost))
		synctest.Wait()
		after, _, _ := s.log.counts()
		require.Greater(t, after, reads, "a loss has the log read")
		require.False(t, moved(func() { s.log.change("s:x"); catchUp() }), "a change is none")
		require.True(t, moved(func() { s.log.lose(-1); catchUp() }))
	})
}

func TestSeqMovesWithEverythingThatCanMakeAValueInvalid(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		marks := s.Pin([]Scope{"s:x"})
		defer s.Release(marks)
		for name, do := range map[string]func(){
			"message":   func() { s.log.change("s:x"); s.Receive(s.log.message(t, 0)) },
			"read":      func() { s.log.change("s:x"); require.NoError(t, s.CatchUp(t.Context())) },
			"ownChange": func() { _, err := s.Change(t.Context(), []Scope{"s:x"}, false, 0); require.NoError(t, err) },
			"loss":      s.Lost,
		} {
			before := s.View().Seq
			do()
			require.Greater(t, s.View().Seq, before, name)
		}
		before := s.View().Seq
		require.NoError(t, s.CatchUp(t.Context()))
		require.Equal(t, before, s.View().Seq, "a heartbeat that brings nothing moves nothing")
	})
}

func TestTheHeartbeatFindsWhatNoMessageTold(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		s.log.change("s:x")
		require.Equal(t, valid, s.judge(100, "s:x"))
		time.Sleep(250 * time.Millisecond)
		synctest.Wait()
		require.Equal(t, changed, s.judge(100, "s:x"))

		s.log.set(func(l *script) { l.deltaErr = errDown })
		time.Sleep(time.Second)
		synctest.Wait()
		h := s.Health()
		require.Equal(t, 4, h.Failures)
		require.ErrorIs(t, h.Err, errDown)
		require.Equal(t, time.Second, h.ProofAge)
		s.log.set(func(l *script) { l.deltaErr = nil })
		time.Sleep(250 * time.Millisecond)
		synctest.Wait()
		h = s.Health()
		require.Zero(t, h.Failures)
		require.NoError(t, h.Err)
		require.Zero(t, h.ProofAge)
	}, heartbeat(250*time.Millisecond))
}

func TestAStoreWithoutALogGetsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &script{connection: 1}
		tail := follow(t, log)
		require.NotZero(t, tail.View().Incarnation)
		require.Equal(t, log.tick, tail.View().Watermark)
		require.Equal(t, log.floor, tail.View().Floor)
		require.False(t, tail.View().Covers(AsOf{}), "a value without an as-of is never valid")
		require.True(t, tail.View().Covers(tail.View().AsOf()))
	})
}

func TestStartSaysWhyTheLogCannotBeRead(t *testing.T) {
	for _, log := range []*script{{deltaErr: errDown}, {renewErr: errDown}} {
		_, err := changelog.Start(t.Context(), log, changelog.Config{Heartbeat: time.Hour, Timeout: time.Second, Retention: time.Hour})
		require.ErrorIs(t, err, errDown)
	}
}

func TestALogThatWentBackIsReplaced(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		s.log.change("s:x")
		s.log.change("s:y")
		require.NoError(t, s.CatchUp(t.Context()))
		knew := s.View().AsOf()
		s.log.lose(101)
		require.NoError(t, s.CatchUp(t.Context()))
		_, _, renews := s.log.counts()
		require.Equal(t, 1, renews)
		require.NotEqual(t, knew.Incarnation, s.View().Incarnation)
		require.Greater(t, s.View().Watermark, knew.Tick)
		require.Equal(t, changed, s.judgeAsOf(knew, "s:z"))
		require.Equal(t, valid, s.judgeAsOf(s.View().AsOf(), "s:x", "s:y", "s:z"))

		// The same, found by a change of ours.
		s.log.change("s:x")
		require.NoError(t, s.CatchUp(t.Context()))
		knew = s.View().AsOf()
		s.log.lose(knew.Tick - 1)
		asOf, err := s.Change(t.Context(), []Scope{"s:x"}, false, 0)
		require.NoError(t, err)
		require.NotEqual(t, knew.Incarnation, asOf.Incarnation)
		require.Equal(t, asOf, s.View().AsOf())
		require.Equal(t, changed, s.judgeAsOf(knew, "s:z"))
		require.Equal(t, valid, s.judgeAsOf(asOf, "s:x", "s:z"))
	})
}

func TestAnotherLogIsFollowedAndNothingOfTheOldBelieved(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		knew := s.View().AsOf()
		s.log.set(func(l *script) { l.renewLocked(AsOf{Incarnation: l.incarnation, Tick: l.tick}) })
		s.log.change("s:x")
		require.NoError(t, s.CatchUp(t.Context()))
		now := s.View().AsOf()
		require.NotEqual(t, knew.Incarnation, now.Incarnation)
		_, _, renews := s.log.counts()
		require.Zero(t, renews, "another store had renewed it")
		require.Equal(t, changed, s.judgeAsOf(knew, "s:z"))
		require.Equal(t, unknown, s.judge(now.Tick-1, "s:z"))
		require.NoError(t, s.Fetch(t.Context(), []Scope{"s:z"}))
	})
}

func TestALogThatIsReplacedForEverIsUnstable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newScript()
		tail := follow(t, unstable{log})
		log.set(func(l *script) { l.renewErr = nil })
		log.lose(-1)
		require.ErrorIs(t, tail.CatchUp(t.Context()), changelog.ErrUnstable)
	})
}

// unstable is a log whose renewals never last.
type unstable struct{ *script }

func (u unstable) Renew(context.Context, Loss) error { return nil }

func TestKnowledgeIsBoundedAndItsLossRaisesTheHorizon(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		for i := range 200 {
			s.log.change(Scope(fmt.Sprintf("s:%d", i)))
			s.Receive(s.log.message(t, 0))
		}
		require.LessOrEqual(t, s.Health().Scopes, 10)
		require.Equal(t, Tick(300), s.View().Watermark)
		require.Equal(t, unknown, s.judge(150, "s:10"), "changed at 111, which is forgotten")
		require.Equal(t, unknown, s.judge(150, "s:100"), "changed at 201, which is forgotten")
		require.Equal(t, unknown, s.judge(150, "s:never"))
		require.Equal(t, changed, s.judge(150, "s:199"))
		require.Equal(t, valid, s.judge(295, "s:10", "s:never"), "younger than the horizon")
		marks := s.Pin([]Scope{"s:10", "s:100", "s:never"})
		require.NoError(t, s.Fetch(t.Context(), []Scope{"s:10", "s:100", "s:never"}))
		require.Equal(t, valid, s.judge(150, "s:10", "s:never"))
		require.Equal(t, changed, s.judge(150, "s:100"))
		for i := range 50 {
			s.log.change(Scope(fmt.Sprintf("s:more%d", i)))
			s.Receive(s.log.message(t, 0))
		}
		require.Equal(t, valid, s.judge(150, "s:10", "s:never"), "what is held stays known")
		s.log.change("s:10")
		s.Receive(s.log.message(t, 0))
		require.Equal(t, changed, s.judge(150, "s:10"))
		s.Release(marks)
		require.LessOrEqual(t, s.Health().Scopes, 10)
	}, maxKnown(10))
}

func TestAnOverflowingAnswerDropsWhatIsKnown(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		held := s.Pin([]Scope{"s:1"})
		epoch := s.View().Epoch
		for i := range 20 {
			s.log.change(Scope(fmt.Sprintf("s:%d", i)))
		}
		require.NoError(t, s.CatchUp(t.Context()))
		require.Greater(t, s.View().Epoch, epoch, "local copies are dropped, their marks are not kept up any more")
		require.Equal(t, Tick(120), s.View().Watermark)
		require.Equal(t, unknown, s.judge(110, "s:1"))
		require.Equal(t, valid, s.judge(120, "s:1"))
		s.Release(held)
		require.Zero(t, s.Health().Scopes)
		last, err := s.LastChanges(t.Context(), []Scope{"s:1", "s:19", "s:none"})
		require.NoError(t, err)
		require.Equal(t, []Tick{102, 120, 0}, last)
	}, maxKnown(10))
}

func TestHoldAndReleaseLeaveNothingBehind(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		for i := range 1000 {
			a := s.Pin([]Scope{Scope(fmt.Sprintf("s:%d", i)), "n:x", "n:x"})
			b := s.Pin([]Scope{"n:x"})
			require.Same(t, a[1], b[0])
			s.Release(a)
			require.Equal(t, 1, s.Health().Scopes)
			s.Release(b)
			require.Zero(t, s.Health().Scopes)
		}
		marks := s.Pin([]Scope{"s:x"})
		s.Lost()
		s.log.lose(-1)
		require.NoError(t, s.CatchUp(t.Context()))
		s.Release(marks) // cut loose meanwhile
		require.Zero(t, s.Health().Scopes)
	})
}

func TestAfterLearnNothingIsUnknown(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		for i := range 20 {
			s.log.change(Scope(fmt.Sprintf("s:%d", i)))
		}
		require.NoError(t, s.CatchUp(t.Context()))
		marks := s.Pin([]Scope{"s:3", "s:none"})
		defer s.Release(marks)
		a := AsOf{Incarnation: 1, Tick: 105}
		require.Equal(t, unknown, s.Judge(a, marks))
		require.NoError(t, s.Fetch(t.Context(), []Scope{"s:3", "s:none"}))
		require.Equal(t, valid, s.Judge(a, marks))
		a.Tick = 103
		require.Equal(t, changed, s.Judge(a, marks))
	}, maxKnown(5))
}

func TestCloseGivesUpAndWaits(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		s.log.set(func(l *script) { l.appendErr = errDown })
		_, err := s.Change(t.Context(), []Scope{"s:x"}, false, time.Hour)
		require.Error(t, err)
		s.Close()
		s.Close()
		reads, appends, _ := s.log.counts()
		s.Wake()
		s.Lost()
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		r, a, _ := s.log.counts()
		require.Equal(t, []int{reads, appends}, []int{r, a})
	})
}
func TestANewConnectionToTheSameLogKeepsIt(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		s.log.change("s:x")
		s.log.change("s:y")
		require.NoError(t, s.CatchUp(t.Context()))
		knew := s.View()
		s.log.set(func(l *script) { l.connection++ })
		before, _, _ := s.log.counts()
		require.NoError(t, s.CatchUp(t.Context()))
		after, _, renews := s.log.counts()
		require.Equal(t, before+2, after, "the second asks for both")
		require.Zero(t, renews)
		require.Equal(t, knew.AsOf(), s.View().AsOf())
		require.Equal(t, knew.Epoch+1, s.View().Epoch)
		require.NoError(t, s.CatchUp(t.Context()))
		last, _, _ := s.log.counts()
		require.Equal(t, after+1, last)
	})
}

func TestAMessageFromTheFarFutureIsNotApplied(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		soon := Tick(time.Now().Add(time.Minute).UnixMicro())
		s.Receive(changelog.Message{Incarnation: 1, Prev: 100, Tick: soon, Scopes: []Scope{"s:x"}})
		require.Equal(t, soon, s.View().Watermark)
	})
	bubble(t, func(t *testing.T, s *scene) {
		before, _, _ := s.log.counts()
		s.Receive(changelog.Message{Incarnation: 1, Prev: 100, Tick: 1<<53 - 1, Scopes: []Scope{"s:x"}, All: true})
		synctest.Wait()
		after, _, _ := s.log.counts()
		require.Greater(t, after, before, "the log is asked")
		require.Equal(t, Tick(100), s.View().Watermark)
		require.Equal(t, valid, s.judge(100, "s:x"))
	})
}

// Guard: backOff.
//
//	A:      sends a query, for which a connection is made, which is reported as a loss
//	server: ends the connection: the query fails
//	A:      sends another query, because of the loss
func TestALossThatIsTheFailureDoesNotAskOverAndOver(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		const most = 200
		asked := 0
		s.log.set(func(l *script) {
			l.deltaErr = errDown
			l.asked = func() {
				if asked++; asked < most { // or it would never end
					s.Lost()
				}
			}
		})
		s.Lost()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Greater(t, asked, 10, "it is asked all the same")
		require.Less(t, asked, most)

		s.log.set(func(l *script) { l.deltaErr, l.asked = nil, nil })
		time.Sleep(63 * time.Millisecond) // a quarter of the heartbeat
		synctest.Wait()
		require.Less(t, s.View().Age(mono.Now()), time.Second, "and soon after it is back")
	}, heartbeat(250*time.Millisecond))
}
