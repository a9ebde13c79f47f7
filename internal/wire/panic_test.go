package wire

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/recovery"
	"github.com/tiercache/tiercache/internal/resp"
)

// What is called by the goroutine that reads or writes a connection, or by the timer that
// gives requests up, may panic: that ends the connection, all that wait for it are told,
// and no lock stays locked.
func TestAPanicOfACallbackEndsTheConnection(t *testing.T) {
	never := func([]resp.Reply, error) {}
	for name, one := range map[string]struct {
		bad  func(o *Options)
		meet func(t *testing.T, c *Conn, s *server)
	}{
		"an invalidation": {
			func(o *Options) { o.Invalidated = func([]string) { panic("of an invalidation") } },
			func(t *testing.T, c *Conn, s *server) {
				_, err := askOne(within(t), c, "PUSH", "key")
				require.ErrorIs(t, err, recovery.ErrPanicked)
			},
		},
		"an invalidation while nothing is asked": {
			func(o *Options) { o.Invalidated = func([]string) { panic("of an invalidation") } },
			func(t *testing.T, c *Conn, s *server) {
				s.say(">2\r\n$10\r\ninvalidate\r\n_\r\n")
			},
		},
		"an answer": {
			func(*Options) {},
			func(t *testing.T, c *Conn, s *server) {
				require.NoError(t, c.Send(within(t), func([]resp.Reply, error) { panic("of an answer") }, []string{"ECHO", "x"}))
				_, _ = askOne(within(t), c, "ECHO", "y")
			},
		},
		"giving up": {
			func(*Options) {},
			func(t *testing.T, c *Conn, s *server) {
				require.NoError(t, c.Send(due{t.Context()}, func([]resp.Reply, error) { panic("of giving up") }, []string{"SILENT"}))
			},
		},
		"the end": {
			func(o *Options) { o.Ended = func(error) { panic("of the end") } },
			func(t *testing.T, c *Conn, s *server) {
				require.NoError(t, c.Send(within(t), never, []string{"SILENT"}))
				c.Close()
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			panics := recovery.New(slog.New(slog.DiscardHandler))
			o := Options{Panics: panics, Invalidated: func([]string) {}}
			one.bad(&o)
			c, s := overTCP(t, o)
			one.meet(t, c, s)
			var waits sync.WaitGroup
			waits.Go(func() {
				if _, err := askOne(within(t), c, "SILENT"); errors.Is(err, context.DeadlineExceeded) {
					t.Error("it was not told of the end")
				}
			})
			waits.Wait()
			require.EqualValues(t, 1, panics.Count())
			require.ErrorIs(t, c.Send(within(t), never, []string{"ECHO", "x"}), ErrUnsent)
			c.mu.Lock()
			defer c.mu.Unlock()
			require.Empty(t, c.inflight, "the requests that wait are forgotten")
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
	for _, bad := range []string{"reading", "writing", "Go"} {
		t.Run(bad, func(t *testing.T) {
			here, there := pair(t)
			defer there.Close()
			w := &wild{Conn: here}
			w.reads.Store(bad == "reading")
			w.writes.Store(bad == "writing")
			var running sync.WaitGroup
			defer running.Wait()
			begun := false
			c := New(w, Options{Go: func(f func()) bool {
				if begun && bad == "Go" {
					panic("Go")
				}
				begun = true
				running.Go(f)
				return true
			}})
			defer c.Close()
			running.Go(func() { (&server{Conn: there}).run() })
			err := error(recovery.ErrPanicked)
			func() {
				defer func() { _ = recover() }()
				_, err = askOne(within(t), c, "ECHO", "x")
			}()
			require.Error(t, err)
			_, err = askOne(within(t), c, "ECHO", "x")
			require.ErrorIs(t, err, ErrUnsent)
		})
	}
}

// Guard: apart. What panics without the lock leaves it to its callers as they expect it: theirs to unlock.
func TestAPanicApartLeavesTheLockToItsCaller(t *testing.T) {
	c := &Conn{}
	func() {
		defer func() { _ = recover() }()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.unlocked(func() { panic("apart") })
	}()
	require.True(t, c.mu.TryLock())
}

// secondWrite is a connection that panics when it is written to again; the first write
// begins, and waits until it may go on.
type secondWrite struct {
	net.Conn
	writes       atomic.Int64
	begins, goOn chan struct{}
}

func (w *secondWrite) Write(b []byte) (int, error) {
	if w.writes.Add(1) > 1 {
		panic("writing again")
	}
	close(w.begins)
	<-w.goOn
	return w.Conn.Write(b)
}

// What came while something was being written is written by the same goroutine, which
// holds the lock around that: it has to hold it again after a panic, to unlock it.
func TestAPanicOfTheNextWriteLeavesNothingLocked(t *testing.T) {
	here, there := pair(t)
	defer there.Close()
	w := &secondWrite{Conn: here, begins: make(chan struct{}), goOn: make(chan struct{})}
	var running sync.WaitGroup
	defer running.Wait()
	c := New(w, Options{Go: func(f func()) bool {
		running.Go(f)
		return true
	}})
	defer c.Close()
	running.Go(func() { (&server{Conn: there}).run() })
	ended := make(chan error, 2)
	then := func(_ []resp.Reply, err error) { ended <- err }
	require.NoError(t, c.Send(within(t), then, []string{"SILENT"}))
	<-w.begins
	require.NoError(t, c.Send(within(t), then, []string{"SILENT"}))
	close(w.goOn)
	for range 2 {
		require.ErrorIs(t, <-ended, recovery.ErrPanicked)
	}
}
