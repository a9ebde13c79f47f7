package faultproxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/valkeytest"
)

const patience = time.Minute

func startProxy(t *testing.T, target string, seed uint64) *Proxy {
	p, err := Start(target, seed)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p
}

// client speaks RESP3 by hand, so that a test sees what arrives.
type client struct {
	t  *testing.T
	c  net.Conn
	in *respReader
}

func dial(t *testing.T, p *Proxy) *client {
	c, err := net.Dial("tcp", p.Addr())
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
	return &client{t, c, newReader(c)}
}

// hello is a client that has switched to RESP3.
func hello(t *testing.T, p *Proxy) *client {
	c := dial(t, p)
	c.send("HELLO", "3")
	c.next()
	return c
}

func (c *client) send(args ...string) {
	c.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	_, err := io.WriteString(c.c, b.String())
	require.NoError(c.t, err)
}

func (c *client) next() message {
	c.t.Helper()
	m, err := c.in.next()
	require.NoError(c.t, err)
	return m
}

// text is what is in a message, by the blobs of it.
func (m message) text() string { return strings.ReplaceAll(string(m.raw), "\r\n", " ") }

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, patience, time.Millisecond, what)
}

func TestWithoutRulesEverythingPasses(t *testing.T) {
	s := valkeytest.Start(t)
	p := startProxy(t, s.Addr, 1)
	c := hello(t, p)
	big := strings.Repeat("a\r\n>3\r\n", 1<<17)
	c.send("SET", "k", big)
	require.Equal(t, "+OK\r\n", string(c.next().raw))
	c.send("GET", "k")
	require.Equal(t, fmt.Sprintf("$%d\r\n%s\r\n", len(big), big), string(c.next().raw))
	c.send("EVAL", "return {1,{2,'x'},{}}", "0")
	require.Equal(t, "*3\r\n:1\r\n*2\r\n:2\r\n$1\r\nx\r\n*0\r\n", string(c.next().raw))
	require.Equal(t, int64(1), p.Stats().Connections)
	require.Equal(t, [numClasses]int64{0, 4, 4}, p.Stats().Passed)
}

// subscribed is a client that hears of a channel, and sends commands.
func subscribed(t *testing.T, p *Proxy) *client {
	c := hello(t, p)
	c.send("SUBSCRIBE", "ch")
	require.Equal(t, "subscribe", c.next().push)
	return c
}

// heard reads until the answer to a PING, which the server sends after all that
// came before, and returns the payloads of messages on the way.
func (c *client) heard() (out []string) {
	c.t.Helper()
	c.send("PING")
	for {
		m := c.next()
		if m.push == "" {
			return out
		}
		lines := strings.Split(string(m.raw), "\r\n")
		out = append(out, lines[len(lines)-2])
	}
}

func publish(t *testing.T, s *valkeytest.Server, payloads ...string) {
	for _, x := range payloads {
		s.Do(t, "PUBLISH", "ch", x)
	}
}

func TestPushesAreDroppedHeldDuplicatedReorderedAndRepliesAreNot(t *testing.T) {
	s := valkeytest.Start(t)
	p := startProxy(t, s.Addr, 3)
	c := subscribed(t, p)
	payloads := []string{"1", "2", "3", "4"}
	publish(t, s, payloads...)
	require.Equal(t, payloads, c.heard())

	p.Apply(Rule{Class: Push, Action: Drop})
	publish(t, s, payloads...)
	require.Empty(t, c.heard())
	p.Heal()
	require.Empty(t, c.heard(), "what is dropped does not come back")

	p.Apply(Rule{Class: Push, Action: Duplicate})
	publish(t, s, payloads...)
	require.Equal(t, []string{"1", "1", "2", "2", "3", "3", "4", "4"}, c.heard())

	p.Apply(Rule{Class: Push, Action: Hold})
	publish(t, s, payloads...)
	require.Empty(t, c.heard())
	p.Release()
	require.Equal(t, payloads, c.heard())

	p.Apply(Rule{Class: Push, Action: Reorder})
	publish(t, s, payloads...)
	heard := c.heard()
	require.ElementsMatch(t, payloads, heard)
	require.NotEqual(t, payloads, heard)
	publish(t, s, "5")
	require.Empty(t, c.heard(), "it waits for others")
	p.Heal()
	require.Equal(t, []string{"5"}, c.heard())
	require.Equal(t, [numActions]int64{4, 4, 0, 4, 5}, p.Stats().Done)
}

