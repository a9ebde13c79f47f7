package wire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/resp"
	"github.com/tiercache/tiercache/internal/valkeytest"
)

func TestMain(m *testing.M) { valkeytest.Main(m) }

// Some ask, some give up, and the server answers in pieces: each gets what it asked for,
// and no caller waits for ever.
func TestEveryAnswerGoesToTheCallerThatAsked(t *testing.T) {
	c, s := overTCP(t, Options{})
	s.chop = true
	ctx := within(t)
	var all sync.WaitGroup
	for g := range 16 {
		all.Go(func() {
			for i := range 300 {
				word := fmt.Sprintf("%d/%d ", g, i)
				switch i % 8 {
				case 0:
					brief, cancel := context.WithTimeout(ctx, time.Duration(rand.IntN(100))*time.Microsecond)
					if r, err := askOne(brief, c, "ECHO", word); err == nil && r.Text != word {
						t.Errorf("%q was answered with %q", word, r.Text)
					}
					cancel()
				case 1:
					other := strings.Repeat("x", rand.IntN(8<<10))
					rs, err := c.Ask(ctx, []string{"ECHO", word}, []string{"ECHO", other})
					if err != nil || rs[0].Text != word || rs[1].Text != other {
						t.Errorf("%v, %v", rs, err)
					}
				default:
					if r, err := askOne(ctx, c, "ECHO", word); err != nil || r.Text != word {
						t.Errorf("%q was answered with %q, %v", word, r.Text, err)
					}
				}
			}
		})
	}
	all.Wait()
}

// Guard: push is handed over where it stands among the answers.
func TestAnInvalidationIsHandedOverBeforeTheAnswerThatFollowsIt(t *testing.T) {
	var told atomic.Value
	c, _ := overTCP(t, Options{Invalidated: func(keys []string) { told.Store(strings.Clone(keys[0])) }})
	ctx := within(t)
	var all sync.WaitGroup
	for range 4 { // several wait at once
		all.Go(func() {
			for i := range 500 {
				_, err := askOne(ctx, c, "ECHO", fmt.Sprint(i))
				require.NoError(t, err)
			}
		})
	}
	for i := range 1000 {
		key := fmt.Sprint("k", i)
		_, err := askOne(ctx, c, "PUSH", key)
		require.NoError(t, err)
		require.Equal(t, key, told.Load())
	}
	all.Wait()
}

func TestAnInvalidationOfEverythingNamesNoKeys(t *testing.T) {
	told := make(chan []string, 1)
	_, s := overTCP(t, Options{Invalidated: func(keys []string) { told <- keys }})
	for _, all := range []string{">2\r\n$10\r\ninvalidate\r\n_\r\n", ">2\r\n$10\r\ninvalidate\r\n*1\r\n:1\r\n"} {
		s.say(all)
		require.Nil(t, <-told)
	}
}

func TestAnInvalidationNamesItsKeys(t *testing.T) {
	told := make(chan []string, 1)
	_, s := overTCP(t, Options{Invalidated: func(keys []string) { told <- keys }})
	var kept, expected [][]string
	for _, keys := range [][]string{{"a"}, {"b", "", "a \r\n$9\r\n key"}, {"c"}} {
		text := fmt.Sprintf(">2\r\n$10\r\ninvalidate\r\n*%d\r\n", len(keys))
		for _, k := range keys {
			text += fmt.Sprintf("$%d\r\n%s\r\n", len(k), k)
		}
		s.say(text)
		kept, expected = append(kept, <-told), append(expected, keys)
	}
	require.Equal(t, expected, kept, "they have memory of their own")
}

// What nothing was asked for is heard at once, also after many reads.
func TestWhatComesAfterManyReadsIsNotLeftLying(t *testing.T) {
	told := make(chan string)
	c, s := overTCP(t, Options{Invalidated: func(keys []string) { told <- strings.Clone(keys[0]) }})
	ctx := within(t)
	for i := range 50 {
		for range 20 {
			_, err := askOne(ctx, c, "ECHO", "x")
			require.NoError(t, err)
		}
		s.say(fmt.Sprintf(">2\r\n$10\r\ninvalidate\r\n*1\r\n$2\r\n%02d\r\n", i))
		require.Equal(t, fmt.Sprintf("%02d", i), <-told)
	}
}

func TestAskReturnsWhenItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := inMemory(t, Options{})
		for name, end := range map[string]func() (context.Context, context.CancelFunc){
			"deadline": func() (context.Context, context.CancelFunc) {
				return context.WithTimeout(t.Context(), 50*time.Millisecond)
			},
			"somebody's decision": func() (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(50*time.Millisecond, cancel)
				return ctx, cancel
			},
		} {
			for range 3 {
				for range 3 {
					_, err := askOne(t.Context(), c, "ECHO", "x")
					require.NoError(t, err)
				}
				ctx, cancel := end()
				begun := time.Now()
				_, err := askOne(ctx, c, "SILENT")
				require.Error(t, err, name)
				require.Equal(t, 50*time.Millisecond, time.Since(begun), name)
				cancel()
				s.say("+late\r\n")
			}
		}
	})
}

// An answer that comes late is no caller's, and the next one is the next caller's.
func TestALateAnswerIsNoCallers(t *testing.T) {
	c, s := overTCP(t, Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	_, err := askOne(ctx, c, "SILENT")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	s.say("+late\r\n")
	r, err := askOne(within(t), c, "ECHO", "in time")
	require.NoError(t, err)
	require.Equal(t, "in time", r.Text)
}

// What was owed is not handed out once the connection has ended, though it is read after
// that.
//
//	goroutine that reads: hands out an invalidation
//	another:              closes the connection, which forgets what was owed
//	goroutine that reads: finds an answer, and does not know whose it is
func TestNothingIsHandedOutAfterTheEnd(t *testing.T) {
	ended := make(chan struct{})
	var c *Conn
	made := make(chan struct{})
	c, s := overTCP(t, Options{Invalidated: func([]string) { // while answers are being handed out
		<-made
		c.Close()
		close(ended)
	}})
	close(made)
	answered := make(chan error)
	go func() {
		_, err := c.Ask(within(t), []string{"SILENT"}, []string{"SILENT"})
		answered <- err
	}()
	require.Eventually(t, func() bool { return len(s.heard()) == 2 }, time.Minute, time.Millisecond)
	s.say("+one\r\n>2\r\n+invalidate\r\n*1\r\n+k\r\n+two\r\n+three\r\n")
	<-ended
	require.ErrorIs(t, <-answered, net.ErrClosed)
	_, err := askOne(within(t), c, "ECHO", "x")
	require.ErrorIs(t, err, ErrUnsent)
}

// Nor is it between the end and what is told of it to those that wait, since others may know of the end by then.
//
//	A:                closes the connection, and tells that it has ended
//	reader goroutine: finds an answer that it had read before
//	A:                ends what waits for answers
func TestNothingIsHandedOutOnceTheEndIsTold(t *testing.T) {
	var c *Conn
	late := make(chan error, 1)
	c, s := overTCP(t, Options{Ended: func(error) {
		_, _, err := c.complete([]byte("+late\r\n"), resp.Reply{Text: "late"}) // by the reader goroutine
		late <- err
	}})
	answered := make(chan error)
	go func() {
		_, err := askOne(within(t), c, "SILENT")
		answered <- err
	}()
	require.Eventually(t, func() bool { return len(s.heard()) == 1 }, time.Minute, time.Millisecond)
	c.Close()
	require.ErrorIs(t, <-late, net.ErrClosed)
	require.ErrorIs(t, <-answered, net.ErrClosed)
}

// A caller that is told that the connection has ended finds that known to the others.
func TestTheEndIsKnownBeforeAnybodyIsToldOfIt(t *testing.T) {
	for range 50 {
		var known atomic.Bool
		c, s := overTCP(t, Options{Ended: func(error) { known.Store(true) }})
		failed := make(chan bool)
		go func() {
			_, err := askOne(within(t), c, "SILENT")
			failed <- err != nil && known.Load()
		}()
		told := make(chan bool, 1) // which the goroutine that ends the connection tells, and no caller that may be late
		require.NoError(t, c.Send(within(t), func(_ []resp.Reply, err error) { told <- err != nil && known.Load() }, []string{"SILENT"}))
		require.Eventually(t, func() bool { return len(s.heard()) == 2 }, time.Minute, 100*time.Microsecond)
		s.Conn.Close()
		require.True(t, <-failed)
		require.True(t, <-told)
	}
}

// A connection that changes what is written writes all that is.
type wrapped struct {
	*net.TCPConn
	written atomic.Int64
}

func (w *wrapped) Write(b []byte) (int, error) {
	w.written.Add(int64(len(b)))
	return w.TCPConn.Write(b)
}

func TestNothingIsWrittenPastAConnectionThatHasAnotherInside(t *testing.T) {
	here, there := pair(t)
	w := &wrapped{TCPConn: here.(*net.TCPConn)}
	c, _ := serve(t, w, there, Options{})
	r, err := askOne(within(t), c, "ECHO", "x")
	require.NoError(t, err)
	require.Equal(t, "x", r.Text)
	require.EqualValues(t, len(command("ECHO", "x")), w.written.Load())
}

// What keeps coming, and takes longer than that, does not keep a caller that has been
// called off.
func TestACallerReturnsThoughInvalidationsKeepComing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := inMemory(t, Options{Invalidated: func([]string) { time.Sleep(3 * time.Millisecond) }})
		for range 3 {
			_, err := askOne(t.Context(), c, "ECHO", "x")
			require.NoError(t, err)
		}
		var storm sync.WaitGroup
		storm.Go(func() {
			for range 1000 {
				// Without the lock of say: a goroutine that waits for one does not let a bubble's time pass.
				_, _ = io.WriteString(s.Conn, ">2\r\n+invalidate\r\n*1\r\n+k\r\n")
			}
		})
		defer storm.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(5*time.Millisecond, cancel)
		begun := time.Now()
		_, err := askOne(ctx, c, "SILENT")
		require.ErrorIs(t, err, context.Canceled)
		require.LessOrEqual(t, time.Since(begun), 20*time.Millisecond)
	})
}

