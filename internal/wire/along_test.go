package wire

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// lone is a caller who asks again at once after each request that he does not wait for.
type lone struct {
	t *testing.T
	c *Conn
	s *server
}

// alone runs test in a bubble, where no time passes while something runs.
func alone(t *testing.T, test func(l lone)) {
	synctest.Test(t, func(t *testing.T) {
		c, s := inMemory(t, Options{})
		client(t, c)
		test(lone{t, c, s})
		c.Close()
		synctest.Wait()
	})
}

func (l lone) asks() {
	_, err := l.c.AskOne(l.t.Context(), "ECHO", "asked")
	require.NoError(l.t, err)
	synctest.Wait() // a pipe is written by a goroutine, which has to have ended
}

// passes has time pass, which is the bubble's: nothing waits for it.
func (l lone) passes(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// sends reports whether the request was written at once, and not left.
func (l lone) sends(what string) bool {
	_, then := send(l.t, within(l.t), l.c, nil, []string{"ECHO", what})
	l.t.Cleanup(func() { <-then })
	synctest.Wait()
	return l.heard() == "ECHO "+what
}

// heard is the last that the server has.
func (l lone) heard() string {
	all := l.s.heard()
	return all[len(all)-1]
}

// untilLeft asks and sends until a request is left, and returns how often that took.
func (l lone) untilLeft() (rounds int) {
	for rounds = 1; ; rounds++ {
		require.Less(l.t, rounds, 10*minStreak)
		if l.asks(); !l.sends("sent") {
			return rounds
		}
	}
}

func TestWhatNobodyWaitsForIsTakenAlongByWhoAlwaysAsksAgain(t *testing.T) {
	alone(t, func(l lone) {
		require.Greater(t, l.untilLeft(), minStreak)
		before := len(l.s.heard())
		l.passes(soon / 2)
		l.asks()
		require.Equal(t, []string{"ECHO sent", "ECHO asked"}, l.s.heard()[before:])
		l.passes(backAfter) // the client looks, and finds nothing left
		require.False(t, l.sends("again"), "it was no trouble")
	})
}

func TestWhatNobodyTakesAlongIsWrittenSoon(t *testing.T) {
	alone(t, func(l lone) {
		l.untilLeft()
		l.passes(2 * backAfter)
		require.Equal(t, "ECHO sent", l.heard())
		require.Greater(t, l.untilLeft(), 2*minStreak, "it takes longer to be believed again")
		l.asks()
		for range 20 {
			require.False(t, l.sends("sent"))
			l.asks()
		}
		require.False(t, l.sends("sent"))
		l.passes(2 * backAfter)
		require.LessOrEqual(t, l.untilLeft(), 2*minStreak+1, "and not for ever")
	})
}

func TestOnlyWhoAsksAgainAtOnceIsReliedOn(t *testing.T) {
	for name, slow := range map[string]func(l lone){
		"he takes his time":  func(l lone) { l.passes(2 * soon); l.asks() },
		"the client does it": func(l lone) { l.c.wake(); synctest.Wait(); l.passes(2 * soon); l.asks() },
	} {
		t.Run(name, func(t *testing.T) {
			alone(t, func(l lone) {
				l.untilLeft()
				slow(l)
				require.True(t, l.sends("after"))
				require.Greater(t, l.untilLeft(), minStreak-1)
			})
		})
	}
}

// The client may read next, and then would wait for the answer to what nobody has
// written.
func TestWhatIsLeftIsWrittenBeforeTheClientReads(t *testing.T) {
	alone(t, func(l lone) {
		l.untilLeft()
		l.c.wake()
		synctest.Wait()
		require.Equal(t, "ECHO sent", l.heard())
		l.asks()
		require.False(t, l.sends("again"), "nobody is to blame")
	})
}

func TestWhatHasLittleTimeIsNotLeft(t *testing.T) {
	alone(t, func(l lone) {
		l.untilLeft()
		l.asks()
		ctx, cancel := context.WithTimeout(l.t.Context(), leastTime)
		defer cancel()
		_, then := send(l.t, ctx, l.c, nil, []string{"ECHO", "hurry"})
		synctest.Wait()
		require.Equal(t, "ECHO hurry", l.heard())
		l.asks()
		require.Equal(t, told{true, nil}, <-then)
	})
}

func TestNothingIsLeftWhileOthersWaitOrTheClientDoesNot(t *testing.T) {
	alone(t, func(l lone) {
		l.untilLeft()
		l.asks()
		ctx, cancel := context.WithCancel(l.t.Context())
		var other sync.WaitGroup
		other.Go(func() { _, _ = l.c.AskOne(ctx, "SILENT") })
		synctest.Wait()
		require.True(t, l.sends("beside another"))
		cancel()
		other.Wait()
	})
	alone(t, func(l lone) {
		l.untilLeft()
		l.asks()
		l.passes(5 * backAfter) // now it reads
		l.c.mu.Lock()
		l.c.along.streak = maxStreak
		l.c.mu.Unlock()
		require.True(t, l.sends("while the client reads"))
	})
}
