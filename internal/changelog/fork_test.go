package changelog_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/changelog"
)

// Two histories of one log, and what becomes of the stores that followed the one that
// does not stay.

// A primary is lost before its replica had all of the log, and another process,
// which did not know the last changes either, goes on with the rest: the log is as
// long as it should be again before this process reads it.
func TestAForkedLogIsFoundByItsMessages(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		s.log.change("s:y")
		s.log.change("s:x")
		require.NoError(t, s.CatchUp(t.Context()))
		knew := s.View().AsOf()
		s.log.lose(knew.Tick - 1)
		s.log.set(func(l *script) {
			l.messages = append(l.messages, fmt.Sprintf("%016x %d %d %s", l.incarnation, l.tick, l.tick+10, changelog.Body([]Scope{"s:z"}, false)))
			l.tick += 10
			l.changes = append(l.changes, change{l.tick, []Scope{"s:z"}, false})
		})
		s.Receive(s.log.message(t, 0))
		synctest.Wait()
		require.NotEqual(t, knew.Incarnation, s.View().Incarnation, "the log is renewed")
		_, _, renews := s.log.counts()
		require.Equal(t, 1, renews)
		require.Equal(t, changed, s.judgeAsOf(AsOf{Incarnation: knew.Incarnation, Tick: s.log.tick}, "s:other"))
		require.Equal(t, s.log.tick, s.View().Watermark)
	})
}

// overtaken is a log that goes back while the first change is on its way to it, after
// another that is heard of.
type overtaken struct {
	*script
	before func()
}

func (l *overtaken) Append(ctx context.Context, c changelog.Change) (changelog.Appended, error) {
	if before := l.before; before != nil {
		l.before = nil
		before()
	}
	return l.script.Append(ctx, c)
}

// The same by a change of its own, which was sent before the last one was heard of and so found
// the log as long as it should be.
func TestAForkedLogIsFoundByAnOwnChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &overtaken{script: newScript()}
		tail := follow(t, log)
		knew := tail.View().AsOf()
		log.before = func() {
			log.change("s:y")
			require.NoError(t, tail.CatchUp(t.Context()))
			log.lose(knew.Tick)
			log.set(func(l *script) { l.skip = 10 }) // ticks follow the clock
		}
		at, err := tail.Change(t.Context(), []Scope{"s:x"}, false, 0)
		require.NoError(t, err)
		require.NotEqual(t, knew.Incarnation, at.Incarnation, "the log is renewed")
		require.Equal(t, at.Incarnation, tail.View().Incarnation)
		require.Zero(t, tail.Health().Undelivered)
	})
}

// The same when its messages are lost as well.
func TestAForkedLogIsFoundByAWitness(t *testing.T) {
	for _, all := range []bool{false, true} {
		bubble(t, func(t *testing.T, s *scene) {
			s.log.change("s:y")
			s.log.change("s:x")
			require.NoError(t, s.CatchUp(t.Context()))
			knew := s.View().AsOf()
			s.log.lose(knew.Tick - 1)
			s.log.set(func(l *script) {
				l.tick += 10
				l.changes = append(l.changes, change{l.tick, []Scope{"s:z"}, false})
			})
			if all { // what covers the witness is no fork, though nothing is lost by it
				s.log.set(func(l *script) { l.floor = l.tick })
			}
			require.NoError(t, s.CatchUp(t.Context()))
			require.Equal(t, !all, knew.Incarnation != s.View().Incarnation)
			require.Equal(t, changed, s.judgeAsOf(AsOf{Incarnation: knew.Incarnation, Tick: knew.Tick - 1}, "s:x"))
		})
	}
}

// Both went on: what the process knew of last has changed on the other side as
// well, and hides that something else is missing there.
func TestAForkedLogIsFoundOnANewConnectionThoughItsLatestChangeIsThere(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		s.log.change("s:x")
		s.log.change("s:y")
		require.NoError(t, s.CatchUp(t.Context()))
		knew := s.View().AsOf()
		s.log.lose(knew.Tick - 2)
		s.log.set(func(l *script) {
			l.connection++
			l.tick += 10
			l.changes = append(l.changes, change{l.tick, []Scope{"s:y"}, false})
		})
		require.NoError(t, s.CatchUp(t.Context()))
		require.NotEqual(t, knew.Incarnation, s.View().Incarnation)
		_, _, renews := s.log.counts()
		require.Equal(t, 1, renews)
	})
}

// Everything has changed in the other history since; but it has a change that this
// process, which had applied all of its own history, should know and does not.
func TestAForkedLogIsFoundByAChangeThatWasNotHeardOf(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		s.log.change("s:x")
		s.log.change("s:y")
		s.log.change("s:z")
		require.NoError(t, s.CatchUp(t.Context()))
		knew := s.View().AsOf()
		s.log.lose(knew.Tick - 3)
		s.log.set(func(l *script) {
			l.connection++
			l.tick = knew.Tick + 1
			l.changes = append(l.changes, change{knew.Tick - 1, []Scope{"s:x"}, false}, change{knew.Tick + 1, []Scope{"s:y", "s:z"}, false})
		})
		require.NoError(t, s.CatchUp(t.Context()))
		require.NotEqual(t, knew.Incarnation, s.View().Incarnation)
	})
}

// What is forgotten is no witness: the log need not agree with what is left of it.
func TestWhatIsBelowTheHorizonIsNoWitness(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		q := s.Query(nil)
		s.log.change("s:x")
		late, err := s.log.Delta(s.Context(), q.DeltaQuery)
		require.NoError(t, err)
		s.log.change("s:x")
		require.NoError(t, s.CatchUp(t.Context()))
		for i := range 4 {
			s.log.change(Scope(fmt.Sprintf("s:%d", i)))
			require.NoError(t, s.CatchUp(t.Context()))
		}
		_, err = s.Apply(s.Context(), q, late) // tells of the first of x
		require.NoError(t, err)
		require.NoError(t, s.CatchUp(t.Context()))
		require.NoError(t, s.CatchUp(t.Context()))
		_, _, renews := s.log.counts()
		require.Zero(t, renews)
	}, maxKnown(4))
}

