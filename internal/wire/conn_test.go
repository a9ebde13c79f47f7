package wire

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Some ask, some give up, the client has requests of its own, in pieces or at length,
// and the server answers in pieces: each gets what it asked for, and nobody waits for ever.
func TestEveryAnswerGoesToWhoAsked(t *testing.T) {
	c, s := overTCP(t, Options{})
	s.chop = true
	replies := client(t, c)
	ctx := within(t)
	var all sync.WaitGroup
	for g := range 16 {
		all.Go(func() {
			for i := range 300 {
				word := fmt.Sprintf("%d/%d ", g, i)
				switch i % 8 {
				case 0:
					brief, cancel := context.WithTimeout(ctx, time.Duration(rand.IntN(100))*time.Microsecond)
					if r, err := c.AskOne(brief, "ECHO", word); err == nil && r.Text != word {
						t.Errorf("%q was answered with %q", word, r.Text)
					}
					cancel()
				case 1:
					other := strings.Repeat("x", rand.IntN(8<<10))
					rs, err := askAll(ctx, c, []string{"ECHO", word}, []string{"ECHO", other})
					if err != nil || rs[0].Text != word || rs[1].Text != other {
						t.Errorf("%v, %v", rs, err)
					}
				default:
					if r, err := c.AskOne(ctx, "ECHO", word); err != nil || r.Text != word {
						t.Errorf("%q was answered with %q, %v", word, r.Text, err)
					}
				}
			}
		})
	}
	all.Go(func() {
		for i := range 300 {
			word := fmt.Sprint(i, strings.Repeat("y", i%3*rand.IntN(2*MaxRequest)))
			b := command("ECHO", word)
			for len(b) > 0 {
				n := 1 + rand.IntN(len(b))
				if _, err := c.Write(b[:n]); err != nil {
					t.Error(err)
					return
				}
				b = b[n:]
			}
			if r := <-replies; r.Text != word {
				t.Errorf("the client's %.20q was answered with %.20q", word, r.Text)
			}
		}
	})
	all.Wait()
}

// Guard: push is handed over where it stands among the answers, by whoever reads.
func TestANoticeIsHandedOverBeforeTheAnswerThatFollowsIt(t *testing.T) {
	var told atomic.Value
	c, _ := overTCP(t, Options{Invalidated: func(keys []string) { told.Store(strings.Clone(keys[0])) }})
	client(t, c)
	ctx := within(t)
	var all sync.WaitGroup
	for range 4 { // so that now the caller reads, and now the client does
		all.Go(func() {
			for i := range 500 {
				_, err := c.AskOne(ctx, "ECHO", fmt.Sprint(i))
				require.NoError(t, err)
			}
		})
	}
	for i := range 1000 {
		key := fmt.Sprint("k", i)
		_, err := c.AskOne(ctx, "PUSH", key)
		require.NoError(t, err)
		require.Equal(t, key, told.Load())
	}
	all.Wait()
}

func TestANoticeOfEverythingNamesNoKeys(t *testing.T) {
	told := make(chan []string, 1)
	c, s := overTCP(t, Options{Invalidated: func(keys []string) { told <- keys }})
	client(t, c)
	for _, all := range []string{">2\r\n$10\r\ninvalidate\r\n_\r\n", ">2\r\n$10\r\ninvalidate\r\n*1\r\n:1\r\n"} {
		s.say(all)
		require.Nil(t, <-told)
	}
}

