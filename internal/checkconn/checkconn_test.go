package checkconn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/resp"
	"github.com/tiercache/tiercache/internal/valkeytest"
)

func TestMain(m *testing.M) { valkeytest.Main(m) }

func command(words ...string) string {
	s := fmt.Sprintf("*%d\r\n", len(words))
	for _, w := range words {
		s += fmt.Sprintf("$%d\r\n%s\r\n", len(w), w)
	}
	return s
}

// scripted is a connection whose server says what it is to say, as much at a time.
type scripted struct {
	net.Conn
	says   string
	atOnce int
	ends   error
	wrote  strings.Builder
	closed bool
}

func (s *scripted) Read(b []byte) (int, error) {
	if s.says == "" {
		return 0, s.ends
	}
	n := copy(b, s.says[:min(len(s.says), s.atOnce)])
	s.says = s.says[n:]
	return n, nil
}

func (s *scripted) Write(b []byte) (int, error) { return s.wrote.Write(b) }

func (s *scripted) Close() error { s.closed = true; return nil }

// read has a client write, and returns what it reads until the end and why that came.
func read(t *testing.T, asks, says string, atOnce int) (string, error) {
	t.Helper()
	s := &scripted{says: says, atOnce: atOnce, ends: io.EOF}
	c := New(s, nil)
	for rest := asks; rest != ""; rest = rest[min(len(rest), atOnce):] {
		_, err := io.WriteString(c, rest[:min(len(rest), atOnce)])
		require.NoError(t, err)
	}
	require.Equal(t, asks, s.wrote.String())
	var got []byte
	b := make([]byte, 7)
	for {
		n, err := c.Read(b)
		got = append(got, b[:n]...)
		if err != nil {
			require.True(t, s.closed)
			_, again := c.Read(b)
			require.Equal(t, err, again, "the end stays what it is")
			return string(got), err
		}
	}
}

const (
	subscribed   = ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"
	unsubbed     = ">3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n"
	message      = ">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nm\r\n"
	invalidation = ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n"
	greeted      = "%1\r\n+proto\r\n:3\r\n"
)

