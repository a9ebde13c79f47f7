package changelog_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/invalidation"
)

// corpus returns the lines of a file, each in words, of which those in quotes are Go strings.
func corpus(t *testing.T, name string) (lines [][]string) {
	raw, err := os.ReadFile("testdata/" + name)
	require.NoError(t, err)
	for line := range strings.Lines(string(raw)) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		var words []string
		for line != "" {
			word, rest, _ := strings.Cut(line, " ")
			if line[0] == '"' {
				quoted, err := strconv.QuotedPrefix(line)
				require.NoError(t, err, line)
				word, err = strconv.Unquote(quoted)
				require.NoError(t, err, line)
				rest = strings.TrimPrefix(line[len(quoted):], " ")
			}
			words, line = append(words, word), rest
		}
		lines = append(lines, words)
	}
	require.NotEmpty(t, lines)
	return lines
}

// Every member that any version has written is what it was. That the scores are those
// of ticks is up to package remote, whose tests read the same file.
func TestTheCorpusOfMembers(t *testing.T) {
	for _, line := range corpus(t, "members.txt") {
		verdict, score, member := line[0], line[1], Scope(line[2])
		tick, err := strconv.ParseInt(score, 10, 64)
		if verdict == "own" || err != nil || tick >= 1<<53 {
			continue
		}
		log := newScript()
		log.set(func(s *script) {
			s.changes = []change{{tick: 150, scopes: []Scope{member}}}
			s.tick = 151
		})
		cfg := changelog.Config{Heartbeat: time.Hour, Timeout: time.Second, Retention: time.Hour, Logger: slog.New(slog.DiscardHandler)}
		tail, err := changelog.Start(t.Context(), log, cfg)
		_, _, renews := log.counts()
		if verdict == "later" {
			require.ErrorContains(t, err, "reads formats up to 1", "%q", member)
			require.Zero(t, renews, "%q: nothing is replaced", member)
			format, _, _ := strings.Cut(string(member[1:]), ":")
			require.ErrorContains(t, err, "of format "+format)
			continue
		}
		require.NoError(t, err, "%q", member)
		require.Equal(t, verdict == "foreign", renews == 1, "%q", member)
		if verdict == "foreign" {
			require.EqualValues(t, 1001, tail.View().Incarnation, "%q: another log", member)
		} else {
			require.EqualValues(t, 151, tail.View().Watermark)
			marks := tail.Pin([]Scope{member})
			require.Equal(t, verdict == "ours", marks[0].Last() == 150, "%q", member)
		}
		tail.Close()
	}
}

// Every message that any version has published is read as it was, or has the log read.
func TestTheCorpusOfMessages(t *testing.T) {
	for _, line := range corpus(t, "messages.txt") {
		m, err := changelog.ParseMessage(line[1])
		if line[0] == "read" {
			require.Error(t, err, "%q", line[1])
			continue
		}
		require.NoError(t, err, "%q", line[1])
		want := changelog.Message{Incarnation: 0x0123456789abcdef, Prev: 41, Tick: 42}
		for i, word := range line[2:] {
			if word == "several" { // all at the tick of the message
				want.Several = true
				for _, s := range line[2+i+1:] {
					want.Changes = append(want.Changes, changelog.ScopeTick{Scope: Scope(s), Tick: 42})
				}
				break
			}
			switch word {
			case "all":
				want.All = true
			case "floor":
				want.Floor = 42
			case "partial":
				want.Partial = true
			case "scopes":
				for _, s := range line[2+i+1:] {
					want.Scopes = append(want.Scopes, Scope(s))
				}
			}
		}
		require.Equal(t, want, m, "%q", line[1])
	}
}

