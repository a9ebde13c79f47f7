package wire

import (
	"net"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// closeAfterTheFirstAnswer closes c when the first of two answers was taken off what is owed.
func closeAfterTheFirstAnswer(c *Conn) (closed chan struct{}) {
	closed = make(chan struct{})
	go func() {
		defer close(closed)
		for answered := false; !answered; runtime.Gosched() {
			c.mu.Lock()
			answered = len(c.inflight) > c.completed && c.inflight[c.completed].received == 1
			c.mu.Unlock()
		}
		c.Close()
	}()
	return closed
}

func TestAConnectionThatEndsBetweenTwoAnswersIsAnError(t *testing.T) {
	c, _ := overTCP(t, Options{})
	closed := closeAfterTheFirstAnswer(c)
	_, err := c.Ask(within(t), []string{"ECHO", "a"}, []string{"SILENT"})
	<-closed
	require.ErrorIs(t, err, net.ErrClosed)
}

// The first answer may still be put into its memory: the race detector tells.
func TestAnAnswerThatIsBeingReadIsNotGivenOut(t *testing.T) {
	for range 200 {
		c, _ := overTCP(t, Options{})
		closed := closeAfterTheFirstAnswer(c)
		_, err := c.Ask(within(t), []string{"ECHO", "a"}, []string{"SILENT"})
		<-closed
		require.ErrorIs(t, err, net.ErrClosed)
	}
}