// Guard: checkLocked. Everything up to what was not asked for is handed on, and nothing of it.
func TestAClientReadsNothingThatItDidNotAskFor(t *testing.T) {
	ping, get := command("PING"), command("GET", "k\r\n*1\r\n")
	sub, unsub := command("SUBSCRIBE", "a"), command("UNSUBSCRIBE", "a")+ping
	second := command("AUTH", "secret") + command("HELLO", "2")
	inResp2 := strings.NewReplacer(">", "*")
	for name, x := range map[string]struct{ asks, handed, then, why string }{
		"answers":                                       {get + ping, "$1\r\nv\r\n+PONG\r\n", "", "EOF"},
		"an error, first":                               {"", "", "-ERR max number of clients reached\r\n", "ERR max number of clients reached"},
		"a denial in lines":                             {"", "", "-DENIED Running in protected mode\r\n", "DENIED Running in protected mode"},
		"a greeting":                                    {"", "", "220 ready\r\n", "no RESP"},
		"one answer too many":                           {get, "$1\r\nv\r\n", "$1\r\nv\r\n", "nothing was asked for"},
		"one too many, long and without end":            {get, "$1\r\nv\r\n", "$9999999\r\n" + strings.Repeat("x", maxUnasked), "nothing was asked for"},
		"garbage":                                       {get, "", "HTTP/1.1 400 Bad Request\r\n", "no RESP"},
		"garbage, later":                                {get + get, "$1\r\nv\r\n", "v\r\n", "no RESP"},
		"a length below zero":                           {get, "", "*-7\r\n", "no RESP"},
		"pushes of all kinds":                           {get, invalidation + message + unsubbed + ">2\r\n+unknown\r\n_\r\n>1\r\n+subscribe\r\n>0\r\n$1\r\nv\r\n", "", "EOF"},
		"a push in an answer":                           {get, "", "*1\r\n" + invalidation, "no RESP"},
		"subscribing":                                   {sub + get, subscribed + message + "$1\r\nv\r\n", "", "EOF"},
		"subscribing refused":                           {sub + get, "-NOPERM no\r\n$1\r\nv\r\n", "", "EOF"},
		"subscribing to several":                        {command("SUBSCRIBE", "a", "b") + get, subscribed + message + subscribed + "_\r\n", "", "EOF"},
		"subscribing answered":                          {sub, "", "+OK\r\n", "no RESP"},
		"subscribing queued":                            {sub, "", "+QUEUED\r\n", "no RESP"},
		"subscribing half answered":                     {command("SUBSCRIBE", "a", "b"), subscribed, "-NOPERM no\r\n", "no RESP"},
		"unsubscribed while subscribing":                {command("SUBSCRIBE", "a", "b"), subscribed, unsubbed, "no RESP"},
		"subscribed unasked":                            {get, "", subscribed, "no RESP"},
		"subscribed twice":                              {sub, subscribed, subscribed, "no RESP"},
		"unsubscribing":                                 {unsub + get, unsubbed + "+PONG\r\n_\r\n", "", "EOF"},
		"unsubscribing with all":                        {unsub, unsubbed + unsubbed + unsubbed + "+PONG\r\n", "", "EOF"},
		"unsubscribing refused":                         {unsub + get, "-NOPERM no\r\n+PONG\r\n_\r\n", "", "EOF"},
		"unsubscribing refused, and its ping":           {unsub + get, "-NOAUTH no\r\n", "-NOAUTH no\r\n", `is refused: "NOAUTH no"`},
		"unsubscribing refused oddly":                   {unsub, "", "-PONG\r\n", "no RESP"},
		"the ping of it refused":                        {unsub + get, unsubbed + "-NOPERM no\r\n", "_\r\n", "no RESP"},
		"the ping of it answered otherwise":             {unsub, unsubbed, "+OK\r\n", "no RESP"},
		"redirected":                                    {get + get, "-MOVED 1 a:1\r\n-ASK 1 a:1\r\n", "", "ASK 1 a:1"},
		"redirected nowhere":                            {get, "", "-MOVED 1\r\n", "no RESP"},
		"redirected nowhere, as an error":               {get, "", "-ERR MOVED\r\n", "no RESP"},
		"redirected nowhere, in bulk":                   {get, "", "!3\r\nASK\r\n", "no RESP"},
		"sent away to nowhere":                          {get, "", "-REDIRECT\r\n", "no RESP"},
		"a role":                                        {command("ROLE") + command("role"), "*1\r\n+master\r\n*-1\r\n", "", "EOF"},
		"no role":                                       {command("ROLE"), "", "*0\r\n", "no RESP"},
		"a primary":                                     {command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "m"), "*2\r\n+a\r\n+1\r\n", "", "EOF"},
		"a primary that is not known":                   {command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "m"), "*-1\r\n", "", "EOF"},
		"a primary without a port":                      {command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "m"), "", "*1\r\n+a\r\n", "no RESP"},
		"a sentinel's event":                            {"", ">3\r\n+message\r\n+-sdown\r\n+master m a 1\r\n", "", "EOF"},
		"a sentinel's event without words":              {"", "", ">3\r\n+message\r\n++switch-master\r\n+m a 1\r\n", "no RESP"},
		"a sentinel's event about a replica":            {"", "", ">3\r\n+message\r\n++reboot\r\n+slave a b 1 @\r\n", "no RESP"},
		"RESP2, one answer too many":                    {get, "$1\r\nv\r\n", "*1\r\n+a\r\n", "nothing was asked for"},
		"RESP2, subscribing":                            {second + sub, inResp2.Replace("+OK\r\n*2\r\n+server\r\n+redis\r\n" + subscribed + message), "", "EOF"},
		"RESP2, subscribed unasked":                     {second, "+OK\r\n*2\r\n+server\r\n+redis\r\n", inResp2.Replace(subscribed), "no RESP"},
		"RESP2, pinging while subscribed":               {command("HELLO", "2") + sub + ping, inResp2.Replace("*0\r\n" + subscribed + message + ">2\r\n+pong\r\n+\r\n"), "", "EOF"},
		"RESP2, pinging while not subscribed":           {command("HELLO", "2") + ping, "*0\r\n+PONG\r\n", "", "EOF"},
		"RESP2, unsubscribing":                          {command("HELLO", "2") + sub + unsub, inResp2.Replace("*0\r\n" + subscribed + unsubbed + "+PONG\r\n"), "", "EOF"},
		"an error and the end, though more is expected": {command("HELLO", "3") + get, "-ERR max number of clients reached\r\n", "", "ERR max number of clients reached"},
	} {
		for _, atOnce := range []int{1, 3, 1 << 20} {
			got, err := read(t, x.asks, x.handed+x.then, atOnce)
			require.Equal(t, x.handed, got, name)
			require.ErrorContains(t, err, x.why, name)
			if x.why == "no RESP" || x.why == "nothing was asked for" {
				require.ErrorIs(t, err, resp.ErrMalformed, name)
			}
		}
	}
}

// The connection may end at every byte.
func TestAConnectionMayEndAtEveryByte(t *testing.T) {
	says := greeted + subscribed + message + "$3\r\nabc\r\n*2\r\n+a\r\n:1\r\n" + invalidation
	asks := command("HELLO", "3") + command("SUBSCRIBE", "a") + command("GET", "k") + command("MGET", "k", "l")
	for n := range len(says) {
		got, err := read(t, asks, says[:n], 1+n%9)
		require.ErrorIs(t, err, io.EOF)
		require.True(t, strings.HasPrefix(says, got))
	}
}