// A log of a later format stops no store that follows it before, and nothing is replaced;
// an operator that has it deleted, or a member taken out, has all go on.
func TestALogOfALaterFormatIsLeftAlone(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		s.log.change("~2:new")
		require.NoError(t, s.CatchUp(t.Context()))
		watermark := s.View().Watermark
		s.log.change("|2:new", "hello") // what else is wrong with it is not this version's to mend
		for range 3 {
			require.ErrorContains(t, s.CatchUp(t.Context()), "of format 2")
		}
		require.Equal(t, watermark, s.View().Watermark)
		_, _, renews := s.log.counts()
		require.Zero(t, renews)
		s.log.lose(-1)
		require.NoError(t, s.CatchUp(t.Context()))
	})
}

// Guard: adoptLocked. Whatever the process does next, its declarations are recorded in the
// new log at once; and a server that was found before that was done is admitted, too.
func TestAnotherLogIsToldAtOnceWhatWasDeclared(t *testing.T) {
	latest := func(s *scene, scope Scope) (tick Tick) {
		s.log.set(func(l *script) {
			for _, c := range l.changes {
				if slices.Contains(c.scopes, scope) {
					tick = c.tick
				}
			}
		})
		return tick
	}
	for name, came := range map[string]int64{"no server came": 0, "a server came meanwhile": 1} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *scene) {
				for range 3 { // and the next log, and the one after it
					_, err := s.Change(context.Background(), []Scope{invalidation.Written("docs")}, false, 0)
					require.NoError(t, err)
					s.log.set(func(l *script) { l.renewLocked(s.View().AsOf()) })
					s.log.set(func(l *script) { l.appendErr = errDown; l.histories++ })
					require.NoError(t, s.CatchUp(t.Context()))
					synctest.Wait()
					require.Zero(t, latest(s, invalidation.Written("docs")))
					s.log.set(func(l *script) { l.appendErr = nil; l.histories += came })
					require.NoError(t, s.CatchUp(t.Context()))
					s.Wake()
					synctest.Wait()
					require.NotZero(t, latest(s, invalidation.Written("docs")), "it is declared")
					require.Equal(t, came > 0, latest(s, "n:docs") > 0, "the namespace changes")
					require.Zero(t, s.Health().Undelivered)
				}
			})
		})
	}
}

// B3 of the protocol. Guard: renewDeclarationsLocked.
func TestADeclarationBelowTheFloorIsMadeAgain(t *testing.T) {
	declare := func(s *scene) Tick {
		a, err := s.Change(context.Background(), []Scope{invalidation.Written("docs")}, false, 0)
		require.NoError(t, err)
		require.NoError(t, s.CatchUp(t.Context()))
		return a.Tick
	}
	latest := func(s *scene, scope Scope) (tick Tick) {
		s.log.set(func(l *script) {
			for _, c := range l.changes {
				for _, x := range c.scopes {
					if x == scope {
						tick = c.tick
					}
				}
			}
		})
		return tick
	}
	for name, x := range map[string]struct {
		histories [3]int64 // when it is declared, lapses, and stands again
		changes   bool
	}{
		"nothing else happened":                             {[3]int64{1, 1, 1}, false},
		"another server was found before that was recorded": {[3]int64{1, 2, 2}, true},
		"another server came before it was done":            {[3]int64{1, 1, 2}, true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *scene) {
				histories := func(n int64) { s.log.set(func(l *script) { l.histories = n }) }
				histories(x.histories[0])
				declared := declare(s)
				for i := range 3 { // and whenever it happens again
					s.log.change("s:x")
					s.log.set(func(l *script) { l.floor = l.tick - 1 })
					histories(x.histories[1] + int64(3*i))
					require.NoError(t, s.CatchUp(t.Context()))
					synctest.Wait()
					again := latest(s, invalidation.Written("docs"))
					require.Greater(t, again, declared, "it is declared again at once")
					declared = again
					histories(x.histories[2] + int64(3*i))
					require.NoError(t, s.CatchUp(t.Context()))
					synctest.Wait()
					require.Equal(t, x.changes || i > 0, latest(s, "n:docs") > 0, "the namespace changes")
					require.Zero(t, s.Health().Undelivered)
				}
			})
		})
	}
	t.Run("a floor that is below it", func(t *testing.T) {
		bubble(t, func(t *testing.T, s *scene) {
			declared := declare(s)
			s.log.change("s:x")
			s.log.set(func(l *script) { l.floor, l.histories = declared-1, 7 })
			require.NoError(t, s.CatchUp(t.Context()))
			synctest.Wait()
			require.Equal(t, declared, latest(s, invalidation.Written("docs")))
			require.Zero(t, latest(s, "n:docs"))
		})
	})
	t.Run("what lapsed is pending until it is recorded", func(t *testing.T) {
		bubble(t, func(t *testing.T, s *scene) {
			declare(s)
			s.log.change("s:x")
			s.log.set(func(l *script) { l.floor, l.histories, l.appendErr = l.tick-1, 7, errDown })
			require.NoError(t, s.CatchUp(t.Context()))
			require.Equal(t, changelog.Changed, s.judge(s.View().Watermark, "n:docs"))
			s.log.set(func(l *script) { l.appendErr = nil })
			s.Wake()
			synctest.Wait()
			require.NoError(t, s.CatchUp(t.Context()))
			require.Equal(t, changelog.Valid, s.judge(s.View().Watermark, "n:docs"))
		})
	})
}

