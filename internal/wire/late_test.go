package wire

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/resp"
)

// told is what became of what was sent.
type told struct {
	replies []resp.Reply
	err     error
}

// send sends, and returns what then is told.
func send(t *testing.T, ctx context.Context, c *Conn, cmds ...[]string) <-chan told {
	then := make(chan told, 2)
	require.NoError(t, c.Send(ctx, func(replies []resp.Reply, err error) { then <- told{replies, err} }, cmds...))
	return then
}

func TestACallerThatSendsIsToldOfTheAnswers(t *testing.T) {
	t.Run("alone", func(t *testing.T) {
		c, _ := overTCP(t, Options{})
		then := send(t, within(t), c, []string{"ECHO", "a"}, []string{"ECHO", "b"})
		require.Equal(t, told{[]resp.Reply{{Kind: resp.Text, Text: "a"}, {Kind: resp.Text, Text: "b"}}, nil}, <-then)
		require.Empty(t, then)
	})
	t.Run("before a caller's own", func(t *testing.T) {
		c, _ := overTCP(t, Options{})
		then := send(t, within(t), c, []string{"ECHO", "a"})
		r, err := askOne(within(t), c, "ECHO", "b")
		require.NoError(t, err)
		require.Equal(t, "b", r.Text)
		require.Len(t, then, 1, "it was told before the caller")
		require.Equal(t, told{[]resp.Reply{{Kind: resp.Text, Text: "a"}}, nil}, <-then)
	})
}

// What is given up may be answered all the same, and that answer is no other caller's.
func TestWhatIsSentIsGivenUpInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := inMemory(t, Options{})
		begun := time.Now()
		late, cancel := context.WithTimeout(t.Context(), 80*time.Millisecond)
		defer cancel()
		soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		later := send(t, late, c, []string{"SILENT"})
		sooner := send(t, soon, c, []string{"SILENT"}, []string{"SILENT"})
		require.Equal(t, told{nil, context.DeadlineExceeded}, <-sooner)
		require.Equal(t, 50*time.Millisecond, time.Since(begun))
		require.Equal(t, told{nil, context.DeadlineExceeded}, <-later)
		require.Equal(t, 80*time.Millisecond, time.Since(begun))
		synctest.Wait()
		s.say("$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n")
		r, err := askOne(t.Context(), c, "ECHO", "after")
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
	then := send(t, within(t), c, []string{"ECHO", "a"}, []string{"SILENT"})
	c.Close()
	require.Equal(t, told{nil, net.ErrClosed}, <-then)
	require.Empty(t, then)
	err := c.Send(within(t), func([]resp.Reply, error) { t.Error("told of what was not sent") }, []string{"ECHO", "a"})
	require.ErrorIs(t, err, ErrUnsent)
	require.ErrorIs(t, err, net.ErrClosed)
}

// Many send, ask, give up and read at once: each is told once, of its own answer.
func TestEachCallerThatSendsIsToldOnce(t *testing.T) {
	c, s := overTCP(t, Options{})
	s.chop = true
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 300 {
				word := string(rune('a' + i%26))
				then := send(t, within(t), c, []string{"ECHO", word})
				if i%2 == 0 {
					_, _ = askOne(within(t), c, "ECHO", "y")
				}
				if got := <-then; got.err != nil || got.replies[0].Text != word || len(then) > 0 {
					t.Errorf("%q was answered with %v", word, got)
				}
			}
		})
	}
	all.Wait()
}