// What is longer than what is read at once is handed on, and does not stay in memory.
func TestLongMessages(t *testing.T) {
	long := fmt.Sprintf("$%d\r\n%s\r\n", 10*mostRead, strings.Repeat("x", 10*mostRead))
	got, err := read(t, command("GET", "k")+command("GET", "k"), long+"+after\r\n", 1<<20)
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, long+"+after\r\n", got)

	here, there := net.Pipe()
	c := New(here, nil)
	defer c.Close()
	defer there.Close()
	go func() {
		_, _ = io.CopyN(io.Discard, there, int64(len(command("GET", "k")+command("GET", "k"))))
		_, _ = io.WriteString(there, long)
		_, _ = io.WriteString(there, "+after\r\n")
	}()
	_, err = io.WriteString(c, command("GET", "k")+command("GET", "k"))
	require.NoError(t, err)
	_, err = io.CopyN(io.Discard, c, int64(len(long+"+after\r\n")))
	require.NoError(t, err)
	require.LessOrEqual(t, len(c.in), mostRead)
}

// A read that times out loses nothing.
func TestAReadThatTimesOutMayGoOn(t *testing.T) {
	here, there := net.Pipe()
	c := New(here, nil)
	defer c.Close()
	defer there.Close()
	go func() { _, _ = io.Copy(io.Discard, there) }()
	_, err := io.WriteString(c, command("PING"))
	require.NoError(t, err)
	ended := make(chan error, 1)
	b := make([]byte, 100)
	go func() {
		_, err := c.Read(b)
		ended <- err
	}()
	_, err = io.WriteString(there, "+PO") // returns when it was read
	require.NoError(t, err)
	require.NoError(t, c.SetReadDeadline(time.Now()))
	require.ErrorIs(t, <-ended, os.ErrDeadlineExceeded)
	go func() { _, _ = io.WriteString(there, "NG\r\n") }()
	require.NoError(t, c.SetReadDeadline(time.Time{}))
	n, err := c.Read(b)
	require.NoError(t, err)
	require.Equal(t, "+PONG\r\n", string(b[:n]))
}

// What is written is followed however it is cut; what is no command is not written.
func TestWhatTheClientWritesIsFollowed(t *testing.T) {
	c := New(&scripted{}, nil)
	_, err := io.WriteString(c, "PING\r\n")
	require.ErrorIs(t, err, errCommand)
	for range 1000 {
		c := New(&scripted{atOnce: 1, says: "+OK\r\n", ends: io.EOF}, nil)
		for _, b := range []byte(command("SET", "k", "*1\r\n$4\r\nPING\r\n")) {
			_, err := c.Write([]byte{b})
			require.NoError(t, err)
		}
		require.Len(t, c.inflight, 1)
	}
}

// A client that always waits for some answer does not have the queue grow for ever.
func TestTheQueueIsBounded(t *testing.T) {
	s := &scripted{atOnce: 1 << 20, ends: os.ErrDeadlineExceeded}
	c := New(s, nil)
	b := make([]byte, 1<<10)
	_, _ = io.WriteString(c, command("PING"))
	for range 10_000 {
		_, err := io.WriteString(c, command("PING"))
		require.NoError(t, err)
		s.says = "+PONG\r\n"
		_, err = c.Read(b)
		require.NoError(t, err)
	}
	require.LessOrEqual(t, cap(c.inflight), 256)
}

// speaks is a server that says something to each connection, and closes it or not.
func speaks(t *testing.T, text string, closes bool) func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
	return func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
		here, there := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, there); there.Close() }()
		go func() {
			_, _ = io.WriteString(there, text)
			if closes {
				there.Close()
			}
		}()
		return New(here, nil), nil
	}
}

// The client of valkey-go says what the server said, and its reader goroutine does not panic, whether a
// request is called off before it is written or not.
func TestAServerThatSpeaksFirst(t *testing.T) {
	for closes, patience := range map[bool]time.Duration{true: 10 * time.Second, false: time.Second} {
		_, err := valkey.NewClient(valkey.ClientOption{InitAddress: []string{"a:1"}, ForceSingleClient: true, AlwaysPipelining: true,
			DialCtxFn: speaks(t, "-ERR max number of clients reached\r\n", closes), ConnWriteTimeout: patience, Dialer: net.Dialer{Timeout: patience}})
		if closes {
			require.ErrorContains(t, err, "max number of clients reached")
		} else {
			require.Error(t, err)
		}
	}
	c := New(&scripted{ends: errors.New("reset")}, nil)
	_, err := c.Read(make([]byte, 10))
	require.EqualError(t, err, "reset")
}
