package wire

import (
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/mono"
)

// drowsy is a connection whose reader hears of what has come only when he is made to
// look, as where the scheduler has others to run.
type drowsy struct {
	net.Conn
	looks chan struct{}
	times int // that he was made to look
	awake bool
}

func (d *drowsy) SetReadDeadline(t time.Time) error {
	if !t.IsZero() && t.Before(time.Now()) {
		d.times++
		d.looks <- struct{}{}
	}
	return nil
}

func (d *drowsy) Read(b []byte) (int, error) {
	if !d.awake {
		<-d.looks
		d.awake = true
		return 0, os.ErrDeadlineExceeded
	}
	d.awake = false
	return d.Conn.Read(b)
}

func TestWhoReadsIsMadeToLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		d := &drowsy{Conn: here, looks: make(chan struct{}, 100)}
		c, _ := serve(t, d, there, Options{})
		c.looks = true
		answered := make(chan error, 1)
		go func() {
			_, err := c.AskOne(t.Context(), "ECHO", "x")
			answered <- err
		}()
		synctest.Wait() // he reads, and the answer is there
		c.Look(mono.Now())
		synctest.Wait()
		require.Empty(t, answered, "he has just begun")
		time.Sleep(lookAfter)
		c.Look(mono.Now())
		require.NoError(t, <-answered)
	})
}

func TestWhoReadsIsMadeToLookNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		d := &drowsy{Conn: here, looks: make(chan struct{}, 100)}
		c, s := serve(t, d, there, Options{})
		asked := make(chan error, 1)
		go func() {
			_, err := c.AskOne(t.Context(), "SILENT")
			asked <- err
		}()
		synctest.Wait()
		time.Sleep(lookAfter)
		c.Look(mono.Now())
		require.Zero(t, d.times, "of such a connection it is not known what a read loses that times out")
		c.looks = true
		time.Sleep(lookAfter)
		for range 10 {
			c.Look(mono.Now())
		}
		synctest.Wait()
		require.Equal(t, 1, d.times)
		s.say("+late\r\n")
		require.NoError(t, <-asked)

		time.Sleep(lookAfter)
		c.Look(mono.Now())
		require.Equal(t, 1, d.times, "nobody reads")
	})
}