func TestADelayedPushIsOvertakenByReplies(t *testing.T) {
	s := valkeytest.Start(t)
	p := startProxy(t, s.Addr, 3)
	c := subscribed(t, p)
	p.Apply(Rule{Class: Push, Action: Delay, By: 50 * time.Millisecond})
	begun := time.Now()
	publish(t, s, "1")
	c.send("PING")
	for m := c.next(); m.push == ""; m = c.next() {
	}
	require.GreaterOrEqual(t, time.Since(begun), 50*time.Millisecond)
}

func TestARuleMayBeForPushesOfOneName(t *testing.T) {
	s := valkeytest.Start(t)
	p := startProxy(t, s.Addr, 3)
	c := subscribed(t, p)
	c.send("CLIENT", "TRACKING", "ON")
	c.next()
	c.send("GET", "k")
	c.next()
	p.Apply(Rule{Class: Push, Action: Drop, Only: "message"})
	s.Do(t, "SET", "k", "1")
	publish(t, s, "1")
	c.send("PING")
	require.Equal(t, "invalidate", c.next().push)
	require.Equal(t, "+PONG\r\n", string(c.next().raw))
}

// Regression: it overtook the replies that were held, of which clients make a
// panic.
func TestTheConfirmationOfASubscriptionKeepsItsTurn(t *testing.T) {
	s := valkeytest.Start(t)
	p := startProxy(t, s.Addr, 3)
	c := subscribed(t, p)
	p.Apply(Rule{Class: Reply, Action: Hold}, Rule{Class: Push, Action: Drop})
	c.send("INCR", "n")
	c.send("SUBSCRIBE", "other")
	eventually(t, "both are held", func() bool { return p.Stats().Done[Hold] == 2 })
	p.Heal()
	require.Equal(t, ":1\r\n", string(c.next().raw))
	require.Equal(t, "subscribe", c.next().push)
}

func TestRepliesAndRequestsAreHeld(t *testing.T) {
	s := valkeytest.Start(t)
	p := startProxy(t, s.Addr, 3)
	c := subscribed(t, p)
	p.Apply(Rule{Class: Reply, Action: Hold})
	c.send("INCR", "n")
	eventually(t, "the reply is held", func() bool { return p.Stats().Done[Hold] == 1 })
	publish(t, s, "1")
	require.Equal(t, "message", c.next().push)
	p.Apply()
	c.send("ECHO", "second")
	eventually(t, "the second reply is behind the first", func() bool { return p.Stats().Done[Hold] == 2 })
	p.Release()
	require.Equal(t, ":1\r\n", string(c.next().raw))
	require.Contains(t, c.next().text(), "second")

	p.Apply(Rule{Class: Request, Action: Hold})
	c.send("INCR", "n")
	eventually(t, "the request is held", func() bool { return p.Stats().Done[Hold] == 3 })
	n, err := s.Do(t, "GET", "n").ToString()
	require.NoError(t, err)
	require.Equal(t, "1", n)
	p.Heal()
	require.Equal(t, ":2\r\n", string(c.next().raw))
}

// drops returns which of 64 messages a proxy of that seed lets through.
func drops(t *testing.T, s *valkeytest.Server, seed uint64) []string {
	p := startProxy(t, s.Addr, seed)
	c := subscribed(t, p)
	p.Apply(Rule{Class: Push, Action: Drop, Share: 0.5})
	for i := range 64 {
		publish(t, s, fmt.Sprint(i))
	}
	return c.heard()
}

func TestTheSameSeedDoesTheSame(t *testing.T) {
	s := valkeytest.Start(t)
	one, two, other := drops(t, s, 7), drops(t, s, 7), drops(t, s, 8)
	require.Equal(t, one, two)
	require.NotEqual(t, one, other)
	require.InDelta(t, 32, len(one), 20)
}

func TestAFrozenProxyAcceptsAndForwardsNothing(t *testing.T) {
	s := valkeytest.Start(t)
	p := startProxy(t, s.Addr, 3)
	c := hello(t, p)
	p.Freeze(ToServer)
	c.send("INCR", "n")
	fresh := dial(t, p)
	fresh.send("INCR", "n")
	eventually(t, "the request is in the proxy", func() bool { return p.Stats().Passed[Request] == 2 && p.Stats().Connections == 2 })
	require.True(t, s.Do(t, "GET", "n").IsNil())
	p.Thaw()
	answers := []string{string(c.next().raw), string(fresh.next().raw)}
	require.ElementsMatch(t, []string{":1\r\n", ":2\r\n"}, answers)

	p.Freeze(ToClient)
	c.send("INCR", "n")
	eventually(t, "the server has performed it", func() bool {
		n, _ := s.Do(t, "GET", "n").ToString()
		return n == "3"
	})
	p.Thaw()
	require.Equal(t, ":3\r\n", string(c.next().raw))
}

