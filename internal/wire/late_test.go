package wire

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// send sends, and returns memory for the answers and what then is told.
func send(t *testing.T, ctx context.Context, c *Conn, cmds ...[]string) ([]Reply, <-chan error) {
	replies, then := make([]Reply, len(cmds)), make(chan error, 2)
	require.NoError(t, c.Send(ctx, replies, func(err error) { then <- err }, cmds...))
	return replies, then
}

func TestWhoSendsIsToldOfTheAnswers(t *testing.T) {
	t.Run("that the client reads", func(t *testing.T) {
		c, _ := overTCP(t, Options{})
		replies, then := send(t, within(t), c, []string{"ECHO", "a"}, []string{"ECHO", "b"})
		require.NoError(t, <-then)
		require.Equal(t, []Reply{{Kind: Text, Text: "a"}, {Kind: Text, Text: "b"}}, replies)
		require.Empty(t, then)
	})
	t.Run("that a caller reads", func(t *testing.T) {
		c, _ := overTCP(t, Options{})
		replies, then := send(t, within(t), c, []string{"ECHO", "a"})
		r, err := c.AskOne(within(t), "ECHO", "b")
		require.NoError(t, err)
		require.Equal(t, "b", r.Text)
		require.Len(t, then, 1, "it was told before the caller")
		require.NoError(t, <-then)
		require.Equal(t, "a", replies[0].Text)
	})
}

// What is given up may be answered all the same, and that answer is nobody else's.
func TestWhatIsSentIsGivenUpInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := inMemory(t, Options{})
		begun := time.Now()
		late, cancel := context.WithTimeout(t.Context(), 80*time.Millisecond)
		defer cancel()
		soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, later := send(t, late, c, []string{"SILENT"})
		_, sooner := send(t, soon, c, []string{"SILENT"}, []string{"SILENT"})
		require.Equal(t, context.DeadlineExceeded, <-sooner)
		require.Equal(t, 50*time.Millisecond, time.Since(begun))
		require.Equal(t, context.DeadlineExceeded, <-later)
		require.Equal(t, 80*time.Millisecond, time.Since(begun))
		synctest.Wait()
		s.say("$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n")
		r, err := c.AskOne(t.Context(), "ECHO", "after")
		require.NoError(t, err)
		require.Equal(t, "after", r.Text)
		require.Empty(t, sooner)
		require.Empty(t, later)
		c.Close()
		synctest.Wait()
	})
}

func TestWhatIsSentEndsWithTheConnection(t *testing.T) {
	c, _ := overTCP(t, Options{})
	_, then := send(t, within(t), c, []string{"ECHO", "a"}, []string{"SILENT"})
	c.Close()
	require.ErrorIs(t, <-then, net.ErrClosed)
	require.Empty(t, then)
	err := c.Send(within(t), make([]Reply, 1), func(error) { t.Error("told of what was not sent") }, []string{"ECHO", "a"})
	require.ErrorIs(t, err, ErrUnsent)
	require.ErrorIs(t, err, net.ErrClosed)
}

// Many send, ask, give up and read at once: each is told once, of its own answer.
func TestWhoeverSendsIsToldOnce(t *testing.T) {
	c, s := overTCP(t, Options{})
	s.chop = true
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 300 {
				word := string(rune('a' + i%26))
				replies, then := send(t, within(t), c, []string{"ECHO", word})
				if i%2 == 0 {
					_, _ = c.AskOne(within(t), "ECHO", "y")
				}
				if got := <-then; got != nil || replies[0].Text != word || len(then) > 0 {
					t.Errorf("%q was answered with %q, %v", word, replies[0].Text, got)
				}
			}
		})
	}
	all.Wait()
}