func TestANoticeNamesItsKeys(t *testing.T) {
	told := make(chan []string, 1)
	c, s := overTCP(t, Options{Invalidated: func(keys []string) { told <- keys }})
	client(t, c)
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

// What nobody has asked for is read although those who asked last read for themselves.
func TestWhatComesAfterManyReadsIsNotLeftLying(t *testing.T) {
	told := make(chan string)
	c, s := overTCP(t, Options{Invalidated: func(keys []string) { told <- strings.Clone(keys[0]) }})
	client(t, c)
	ctx := within(t)
	for i := range 50 {
		for range 20 {
			_, err := c.AskOne(ctx, "ECHO", "x")
			require.NoError(t, err)
		}
		s.say(fmt.Sprintf(">2\r\n$10\r\ninvalidate\r\n*1\r\n$2\r\n%02d\r\n", i))
		require.Equal(t, fmt.Sprintf("%02d", i), <-told)
	}
}

func TestAskReturnsWhenItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := inMemory(t, Options{})
		client(t, c)
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
				for range 3 { // come so thick that who asks reads himself
					_, err := c.AskOne(t.Context(), "ECHO", "x")
					require.NoError(t, err)
				}
				ctx, cancel := end()
				begun := time.Now()
				_, err := c.AskOne(ctx, "SILENT")
				require.Error(t, err, name)
				require.GreaterOrEqual(t, time.Since(begun), 50*time.Millisecond)
				require.LessOrEqual(t, time.Since(begun), 52*time.Millisecond, name)
				cancel()
				s.say("+late\r\n")
			}
		}
	})
}

// An answer that comes late is nobody's, and the next one is the next one's.
func TestALateAnswerIsNobodys(t *testing.T) {
	c, s := overTCP(t, Options{})
	client(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	_, err := c.AskOne(ctx, "SILENT")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	s.say("+late\r\n")
	r, err := c.AskOne(within(t), "ECHO", "in time")
	require.NoError(t, err)
	require.Equal(t, "in time", r.Text)
}

// Guard: held. What is asked while the client is half way through a command comes
// after it.
func TestNothingComesBetweenThePartsOfACommand(t *testing.T) {
	c, s := overTCP(t, Options{})
	replies := client(t, c)
	b := command("ECHO", "in two parts")
	_, err := c.Write(b[:20])
	require.NoError(t, err)
	answered := make(chan Reply)
	go func() {
		r, _ := c.AskOne(within(t), "ECHO", "asked")
		answered <- r
	}()
	require.Eventually(t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.asked == 1
	}, time.Minute, time.Millisecond)
	_, err = c.Write(b[20:])
	require.NoError(t, err)
	require.Equal(t, "asked", (<-answered).Text)
	require.Equal(t, "in two parts", (<-replies).Text)
	require.Equal(t, []string{"ECHO in two parts", "ECHO asked"}, s.heard())
}

// Guard: debt.pushes. Subscribing is answered by pushes alone, unless it is refused.
func TestSubscribingOwesNoAnswerUnlessItIsRefused(t *testing.T) {
	c, _ := overTCP(t, Options{})
	replies := client(t, c)
	for _, words := range [][]string{{"SUBSCRIBE", "a", "b"}, {"SUBSCRIBE", "forbidden"}, {"subscribe", "c"}} {
		_, err := c.Write(command(words...))
		require.NoError(t, err)
		r, err := c.AskOne(within(t), "ECHO", "x")
		require.NoError(t, err)
		require.Equal(t, "x", r.Text)
	}
	var kinds []Kind
	for range 4 {
		kinds = append(kinds, (<-replies).Kind)
	}
	require.Equal(t, []Kind{Array, Array, Error, Array}, kinds)
}

func TestMessagesAreTakenOrLeft(t *testing.T) {
	taken := make(chan string, 2)
	c, s := overTCP(t, Options{Message: func(channel, message string) bool {
		if channel == "ours" {
			taken <- message
		}
		return channel == "ours"
	}})
	replies := client(t, c)
	s.say(">3\r\n$7\r\nmessage\r\n$4\r\nours\r\n$1\r\n1\r\n>3\r\n$7\r\nmessage\r\n$5\r\nother\r\n$1\r\n2\r\n>3\r\n$8\r\nsmessage\r\n$4\r\nours\r\n$1\r\n3\r\n")
	require.Equal(t, "1", <-taken)
	require.Equal(t, "3", <-taken)
	require.Equal(t, "2", (<-replies).Array[2].Text)
	require.Empty(t, replies)
}

