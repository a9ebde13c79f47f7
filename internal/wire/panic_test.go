package wire

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/recovery"
)

// What is called by the goroutine that reads or writes a connection, or by the timer that
// gives requests up, may panic: that ends the connection, all that wait for it are told,
// and no lock stays locked.
func TestAPanicOfACallbackEndsTheConnection(t *testing.T) {
	never := func(bool, error) {}
	for name, one := range map[string]struct {
		bad  func(o *Options)
		meet func(t *testing.T, c *Conn, s *server)
	}{
		"a notice": {
			func(o *Options) { o.Invalidated = func([]string) { panic("of a notice") } },
			func(t *testing.T, c *Conn, s *server) {
				_, err := c.AskOne(within(t), "PUSH", "key")
				require.ErrorIs(t, err, recovery.ErrPanicked)
			},
		},
		"a message": {
			func(o *Options) { o.Message = func(string, string) bool { panic("of a message") } },
			func(t *testing.T, c *Conn, s *server) {
				s.say(">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n")
				_, err := c.AskOne(within(t), "SILENT")
				require.Error(t, err)
			},
		},
		"an answer": {
			func(*Options) {},
			func(t *testing.T, c *Conn, s *server) {
				require.NoError(t, c.Send(within(t), make([]Reply, 1), nil, func(bool, error) { panic("of an answer") }, []string{"ECHO", "x"}))
				_, _ = c.AskOne(within(t), "ECHO", "y")
			},
		},
		"what is queued": {
			func(*Options) {},
			func(t *testing.T, c *Conn, s *server) {
				told := make(chan error, 1)
				_ = c.Send(within(t), make([]Reply, 1), func() { panic("of what is queued") }, func(_ bool, err error) { told <- err }, []string{"ECHO", "x"})
				require.ErrorIs(t, <-told, recovery.ErrPanicked)
			},
		},
		"giving up": {
			func(*Options) {},
			func(t *testing.T, c *Conn, s *server) {
				require.NoError(t, c.Send(due{t.Context()}, make([]Reply, 1), nil, func(bool, error) { panic("of giving up") }, []string{"SILENT"}))
			},
		},
		"the end": {
			func(o *Options) { o.Ended = func() { panic("of the end") } },
			func(t *testing.T, c *Conn, s *server) {
				require.NoError(t, c.Send(within(t), make([]Reply, 1), nil, never, []string{"SILENT"}))
				require.NoError(t, c.Close())
			},
		},
		"what is found": {
			func(o *Options) { o.Token, o.Found = "token", func() { panic("of what is found") } },
			func(t *testing.T, c *Conn, s *server) {
				_, err := c.Write(command("ECHO", "token"))
				require.NoError(t, err, "it was written")
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			panics := recovery.New(slog.New(slog.DiscardHandler))
			o := Options{Panics: panics, Invalidated: func([]string) {}}
			one.bad(&o)
			c, s := overTCP(t, o)
			var waits sync.WaitGroup
			waits.Go(func() { // the client
				b := make([]byte, 1<<10)
				for {
					if _, err := c.Read(b); err != nil && !isTimeout(err) {
						return
					}
				}
			})
			one.meet(t, c, s)
			waits.Go(func() {
				if _, err := c.AskOne(within(t), "SILENT"); errors.Is(err, context.DeadlineExceeded) {
					t.Error("nobody told it of the end")
				}
			})
			waits.Wait()
			require.EqualValues(t, 1, panics.Count())
			require.ErrorIs(t, c.Send(within(t), make([]Reply, 1), nil, never, []string{"ECHO", "x"}), ErrRefused)
			require.Eventually(t, func() bool { return !c.Busy() }, time.Minute, time.Millisecond, "what was owed is forgotten")
		})
	}
}

// due is a context that has a deadline, and has not ended however late it is.
type due struct{ context.Context }

func (due) Deadline() (time.Time, bool) { return time.Now().Add(time.Millisecond), true }

// wild is a connection with a mistake.
type wild struct {
	net.Conn
	reads, writes atomic.Bool
}

func (w *wild) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if w.reads.Load() {
		panic("reading")
	}
	return n, err
}

func (w *wild) Write(b []byte) (int, error) {
	if w.writes.Load() {
		panic("writing")
	}
	return w.Conn.Write(b)
}

// Nor may a panic beneath leave what others wait for locked: a caller's own panic goes on
// in its goroutine, and may be recovered there.
func TestAPanicBeneathLeavesNothingLocked(t *testing.T) {
	asks := map[string]func(c *Conn) error{
		"a caller":         func(c *Conn) error { _, err := c.AskOne(within(t), "ECHO", "x"); return err },
		"the client":       func(c *Conn) error { _, err := c.Write(command("ECHO", "y")); return err },
		"the client, long": func(c *Conn) error { _, err := c.Write(command("ECHO", strings.Repeat("y", 2*MaxRequest))); return err },
	}
	for name, ask := range asks {
		for _, bad := range []string{"reading", "writing", "Go"} {
			t.Run(name+", "+bad, func(t *testing.T) {
				here, there := pair(t)
				defer there.Close()
				w := &wild{Conn: here}
				w.reads.Store(bad == "reading")
				w.writes.Store(bad == "writing")
				var running sync.WaitGroup
				defer running.Wait()
				c := New(w, Options{Go: func(f func()) bool {
					if bad == "Go" {
						panic("Go")
					}
					running.Go(f)
					return true
				}})
				defer c.Close()
				running.Go(func() { (&server{Conn: there}).run() })
				err := error(recovery.ErrPanicked)
				func() {
					defer func() { _ = recover() }()
					err = ask(c)
				}()
				if err == nil { // what it met is for those who read
					_, err = c.Read(make([]byte, 10))
				}
				if name != "a caller" && (bad == "Go" || err == nil) {
					return // the client writes itself
				}
				if name != "a caller" {
					_ = c.Close() // as its owner does
				}
				_, err = c.AskOne(within(t), "ECHO", "x")
				require.ErrorIs(t, err, ErrRefused)
			})
		}
	}
}
