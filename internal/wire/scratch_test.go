package wire

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/resp"
)

// answering is a server that answers each request with what it is then given.
func answering(t *testing.T) (c *Conn, answer func(b []byte)) {
	here, there := net.Pipe()
	asked := make(chan bool, 10)
	var all sync.WaitGroup
	all.Go(func() {
		for b := make([]byte, 1000); ; asked <- true {
			if _, err := there.Read(b); err != nil {
				return
			}
		}
	})
	c = New(here, Options{Go: func(f func()) bool { all.Go(f); return true }})
	t.Cleanup(func() {
		c.Close()
		there.Close()
		all.Wait()
	})
	return c, func(b []byte) {
		<-asked
		_, err := there.Write(b)
		assert.NoError(t, err)
	}
}

func textsOf(r resp.Reply) (texts []string) {
	for _, x := range r.Array {
		texts = append(texts, x.Text)
	}
	return texts
}

// Guard: scratch-abandoned-after-error.
//
//	A:                asks over one connection, and gives up
//	A:                asks over another, and is answered
//	reader goroutine: decodes the first answer
func TestWhatWasGivenUpIsNotDecodedIntoALaterAnswer(t *testing.T) {
	var scratch resp.Scratch
	slow, answerSlow := answering(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err := slow.AskInto(ctx, &scratch, []string{"MGET", "a", "b"})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	quick, answer := answering(t)
	go answer(array("of c", "of d"))
	answers, err := quick.AskInto(within(t), &scratch, []string{"MGET", "c", "d"})
	require.NoError(t, err)
	answerSlow(array("of a", "of b"))
	go answerSlow(array("pong"))
	_, err = slow.Ask(within(t), []string{"PING"}) // it has been decoded
	require.NoError(t, err)
	require.Equal(t, []string{"of c", "of d"}, textsOf(answers[0]))
}

// Guard: memory-of-last-answer.
func TestAnswersToOneRequestShareNoMemory(t *testing.T) {
	var scratch resp.Scratch
	c, answer := answering(t)
	for range 2 {
		go answer(append(array("of a", "of b"), array("of c", "of d")...))
		answers, err := c.AskInto(within(t), &scratch, []string{"MGET", "a", "b"}, []string{"MGET", "c", "d"})
		require.NoError(t, err)
		require.Equal(t, []string{"of a", "of b"}, textsOf(answers[0]))
		require.Equal(t, []string{"of c", "of d"}, textsOf(answers[1]))
	}
}