// Guard: forClientLocked. What was owed to others is not the client's once the
// connection has ended, though it is read after that.
func TestWhatOthersAreOwedIsNotTheClientsAfterTheEnd(t *testing.T) {
	c, s := overTCP(t, Options{})
	ended, answered := make(chan struct{}), make(chan struct{})
	c.o.Invalidated = func([]string) { // while answers are being handed out
		c.Close()
		close(ended)
	}
	replies := client(t, c)
	go func() {
		defer close(answered)
		_, _ = askAll(within(t), c, []string{"SILENT"}, []string{"SILENT"})
	}()
	require.Eventually(t, func() bool { return len(s.heard()) == 2 }, time.Minute, time.Millisecond)
	s.say("+one\r\n>2\r\n+invalidate\r\n*1\r\n+k\r\n+two\r\n+three\r\n")
	<-ended
	<-answered
	_, err := c.AskOne(within(t), "ECHO", "x")
	require.ErrorIs(t, err, ErrRefused, "it was not sent")
	require.Empty(t, replies)
}

// Who is told that the connection has ended finds that known to the others.
func TestTheEndIsKnownBeforeAnybodyIsToldOfIt(t *testing.T) {
	for range 50 {
		var known atomic.Bool
		c, s := overTCP(t, Options{Ended: func() { known.Store(true) }})
		client(t, c)
		failed := make(chan bool)
		go func() {
			_, err := c.AskOne(within(t), "SILENT")
			failed <- err != nil && known.Load()
		}()
		require.Eventually(t, func() bool { return len(s.heard()) == 1 }, time.Minute, 100*time.Microsecond)
		s.Conn.Close()
		require.True(t, <-failed)
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
	client(t, c)
	r, err := c.AskOne(within(t), "ECHO", "x")
	require.NoError(t, err)
	require.Equal(t, "x", r.Text)
	require.EqualValues(t, len(command("ECHO", "x")), w.written.Load())
}

// undated is a connection whose reads cannot be given a deadline.
type undated struct{ net.Conn }

func (undated) SetReadDeadline(time.Time) error { return net.ErrClosed }

func TestAskReturnsAlsoWhereReadsHaveNoDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		c, s := serve(t, undated{here}, there, Options{})
		client(t, c)
		for range 3 {
			for range 3 {
				_, err := c.AskOne(t.Context(), "ECHO", "x")
				require.NoError(t, err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			begun := time.Now()
			_, err := c.AskOne(ctx, "SILENT")
			require.Error(t, err)
			require.Equal(t, 50*time.Millisecond, time.Since(begun))
			cancel()
			s.say("+late\r\n")
		}
	})
}

// What keeps coming, and takes longer than that, does not keep a caller who has been
// called off.
func TestACallerWhoReadsReturnsThoughNoticesKeepComing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := inMemory(t, Options{Invalidated: func([]string) { time.Sleep(3 * time.Millisecond) }})
		client(t, c)
		for range 3 {
			_, err := c.AskOne(t.Context(), "ECHO", "x")
			require.NoError(t, err)
		}
		var storm sync.WaitGroup
		storm.Go(func() {
			for range 1000 {
				// Without the lock of say: who waits for one does not let a bubble's time pass.
				_, _ = io.WriteString(s.Conn, ">2\r\n+invalidate\r\n*1\r\n+k\r\n")
			}
		})
		defer storm.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(5*time.Millisecond, cancel)
		begun := time.Now()
		_, err := c.AskOne(ctx, "SILENT")
		require.ErrorIs(t, err, context.Canceled)
		require.LessOrEqual(t, time.Since(begun), 20*time.Millisecond)
	})
}