// What came with a log when this process turned to it is below its horizon, and as
// good a witness of what is missing.
func TestAForkedLogIsFoundByAWitnessBelowTheHorizon(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		s.log.set(func(l *script) { l.renewLocked(AsOf{Incarnation: 1, Tick: 100}) })
		last := s.log.change("s:x")
		require.NoError(t, s.CatchUp(s.Context()))
		knew := s.View().AsOf()
		s.log.lose(last.Tick - 1)
		s.log.set(func(l *script) { l.tick += 10 })
		s.log.change("s:y")
		require.NoError(t, s.CatchUp(s.Context()))
		require.NotEqual(t, knew.Incarnation, s.View().Incarnation)
	})
}

// Two primaries answered for a while. What this process heard of in the log that
// it gives up, and the store that began the other one did not, has everything change there.
func TestWhatWasHeardOfInALogThatIsGivenUpIsNotLost(t *testing.T) {
	atFirst := AsOf{Incarnation: 1, Tick: 100}
	renewed := func(s *scene, after AsOf) { s.log.set(func(l *script) { l.renewLocked(after) }) }
	// heard has the process learn of a change when another log has begun already.
	heard := func(s *scene, change func(l *script)) {
		q := s.Query(nil)
		s.log.set(change)
		d, err := s.log.Delta(s.Context(), q.DeltaQuery)
		require.NoError(s, err)
		renewed(s, atFirst)
		_, err = s.Apply(s.Context(), q, d)
		require.NoError(s, err)
	}
	for name, c := range map[string]struct {
		play func(s *scene)
		lost bool
	}{
		"no more than the process that began the other": {func(s *scene) {
			a := s.log.change("s:x")
			require.NoError(s, s.CatchUp(s.Context()))
			renewed(s, AsOf{Incarnation: 1, Tick: a.Tick})
		}, false},
		"a message": {func(s *scene) {
			s.log.change("s:x")
			m := s.log.message(s.T, 0)
			renewed(s, atFirst)
			s.Receive(m)
		}, true},
		"a message of everything, after a gap": {func(s *scene) {
			missed := s.log.change("s:x")
			s.log.set(func(l *script) { l.changeLocked(true) })
			m := s.log.message(s.T, 0)
			renewed(s, AsOf{Incarnation: 1, Tick: missed.Tick})
			s.log.set(func(l *script) { l.deltaErr = errDown })
			s.Receive(m)
			synctest.Wait()
			s.log.set(func(l *script) { l.deltaErr = nil })
		}, true},
		"a delta": {func(s *scene) { heard(s, func(l *script) { l.changeLocked(false, "s:x") }) }, true},
		"more than is worth reading": {func(s *scene) {
			heard(s, func(l *script) { l.changeLocked(false, "s:1", "s:2", "s:3", "s:4", "s:5", "s:6") })
		}, true},
		"a change of ours": {func(s *scene) {
			s.log.set(func(l *script) {
				l.answered = func() {
					l.answered = nil
					renewed(s, atFirst)
				}
			})
			_, err := s.Change(s.Context(), []Scope{"s:x"}, false, 0)
			require.NoError(s, err)
		}, true},
		"the other began after a third": {func(s *scene) { renewed(s, AsOf{Incarnation: 77, Tick: 1000}) }, true},
		"the other began after none":    {func(s *scene) { renewed(s, AsOf{}) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *scene) {
				c.play(s)
				s.log.mu.Lock()
				begun := AsOf{Incarnation: s.log.incarnation, Tick: s.log.floor}
				s.log.mu.Unlock()
				require.NoError(t, s.CatchUp(s.Context()))
				synctest.Wait()
				require.Equal(t, begun.Incarnation, s.View().Incarnation)
				require.Equal(t, c.lost, s.judgeAsOf(begun, "s:y") == changed, "floor: %d", s.View().Floor)
				require.Equal(t, c.lost, s.log.floor > begun.Tick, "others learn it from the log")
				require.Equal(t, valid, s.judgeAsOf(s.View().AsOf(), "s:x", "s:y"))
			}, maxKnown(5))
		})
	}
}

// split is a log that is recorded by one server and read from another.
type split struct {
	*script
	record *script
}

func (l split) Append(ctx context.Context, c changelog.Change) (changelog.Appended, error) {
	return l.record.Append(ctx, c)
}

// What is recorded where the log is not read from is tried with each heartbeat, and
// no more often: its own messages do not have it tried again.
func TestALogThatIsRecordedElsewhereIsNotTriedForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read, record := newScript(), newScript()
		record.incarnation = 2
		tail := follow(t, split{read, record})
		record.set(func(l *script) {
			l.answered = func() { tail.Receive(record.message(t, 0)) } // as our own subscription gets it
		})
		_, err := tail.Change(t.Context(), []Scope{"s:x"}, false, 0)
		require.ErrorIs(t, err, changelog.ErrUnstable)
		synctest.Wait()
		_, appends, _ := record.counts()
		require.LessOrEqual(t, appends, 2, "the call, and once because of the message")
		time.Sleep(10 * time.Hour)
		synctest.Wait()
		_, later, _ := record.counts()
		require.LessOrEqual(t, later-appends, 10, "heartbeats")
		require.NotZero(t, tail.Health().Undelivered)
	})
}
