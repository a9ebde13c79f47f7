package wire

import (
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// closeAfterTheFirstAnswer closes c when the first of two answers was taken off what is owed.
func closeAfterTheFirstAnswer(c *Conn) (closed chan struct{}) {
	closed = make(chan struct{})
	go func() {
		defer close(closed)
		for answered := false; !answered; runtime.Gosched() {
			c.mu.Lock()
			h := c.owed.head()
			answered = h != nil && h.n == 1
			c.mu.Unlock()
		}
		c.Close()
	}()
	return closed
}

// Whoever reads may be decoding one.
func TestTheAnswersOverAConnectionThatEndedAreNotWhole(t *testing.T) {
	c, _ := overTCP(t, Options{})
	client(t, c)
	closed := closeAfterTheFirstAnswer(c)
	whole, err := c.Ask(within(t), make([]Reply, 2), nil, []string{"ECHO", "a"}, []string{"SILENT"})
	<-closed
	require.ErrorIs(t, err, net.ErrClosed)
	require.False(t, whole)
}

// The first answer may still be put into its memory: the race detector tells.
func TestAnAnswerThatIsBeingReadIsNotGivenOut(t *testing.T) {
	for range 200 {
		c, _ := overTCP(t, Options{})
		client(t, c)
		require.Eventually(t, func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.reading // the client, and not who asks
		}, time.Minute, time.Microsecond)
		closed := closeAfterTheFirstAnswer(c)
		_, err := c.AskLast(within(t), []string{"ECHO", "a"}, []string{"SILENT"})
		<-closed
		require.ErrorIs(t, err, net.ErrClosed)
	}
}
