package valkeytest

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

const snapshotFile = "dump.rdb"

// Save has the server write a snapshot of its data, from which it starts the next
// time, until DropSnapshot.
func (s *Server) Save(t testing.TB) {
	t.Helper()
	s.Do(t, "SAVE")
}

// DropSnapshot has the server start empty again, if it does not Persist.
func (s *Server) DropSnapshot() {
	s.own("DropSnapshot")
	s.tb.Helper()
	if err := os.Remove(s.path(snapshotFile)); err != nil && !os.IsNotExist(err) {
		s.tb.Fatalf("valkeytest: drop snapshot: %v", err)
	}
}

// Session is a connection that a test keeps, so that it can speak to a server that
// accepts no others.
type Session struct {
	tb testing.TB
	c  net.Conn
	in *bufio.Reader
}

// Session connects. It is closed by the caller, or when the test ends.
func (s *Server) Session(t testing.TB) *Session {
	t.Helper()
	c, err := net.DialTimeout("unix", s.path("sock"), readyTimeout)
	if err != nil {
		t.Fatalf("valkeytest: connect to %s: %v", s.Addr, err)
	}
	t.Cleanup(func() { c.Close() })
	return &Session{t, c, bufio.NewReader(c)}
}

// Do sends commands in one piece, so that the server does one after the other and
// serves no other client in between. Their answers are of one line; an error ends the test.
func (s *Session) Do(commands ...string) {
	s.tb.Helper()
	_ = s.c.SetDeadline(time.Now().Add(readyTimeout))
	fmt.Fprint(s.c, strings.Join(commands, "\r\n")+"\r\n")
	for _, command := range commands {
		if line, err := s.in.ReadString('\n'); err != nil || strings.HasPrefix(line, "-") {
			s.tb.Fatalf("valkeytest: %s: %q, %v", command, line, err)
		}
	}
}

// Close ends the session.
func (s *Session) Close() { s.c.Close() }