// What is lost is lost to all callers that wait, once, and no caller can ask any more.
func TestALostConnectionEndsAllThatWaits(t *testing.T) {
	var ended atomic.Int64
	c, s := overTCP(t, Options{Ended: func(error) { ended.Add(1) }})
	failed := make(chan error, 10)
	for range 10 {
		go func() {
			_, err := c.Ask(within(t), []string{"SILENT"}, []string{"SILENT"})
			failed <- err
		}()
	}
	require.Eventually(t, func() bool { return len(s.heard()) == 20 }, time.Minute, time.Millisecond)
	s.Conn.Close()
	for range 10 {
		require.Error(t, <-failed)
	}
	_, err := askOne(within(t), c, "ECHO", "x")
	require.Error(t, err)
	require.Eventually(t, func() bool { return ended.Load() > 0 }, time.Minute, time.Millisecond)
	c.Close()
	require.EqualValues(t, 1, ended.Load())
}

// A server that reads nothing holds up no caller beyond its context, and what waits to be
// written is bounded.
func TestAServerThatDoesNotReadHoldsUpNoCaller(t *testing.T) {
	here, there := pair(t)
	var all sync.WaitGroup
	c := New(here, Options{Go: func(f func()) bool { all.Go(f); return true }})
	t.Cleanup(func() { c.Close(); there.Close(); all.Wait() })
	long := strings.Repeat("x", 1<<20)
	refused := 0
	for range 2 * maxOut / len(long) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		_, err := askOne(ctx, c, "ECHO", long)
		cancel()
		require.Error(t, err)
		if errors.Is(err, ErrUnsent) && !errors.Is(err, context.DeadlineExceeded) {
			refused++
		}
	}
	require.NotZero(t, refused, "what waits is bounded")
	err := c.Send(within(t), func([]resp.Reply, error) { t.Error("told of what was not sent") }, []string{"PING"})
	require.ErrorIs(t, err, ErrUnsent)
	go func() { _, _ = io.Copy(io.Discard, there) }()
	require.Eventually(t, func() bool { // it goes on once the server reads
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.out) == 0
	}, time.Minute, time.Millisecond)
}

// What nothing was asked for ends the connection, with what the server says as the error;
// so does what is no RESP3.
func TestWhatWasNotAskedForEndsTheConnection(t *testing.T) {
	for says, want := range map[string]string{
		"-ERR max number of clients reached\r\n": "the server ended the connection: ERR max number of clients reached",
		"+OK\r\n":                                "an answer that nothing was asked for",
		"HTTP/1.1 400 Bad Request\r\n":           "no RESP",
		"*-7\r\n":                                "no RESP",
	} {
		ended := make(chan error, 1)
		_, s := overTCP(t, Options{Ended: func(err error) { ended <- err }})
		s.say(says)
		require.ErrorContains(t, <-ended, want)
	}
}

