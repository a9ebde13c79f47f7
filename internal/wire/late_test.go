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

// told is what became of what was sent.
type told struct {
	whole bool
	err   error
}

// send sends, and returns the answers' room and what then is told.
func send(t *testing.T, ctx context.Context, c *Conn, queued func(), cmds ...[]string) ([]Reply, <-chan told) {
	replies, then := make([]Reply, len(cmds)), make(chan told, 2)
	require.NoError(t, c.Send(ctx, replies, queued, func(whole bool, err error) { then <- told{whole, err} }, cmds...))
	return replies, then
}

func TestWhoSendsIsToldOfTheAnswers(t *testing.T) {
	t.Run("that the client reads", func(t *testing.T) {
		c, _ := overTCP(t, Options{})
		client(t, c)
		replies, then := send(t, within(t), c, nil, []string{"ECHO", "a"}, []string{"ECHO", "b"})
		require.Equal(t, told{true, nil}, <-then)
		require.Equal(t, []Reply{{Kind: Text, Text: "a"}, {Kind: Text, Text: "b"}}, replies)
		require.False(t, c.Busy())
		require.Empty(t, then)
	})
	t.Run("that a caller reads", func(t *testing.T) {
		c, _ := overTCP(t, Options{})
		replies, then := send(t, within(t), c, nil, []string{"ECHO", "a"})
		r, err := c.AskOne(within(t), "ECHO", "b")
		require.NoError(t, err)
		require.Equal(t, "b", r.Text)
		require.Len(t, then, 1, "it was told before the caller")
		require.Equal(t, told{true, nil}, <-then)
		require.Equal(t, "a", replies[0].Text)
	})
}

// What is given up may be answered all the same, and that answer is nobody else's.
func TestWhatIsSentIsGivenUpInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := inMemory(t, Options{})
		client(t, c)
		begun := time.Now()
		late, cancel := context.WithTimeout(t.Context(), 80*time.Millisecond)
		defer cancel()
		soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, later := send(t, late, c, nil, []string{"SILENT"})
		_, sooner := send(t, soon, c, nil, []string{"SILENT"}, []string{"SILENT"})
		require.Equal(t, told{false, context.DeadlineExceeded}, <-sooner)
		require.Equal(t, 50*time.Millisecond, time.Since(begun))
		require.Equal(t, told{false, context.DeadlineExceeded}, <-later)
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
	client(t, c)
	_, then := send(t, within(t), c, nil, []string{"ECHO", "a"}, []string{"SILENT"})
	c.Close()
	require.Equal(t, told{false, net.ErrClosed}, <-then)
	require.Empty(t, then)
	err := c.Send(within(t), make([]Reply, 1), nil, func(bool, error) { t.Error("told of what was not sent") }, []string{"ECHO", "a"})
	require.ErrorIs(t, err, ErrRefused)
	require.ErrorIs(t, err, net.ErrClosed)
}

// Guard: queuing. Others write what is being queued, and read its answer, or the
// connection ends, or it takes too long; he who queues is told afterwards.
func TestWhoSendsIsNotToldBeforeItIsQueued(t *testing.T) {
	for name, end := range map[string]struct {
		by  func(t *testing.T, ctx context.Context, c *Conn)
		how told
	}{
		"answered": {func(t *testing.T, _ context.Context, c *Conn) {
			_, err := c.AskOne(within(t), "ECHO", "others")
			require.NoError(t, err)
		}, told{true, nil}},
		"ended":    {func(_ *testing.T, _ context.Context, c *Conn) { c.Close() }, told{false, net.ErrClosed}},
		"too late": {func(_ *testing.T, ctx context.Context, c *Conn) { <-ctx.Done(); c.giveUp() }, told{false, context.DeadlineExceeded}},
	} {
		t.Run(name, func(t *testing.T) {
			c, s := overTCP(t, Options{})
			client(t, c)
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			if end.how.whole {
				ctx = within(t)
			}
			queued, then := false, make(chan told, 2)
			require.NoError(t, c.Send(ctx, make([]Reply, 1), func() {
				end.by(t, ctx, c)
				require.Empty(t, then)
				queued = true
			}, func(whole bool, err error) {
				require.True(t, queued)
				then <- told{whole, err}
			}, []string{"ECHO", "a"}))
			require.Equal(t, end.how, <-then)
			require.Empty(t, then)
			if end.how.err != net.ErrClosed {
				_, err := c.AskOne(within(t), "ECHO", "after")
				require.NoError(t, err)
				require.Contains(t, s.heard(), "ECHO a", "it was written all the same")
			}
		})
	}
}

// Many send, ask, give up and read at once: each is told once, of its own answer.
func TestWhoeverSendsIsToldOnce(t *testing.T) {
	c, s := overTCP(t, Options{})
	s.chop = true
	client(t, c)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 300 {
				word := string(rune('a' + i%26))
				replies, then := send(t, within(t), c, func() {
					if i%3 == 0 {
						_, _ = c.AskOne(within(t), "ECHO", "x")
					}
				}, []string{"ECHO", word})
				if i%2 == 0 {
					_, _ = c.AskOne(within(t), "ECHO", "y")
				}
				if got := <-then; got != (told{true, nil}) || replies[0].Text != word || len(then) > 0 {
					t.Errorf("%q was answered with %q, %v", word, replies[0].Text, got)
				}
			}
		})
	}
	all.Wait()
}
