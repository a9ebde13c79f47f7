package faultproxy

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/valkeytest"
)

// What arrives late arrives in order, and not before its time.
func TestLatencyKeepsTheOrder(t *testing.T) {
	s := valkeytest.Start(t)
	p := startProxy(t, s.Addr, 1)
	c := hello(t, p)
	p.Latency(ToServer, 40*time.Millisecond)
	p.Latency(ToClient, 40*time.Millisecond)
	begun := time.Now()
	const n = 50
	for range n {
		c.send("INCR", "n")
	}
	for i := range n {
		require.Equal(t, ":"+string('0'+rune((i+1)/10))+string('0'+rune((i+1)%10)), colon(c.next()))
	}
	require.Greater(t, time.Since(begun), 20*time.Millisecond, "the latest of 50 is late by most of it")
	require.GreaterOrEqual(t, p.Stats().Late, int64(2*n))

	p.Heal()
	late := p.Stats().Late
	c.send("PING")
	require.Equal(t, "+PONG\r\n", string(c.next().raw))
	require.Equal(t, late, p.Stats().Late)
}

// colon is an integer of at least two digits.
func colon(m message) string {
	digits := strings.TrimSuffix(strings.TrimPrefix(string(m.raw), ":"), "\r\n")
	return ":" + strings.Repeat("0", max(0, 2-len(digits))) + digits
}

// A connection ends after so many bytes, wherever that is.
func TestCutWithinEndsConnectionsInTheMiddleOfMessages(t *testing.T) {
	s := valkeytest.Start(t)
	s.Do(t, "SET", "k", strings.Repeat("x", 1000))
	p := startProxy(t, s.Addr, 1)
	p.CutWithin(500)
	whole := len("$1000\r\n\r\n") + 1000
	middle := 0
	for range 20 {
		c := dial(t, p)
		_, _ = io.WriteString(c.c, "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n")
		b, _ := io.ReadAll(c.c) // with an error, if it was reset
		require.LessOrEqual(t, len(b), 500)
		if len(b) > 0 && len(b) < whole {
			middle++
		}
	}
	require.Positive(t, middle)
	require.EqualValues(t, 20, p.Stats().Cut)

	p.Heal()
	c := hello(t, p)
	c.send("GET", "k")
	require.Len(t, c.next().raw, whole)
}

// A connection is told something that it did not ask for, and closed.
func TestGreetSpeaksFirst(t *testing.T) {
	s := valkeytest.Start(t)
	p := startProxy(t, s.Addr, 1)
	p.Greet(1, MaxClients, Denied)
	heard := map[string]bool{}
	for range 40 {
		c, err := net.Dial("tcp", p.Addr())
		require.NoError(t, err)
		require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
		b, err := io.ReadAll(c)
		require.NoError(t, err)
		c.Close()
		heard[string(b)] = true
	}
	require.Equal(t, map[string]bool{MaxClients: true, Denied: true}, heard)
	require.EqualValues(t, 40, p.Stats().Greeted)

	p.Heal()
	c := hello(t, p)
	c.send("PING")
	require.Equal(t, "+PONG\r\n", string(c.next().raw))
}
