package wire

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/bound"
	"github.com/tiercache/tiercache/internal/resp"
)

const silence = 50 * time.Millisecond

// patient is a limit that many requests share.
type patient struct{ context.Context }

func (patient) Silence() time.Duration { return silence }

func newPatient(t *testing.T) patient {
	ctx, cancel := context.WithTimeoutCause(context.Background(), silence, errLate)
	t.Cleanup(cancel)
	return patient{ctx}
}

var errLate = errors.New("no answer in time")

// waysToWait are how a request waits: by itself, with its caller's context, and without a caller.
var waysToWait = map[string]func(t *testing.T, c *Conn, words ...string) (resp.Reply, error){
	"with the limit alone": func(t *testing.T, c *Conn, words ...string) (resp.Reply, error) {
		return askOne(newPatient(t), c, words...)
	},
	"with a caller": func(t *testing.T, c *Conn, words ...string) (resp.Reply, error) {
		caller, cancel := context.WithCancel(t.Context())
		defer cancel()
		ctx := bound.New(caller, newPatient(t), errLate)
		defer ctx.End()
		return askOne(ctx, c, words...)
	},
	"without waiting": func(t *testing.T, c *Conn, words ...string) (r resp.Reply, err error) {
		done := make(chan struct{})
		failed := c.Send(newPatient(t), func(answers []resp.Reply, told error) {
			if err = told; err == nil {
				r = answers[0]
			}
			close(done)
		}, words)
		require.NoError(t, failed)
		<-done
		return r, err
	},
}

// paced has the server say parts, one each 20 ms, and then falls silent.
func paced(t *testing.T, s *server, parts ...string) {
	var all sync.WaitGroup
	all.Go(func() {
		for _, part := range parts {
			time.Sleep(20 * time.Millisecond)
			s.say(part)
		}
	})
	t.Cleanup(all.Wait)
}

func inBubble(t *testing.T, test func(t *testing.T, c *Conn, s *server, ask func(words ...string) (resp.Reply, error))) {
	for name, ask := range waysToWait {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, s := inMemory(t, Options{Invalidated: func([]string) {}})
				test(t, c, s, func(words ...string) (resp.Reply, error) { return ask(t, c, words...) })
			})
		})
	}
}

func parts(n int, each string) (all []string) {
	for range n {
		all = append(all, each)
	}
	return all
}

func TestALargeAnswerThatArrivesIsNotGivenUp(t *testing.T) {
	inBubble(t, func(t *testing.T, c *Conn, s *server, ask func(...string) (resp.Reply, error)) {
		paced(t, s, append(append([]string{"$1048576\r\n"}, parts(16, strings.Repeat("x", 64<<10))...), "\r\n")...)
		begun := time.Now()
		r, err := ask("SILENT")
		require.NoError(t, err)
		require.Len(t, r.Text, 1<<20)
		require.Greater(t, time.Since(begun), 5*silence)
	})
}

func TestAnAnswerThatStopsIsGivenUp(t *testing.T) {
	inBubble(t, func(t *testing.T, c *Conn, s *server, ask func(...string) (resp.Reply, error)) {
		paced(t, s, append([]string{"$1048576\r\n"}, parts(5, strings.Repeat("x", 64<<10))...)...)
		begun := time.Now()
		_, err := ask("SILENT")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Less(t, time.Since(begun), 120*time.Millisecond+2*silence)
	})
}

// What comes now and then, and what is pushed, is no answer.
func TestALittleAndPushesAreSilence(t *testing.T) {
	for name, each := range map[string]string{
		"a little": "x",
		"pushes":   ">2\r\n$10\r\ninvalidate\r\n*1\r\n$" + fmt.Sprint(64<<10) + "\r\n" + strings.Repeat("k", 64<<10) + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *Conn, s *server, ask func(...string) (resp.Reply, error)) {
				first := ""
				if each == "x" {
					first = "$1048576\r\n"
				}
				paced(t, s, append([]string{first}, parts(20, each)...)...)
				begun := time.Now()
				_, err := ask("SILENT")
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.Equal(t, silence, time.Since(begun))
			})
		})
	}
}

// What comes before a small request is as much a reason to wait.
func TestARequestBehindLargeOnesIsNotGivenUp(t *testing.T) {
	inBubble(t, func(t *testing.T, c *Conn, s *server, ask func(...string) (resp.Reply, error)) {
		for range 10 {
			require.NoError(t, c.Send(deadline(t, time.Minute), func([]resp.Reply, error) {}, []string{"SILENT", strings.Repeat("x", 64<<10)}))
		}
		paced(t, s, parts(11, "+OK\r\n")...)
		begun := time.Now()
		r, err := ask("SILENT")
		require.NoError(t, err)
		require.Equal(t, "OK", r.Text)
		require.Equal(t, 220*time.Millisecond, time.Since(begun))
	})
}

// deadline is a context for Send, whose deadline is fixed.
func deadline(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// Of one limit there may be several requests, one after another.
func TestSilenceBeginsWithTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := inMemory(t, Options{})
		limit := newPatient(t)
		time.Sleep(45 * time.Millisecond)
		paced(t, s, "+late\r\n")
		r, err := askOne(limit, c, "SILENT")
		require.NoError(t, err)
		require.Equal(t, "late", r.Text)
		require.Error(t, limit.Err())
		begun := time.Now()
		_, err = askOne(limit, c, "SILENT")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, silence, time.Since(begun))
	})
}

func TestACallerIsNotHeldUpByALargeAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := inMemory(t, Options{})
		caller, cancel := context.WithCancel(t.Context())
		time.AfterFunc(130*time.Millisecond, cancel)
		ctx := bound.New(caller, newPatient(t), errLate)
		defer ctx.End()
		paced(t, s, append([]string{"$1048576\r\n"}, parts(16, strings.Repeat("x", 64<<10))...)...)
		begun := time.Now()
		_, err := askOne(ctx, c, "SILENT")
		require.Error(t, err)
		require.Equal(t, 130*time.Millisecond, time.Since(begun))
	})
}