// A log that is damaged as soon as it is renewed is renewed at a pace.
func TestALogThatIsDamagedAgainAndAgainIsRenewedAtAPace(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		s.log.set(func(l *script) {
			l.asked = func() { l.tick++; l.changes = append(l.changes, change{l.tick, []Scope{"hello"}, false}) }
		})
		renewed := func() int {
			_, _, before := s.log.counts()
			for range 100 {
				require.ErrorIs(t, s.CatchUp(t.Context()), changelog.ErrUnstable)
			}
			_, _, now := s.log.counts()
			return now - before
		}
		for range 3 {
			require.Equal(t, 16, renewed())
			time.Sleep(time.Second)
		}
		s.log.set(func(l *script) { l.asked = nil })
		require.NoError(t, s.CatchUp(t.Context()))
	})
}

// Where the log cannot be read, though the store is connected, messages do not have it
// asked for each.
func TestMessagesDoNotAskALogThatCannotBeRead(t *testing.T) {
	bubble(t, func(t *testing.T, s *scene) {
		require.NoError(t, s.CatchUp(t.Context()))
		require.NotZero(t, s.View().Proof)
		s.log.set(func(l *script) { l.deltaErr = errDown })
		before, _, _ := s.log.counts()
		s.log.change("s:missed")
		for range 1000 { // a second
			s.log.change("s:x")
			s.Receive(s.log.message(t, 0))
			time.Sleep(time.Millisecond)
		}
		after, _, _ := s.log.counts()
		require.Less(t, after-before, 30)
		s.log.set(func(l *script) { l.deltaErr = nil })
		s.log.change("s:y")
		s.Receive(s.log.message(t, 0))
		time.Sleep(64 * time.Millisecond)
		synctest.Wait()
		require.Equal(t, s.log.tick, s.View().Watermark, "it is read soon")
	})
}

// A server that is full evicts the new log at once, and each request finds that there is none. That is one loss.
func TestALogThatIsLostAtOnceAgainIsLoggedOnce(t *testing.T) {
	var log bytes.Buffer
	bubble(t, func(t *testing.T, s *scene) {
		told := func() int {
			synctest.Wait()
			return strings.Count(log.String(), "lost history, starting a new one")
		}
		for loss := 1; loss <= 2; loss++ {
			require.NoError(t, s.CatchUp(t.Context()))
			s.log.set(func(l *script) { l.asked = func() { l.incarnation = 0 } })
			for range 20 {
				require.ErrorIs(t, s.CatchUp(t.Context()), changelog.ErrUnstable)
				time.Sleep(time.Second)
			}
			require.Equal(t, loss, told(), log.String())
			s.log.set(func(l *script) { l.asked = nil })
		}
	}, func(c *changelog.Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
}