// CLIENT CACHING is about the command that follows it.
func TestNothingComesBetweenClientCachingAndItsCommand(t *testing.T) {
	var s sent
	for i, x := range []struct {
		command []byte
		whole   bool
	}{
		{command("CLIENT", "ID"), true}, {command("client", "caching", "no"), false}, {command("EVALSHA_RO", "x", "0"), true},
		{command("GET", "CACHING"), true},
	} {
		s.feed(x.command, func([]byte, int) {})
		require.Equal(t, x.whole, s.whole(), i)
	}
}

// What is lost is lost to all who wait, once, and nobody can ask any more.
func TestALostConnectionEndsAllThatWaits(t *testing.T) {
	var ended atomic.Int64
	c, s := overTCP(t, Options{Ended: func() { ended.Add(1) }})
	client(t, c)
	failed := make(chan error, 10)
	for range 10 {
		go func() {
			_, err := askAll(within(t), c, []string{"SILENT"}, []string{"SILENT"})
			failed <- err
		}()
	}
	require.Eventually(t, func() bool { return len(s.heard()) == 20 }, time.Minute, time.Millisecond)
	s.Conn.Close()
	for range 10 {
		require.Error(t, <-failed)
	}
	_, err := c.AskOne(within(t), "ECHO", "x")
	require.Error(t, err)
	_, err = c.Write(command("ECHO", "x"))
	require.Error(t, err)
	require.Eventually(t, func() bool { return ended.Load() > 0 }, time.Minute, time.Millisecond)
	c.Close()
	require.EqualValues(t, 1, ended.Load())
}

// A server that reads nothing holds up nobody who asks.
func TestAServerThatDoesNotReadHoldsUpNobody(t *testing.T) {
	here, there := pair(t)
	var all sync.WaitGroup
	c := New(here, Options{Go: func(f func()) bool { all.Go(f); return true }})
	client(t, c)
	t.Cleanup(func() { c.Close(); there.Close(); all.Wait() })
	long := strings.Repeat("x", MaxRequest-100)
	refused := false
	for range 1000 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		_, err := c.AskOne(ctx, "ECHO", long)
		cancel()
		require.Error(t, err)
		if refused = err == ErrRefused; refused {
			break
		}
	}
	require.True(t, refused, "what waits is bounded")
}

func TestWhatIsTooLongIsRefused(t *testing.T) {
	c, s := overTCP(t, Options{})
	client(t, c)
	_, err := c.AskOne(within(t), "ECHO", strings.Repeat("x", MaxRequest))
	require.ErrorIs(t, err, ErrRefused)
	require.Empty(t, s.heard())
}

// The client's deadlines hold for its own reads, as it greets the server.
func TestTheClientsDeadlineEndsItsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := inMemory(t, Options{})
		require.NoError(t, c.SetDeadline(time.Now().Add(time.Second)))
		_, err := c.Write(command("SILENT"))
		require.NoError(t, err)
		begun := time.Now()
		_, err = c.Read(make([]byte, 10))
		require.True(t, isTimeout(err), err)
		require.Equal(t, time.Second, time.Since(begun))
	})
}

// The connection is found when the client has sent the token, and not before.
func TestTheTokenTellsWhichConnectionIsUsed(t *testing.T) {
	var found atomic.Int64
	c, _ := overTCP(t, Options{Token: "token", Found: func() { found.Add(1) }})
	replies := client(t, c)
	for i, word := range []string{"hello", "a token", "token"} {
		_, err := c.Write(command("ECHO", word))
		require.NoError(t, err)
		<-replies
		require.EqualValues(t, i, found.Load())
	}
}