// A server that refuses what it is asked first, and closes, has said why.
func TestTheRefusalBeforeTheEndIsTold(t *testing.T) {
	c, s := overTCP(t, Options{})
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	go func() {
		for len(s.heard()) < 2 {
			<-poll.C
		}
		s.say("-ERR max number of clients reached\r\n")
		s.Conn.Close()
	}()
	_, err := c.Ask(within(t), []string{"SILENT"}, []string{"SILENT"})
	require.ErrorContains(t, err, "ERR max number of clients reached")
}

// Guard: release. What is held while callers that were told of answers run is written then.
func TestWhatIsHeldIsWritten(t *testing.T) {
	c, s := overTCP(t, Options{})
	c.mu.Lock()
	c.coalescing = true
	c.mu.Unlock()
	answered := make(chan error)
	go func() {
		_, err := askOne(within(t), c, "ECHO", "held")
		answered <- err
	}()
	require.Eventually(t, func() bool { c.mu.Lock(); defer c.mu.Unlock(); return len(c.out) > 0 }, time.Minute, time.Millisecond)
	require.Empty(t, s.heard())
	c.writeCoalesced()
	require.NoError(t, <-answered)
}

// Guard: hurry. A caller that was told of an answer may not run for long, where others
// compute.
func TestRequestsAreNotHeldWhereOthersCompute(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	c := &Conn{woken: 2}
	c.letCallersAsk()
	quick := c.skipCoalescing == 0
	var all sync.WaitGroup
	all.Go(func() {
		for begun := time.Now(); time.Since(begun) < 5*coalesceAtMost; {
		}
	})
	c.woken = 2
	c.skipCoalescing = 0
	c.letCallersAsk()
	all.Wait()
	require.Equal(t, skipCoalescingFor-1, c.skipCoalescing)
	for range skipCoalescingFor - 1 {
		c.woken = 2
		c.letCallersAsk()
	}
	require.Zero(t, c.skipCoalescing)
	t.Log("with nothing else to run:", quick)
}

// Guard: spare. What is asked while a buffer is being written goes into another one.
//
//	A:         asks; a goroutine writes that, and waits for the server to read
//	B:         asks
//	goroutine: has written what A asked, as it was
func TestWhatIsBeingWrittenIsNotWrittenTo(t *testing.T) {
	here, there := net.Pipe()
	var all sync.WaitGroup
	c := New(here, Options{Go: func(f func()) bool { all.Go(f); return true }})
	t.Cleanup(func() { c.Close(); there.Close(); all.Wait() })
	var asks sync.WaitGroup
	ask := func(word string) {
		before := func() int { c.mu.Lock(); defer c.mu.Unlock(); return len(c.inflight) }
		n := before()
		asks.Go(func() { _, _ = askOne(within(t), c, "ECHO", word) })
		require.Eventually(t, func() bool { return before() > n }, time.Minute, time.Millisecond)
	}
	ask("first")
	require.Eventually(t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.writing && len(c.out) == 0
	}, time.Minute, time.Millisecond)
	ask("other")
	r := bufio.NewReader(there)
	for _, word := range []string{"first", "other"} {
		words, err := readCommand(r)
		require.NoError(t, err)
		require.Equal(t, []string{"ECHO", word}, words)
	}
	c.Close()
	asks.Wait()
}

// What is read at once grows where few messages fit in it, also if a part of one is left; a
// connection that reads nothing keeps little memory.
func TestWhatIsReadAtOnceGrowsWithTheMessages(t *testing.T) {
	for whole, want := range map[int]int{1: 2 * firstRead, fewMessages: firstRead} {
		c := &Conn{in: make([]byte, firstRead), begin: 100, end: firstRead, messages: whole}
		copy(c.in[100:], "part")
		require.NoError(t, c.makeRoom())
		require.Len(t, c.in, want)
		require.Equal(t, "part", string(c.in[:4]))
		require.Equal(t, firstRead-100, c.end)
	}
}
