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
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/resp"
)

// server answers what is written to it: ECHO with its argument; ARRAY with all of its own; SUBSCRIBE with pushes,
// or not; PUSH with an invalidation of its argument, then with OK; SILENT not at all.
type server struct {
	net.Conn
	mu   sync.Mutex // guards writing, and what follows
	chop bool       // answers come in pieces
	read struct {
		mu    sync.Mutex // guards what follows; writing may wait for ever
		asked []string
	}
}

func (s *server) run() {
	r := bufio.NewReader(s.Conn)
	for {
		words, err := readCommand(r)
		if err != nil {
			return
		}
		s.read.mu.Lock()
		s.read.asked = append(s.read.asked, strings.Join(words, " "))
		s.read.mu.Unlock()
		switch strings.ToUpper(words[0]) {
		case "ECHO":
			s.say(fmt.Sprintf("$%d\r\n%s\r\n", len(words[1]), words[1]))
		case "ARRAY":
			s.say(string(array(words[1:]...)))
		case "PUSH":
			s.say(">2\r\n$10\r\ninvalidate\r\n*1\r\n$" + fmt.Sprint(len(words[1])) + "\r\n" + words[1] + "\r\n+OK\r\n")
		case "SUBSCRIBE":
			if words[1] == "forbidden" {
				s.say("-NOPERM no\r\n")
				continue
			}
			for i, c := range words[1:] {
				s.say(fmt.Sprintf(">3\r\n$9\r\nsubscribe\r\n$%d\r\n%s\r\n:%d\r\n", len(c), c, i+1))
			}
		case "SILENT":
		default:
			s.say("+" + words[0] + "\r\n")
		}
	}
}

func (s *server) say(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(text) > 0 {
		n := len(text)
		if s.chop {
			n = 1 + rand.IntN(n)
		}
		if _, err := io.WriteString(s.Conn, text[:n]); err != nil {
			return
		}
		text = text[n:]
	}
}

func (s *server) heard() []string {
	s.read.mu.Lock()
	defer s.read.mu.Unlock()
	return append([]string(nil), s.read.asked...)
}

func readCommand(r *bufio.Reader) (words []string, err error) {
	var n, size int
	if _, err = fmt.Fscanf(r, "*%d\r\n", &n); err != nil {
		return nil, err
	}
	for range n {
		if _, err = fmt.Fscanf(r, "$%d\r\n", &size); err != nil {
			return nil, err
		}
		b := make([]byte, size+2)
		if _, err = io.ReadFull(r, b); err != nil {
			return nil, err
		}
		words = append(words, string(b[:size]))
	}
	return words, nil
}

// overTCP and inMemory are a connection to a server and that server. The
// second kind is for bubbles.
func overTCP(t *testing.T, o Options) (*Conn, *server) {
	here, there := pair(t)
	return serve(t, here, there, o)
}

// pair returns the two ends of a connection.
func pair(t *testing.T) (here, there net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	here, err = net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	there, err = l.Accept()
	require.NoError(t, err)
	return here, there
}

func inMemory(t *testing.T, o Options) (*Conn, *server) {
	here, there := net.Pipe()
	return serve(t, here, there, o)
}

func serve(t *testing.T, here, there net.Conn, o Options) (*Conn, *server) {
	s := &server{Conn: there}
	var all sync.WaitGroup
	all.Go(s.run)
	o.Go = func(f func()) bool { all.Go(f); return true }
	c := New(here, o)
	t.Cleanup(func() {
		c.Close()
		there.Close()
		all.Wait()
	})
	return c, s
}

func command(words ...string) []byte { return resp.AppendCommand(nil, words) }

// askOne is [Conn.Ask] for one command.
func askOne(ctx context.Context, c *Conn, words ...string) (resp.Reply, error) {
	answers, err := c.Ask(ctx, words)
	if err != nil {
		return resp.Reply{}, err
	}
	return answers[0], nil
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// array is an answer of texts.
func array(texts ...string) []byte {
	b := fmt.Appendf(nil, "*%d\r\n", len(texts))
	for _, s := range texts {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(s), s)
	}
	return b
}