// Guard: awake and leave. What was left to others is written by the last of them, also
// if he gives up just then.
func TestWhoWasToldOfAnAnswerWritesForOthers(t *testing.T) {
	for name, runs := range map[string]func(c *Conn){
		"he runs": func(c *Conn) { c.awake() },
		"he gives up": func(c *Conn) {
			r := newRequest(nil)
			r.done <- struct{}{}
			c.leave(r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, s := overTCP(t, Options{})
			client(t, c)
			require.Eventually(t, func() bool {
				c.mu.Lock()
				defer c.mu.Unlock()
				return c.reading
			}, time.Minute, time.Millisecond)
			c.woken.Store(1)
			answered := make(chan error)
			go func() {
				_, err := c.AskOne(within(t), "ECHO", "left to others")
				answered <- err
			}()
			require.Eventually(t, func() bool {
				c.mu.Lock()
				defer c.mu.Unlock()
				return c.gathered == 1
			}, time.Minute, time.Millisecond)
			require.Empty(t, s.heard())
			runs(c)
			select {
			case err := <-answered:
				require.NoError(t, err)
			case <-time.After(20 * time.Second):
				t.Fatal("it was not written")
			}
		})
	}
}

// Guard: hasty. Who was told of answers may not run for long, where others compute.
func TestRequestsAreNotLeftToThoseWhoDoNotRun(t *testing.T) {
	c := &Conn{}
	c.woken.Store(1)
	require.True(t, c.gatherLocked())
	c.flushedLocked()
	require.True(t, c.gatherLocked(), "it was quick")
	c.since = c.since.Add(-2 * patience)
	c.flushedLocked()
	for range minHaste {
		require.False(t, c.gatherLocked())
	}
	require.True(t, c.gatherLocked())
	c.woken.Store(0)
	require.False(t, c.gatherLocked(), "nobody is there to write for others")
}

// Who asks while something is queued takes it along, and may have read its answer by
// the time that it would be waited for.
func TestWhatIsQueuedGoesAlongWithWhatIsAskedMeanwhile(t *testing.T) {
	c, s := overTCP(t, Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for name, meanwhile := range map[string]func(){
		"nothing": func() {},
		"others": func() {
			c.mu.Lock()
			require.NotEmpty(t, c.out, "not written yet")
			c.mu.Unlock()
			r, err := c.AskOne(ctx, "ECHO", "others")
			require.NoError(t, err)
			require.Equal(t, "others", r.Text)
		},
	} {
		t.Run(name, func(t *testing.T) {
			replies, calls, before := make([]Reply, 2), 0, len(s.heard())
			whole, err := c.Ask(ctx, replies, func() { calls++; meanwhile() }, []string{"ECHO", "a"}, []string{"ECHO", "b"})
			require.NoError(t, err)
			require.True(t, whole)
			require.Equal(t, 1, calls)
			require.Equal(t, []Reply{{Kind: Text, Text: "a"}, {Kind: Text, Text: "b"}}, replies)
			require.Equal(t, []string{"ECHO a", "ECHO b"}, s.heard()[before:before+2], "in the order in which it was asked")
			require.False(t, c.Busy())
		})
	}
	t.Run("the end of the connection", func(t *testing.T) {
		_, err := c.Ask(ctx, make([]Reply, 1), func() { c.Close() }, []string{"ECHO", "a"})
		require.ErrorIs(t, err, net.ErrClosed)
	})
}

// A caller who does not wait to the end leaves room behind in which answers are put.
func TestTheAnswersOfWhoLeftAreNotWhole(t *testing.T) {
	c, _ := overTCP(t, Options{})
	client(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	whole, err := c.Ask(ctx, make([]Reply, 2), cancel, []string{"ECHO", "a"}, []string{"SILENT"})
	require.ErrorIs(t, err, context.Canceled)
	require.False(t, whole)
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
	client(t, c)
	t.Cleanup(func() { c.Close(); there.Close(); all.Wait() })
	var asks sync.WaitGroup
	ask := func(word string) {
		before := func() int { c.mu.Lock(); defer c.mu.Unlock(); return int(c.asked) }
		n := before()
		asks.Go(func() { _, _ = c.AskOne(within(t), "ECHO", word) })
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