// The end of a connection does not pass either: a partition keeps the server's
// side open.
func TestAFrozenProxyHoldsUpTheEndOfAConnection(t *testing.T) {
	s := valkeytest.Start(t)
	p := startProxy(t, s.Addr, 3)
	c := hello(t, p)
	c.send("CLIENT", "SETNAME", "gone")
	c.next()
	p.Freeze(ToServer, ToClient)
	c.send("INCR", "n")
	c.c.Close()
	eventually(t, "the request is in the proxy", func() bool { return p.Stats().Passed[Request] == 3 })
	list, err := s.Do(t, "CLIENT", "LIST").ToString()
	require.NoError(t, err)
	require.Contains(t, list, "name=gone")
	p.Thaw()
	eventually(t, "what was on its way arrives", func() bool {
		n, _ := s.Do(t, "GET", "n").ToString()
		return n == "1"
	})
	eventually(t, "and then the end", func() bool {
		list, err := s.Do(t, "CLIENT", "LIST").ToString()
		return err == nil && !strings.Contains(list, "name=gone")
	})
}

func TestAThrottledConnectionTakesItsTime(t *testing.T) {
	s := valkeytest.Start(t)
	p := startProxy(t, s.Addr, 3)
	c := hello(t, p)
	p.Throttle(ToServer, 100_000)
	begun := time.Now()
	c.send("SET", "k", strings.Repeat("x", 20_000))
	c.next()
	require.GreaterOrEqual(t, time.Since(begun), 190*time.Millisecond)
}

func TestCutEndsAndResetBreaksConnections(t *testing.T) {
	s := valkeytest.Start(t)
	p := startProxy(t, s.Addr, 3)
	c := hello(t, p)
	require.Equal(t, 1, p.Cut())
	_, err := c.in.next()
	require.ErrorIs(t, err, io.EOF)
	c = hello(t, p)
	eventually(t, "the first is gone", func() bool { return len(p.all()) == 1 })
	require.Equal(t, 1, p.Reset())
	_, err = c.in.next()
	require.True(t, errors.Is(err, syscall.ECONNRESET), "%v", err)
}

func TestANewTargetIsForNewConnections(t *testing.T) {
	one, two := valkeytest.Start(t), valkeytest.Start(t)
	one.Do(t, "SET", "name", "one")
	two.Do(t, "SET", "name", "two")
	p := startProxy(t, one.Addr, 3)
	c := hello(t, p)
	p.Retarget(two.Addr)
	c.send("GET", "name")
	require.Contains(t, c.next().text(), "one")
	c = hello(t, p)
	c.send("GET", "name")
	require.Contains(t, c.next().text(), "two")
}

func TestAServerThatIsAwayEndsTheConnection(t *testing.T) {
	s := valkeytest.Start(t)
	p := startProxy(t, s.Addr, 3)
	s.Kill()
	c := dial(t, p)
	_, err := c.in.next()
	require.Error(t, err)
}

// The link between a primary and its replica carries a dump, which is no RESP.
func TestARawProxyForwardsReplication(t *testing.T) {
	primary := valkeytest.Start(t, valkeytest.Config("repl-diskless-sync-delay", "0"))
	primary.Do(t, "SET", "k", strings.Repeat("x", 100_000))
	p, err := StartRaw(primary.Addr, 3)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	replica := valkeytest.Start(t, valkeytest.ReplicaOf(p.Addr()))
	replica.AwaitReplica(t, primary)
	p.Freeze(ToClient)
	primary.Do(t, "SET", "k", "new")
	value, err := replica.Do(t, "GET", "k").ToString()
	require.NoError(t, err)
	require.Len(t, value, 100_000)
	p.Thaw()
	replica.AwaitReplica(t, primary)
	value, err = replica.Do(t, "GET", "k").ToString()
	require.NoError(t, err)
	require.Equal(t, "new", value)
}

func TestPresentConnectionsAreFrozenAndNewOnesWork(t *testing.T) {
	s := valkeytest.Start(t)
	p := startProxy(t, s.Addr, 3)
	old := hello(t, p)
	p.FreezePresent()
	old.send("APPEND", "k", "late")
	fresh := hello(t, p)
	fresh.send("APPEND", "k", "first ")
	fresh.next()
	p.Thaw()
	old.next()
	fresh.send("GET", "k")
	require.Contains(t, fresh.next().text(), "first late")
}
