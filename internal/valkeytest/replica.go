package valkeytest

import (
	"strings"
	"testing"
	"time"
)

// ReplicaOf makes the server of [Start] a replica of the one at addr (host:port,
// which may be a proxy's). [Server.AwaitReplica] waits for it.
func ReplicaOf(addr string) Option {
	return Config("replicaof", strings.Replace(addr, ":", " ", 1))
}

// Follow makes the server a replica of the one at addr from now on; with an empty
// addr it becomes a primary. A Restart forgets it.
func (s *Server) Follow(t testing.TB, addr string) {
	t.Helper()
	host, port := "NO", "ONE"
	if addr != "" {
		host, port, _ = strings.Cut(addr, ":")
	}
	s.Do(t, "REPLICAOF", host, port)
}

// AwaitReplica waits until the server is a replica that has all that its primary
// had when it was asked.
func (s *Server) AwaitReplica(t testing.TB, primary *Server) {
	t.Helper()
	want := primary.field(t, "master_repl_offset")
	await(t, "the replica has caught up", func() bool {
		return s.field(t, "master_link_status") == "up" && atLeast(s.field(t, "slave_repl_offset"), want)
	})
}

// Role is "master" or "slave", as the server says it.
func (s *Server) Role(t testing.TB) string {
	t.Helper()
	return s.field(t, "role")
}

// atLeast compares decimal numbers without sign.
func atLeast(a, b string) bool { return len(a) > len(b) || len(a) == len(b) && a >= b }

// field returns a line of INFO replication.
func (s *Server) field(t testing.TB, name string) string {
	t.Helper()
	return s.line(t, name, "INFO", "replication")
}

func (s *Server) clusterInfo(t testing.TB, name string) string {
	t.Helper()
	return s.line(t, name, "CLUSTER", "INFO")
}

// line is what follows "name:" in the text that a command answers.
func (s *Server) line(t testing.TB, name string, cmd ...string) string {
	t.Helper()
	text, err := s.Do(t, cmd...).ToString()
	if err != nil {
		t.Fatal(err)
	}
	text = strings.TrimPrefix(text, "txt:") // how RESP3 marks the text, and the client leaves it
	for line := range strings.SplitSeq(text, "\r\n") {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return value
		}
	}
	return ""
}

// topologyTimeout is for what several servers have to agree on; generous, for
// loaded machines.
const topologyTimeout = time.Minute

// await polls until ok.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	for deadline := time.Now().Add(topologyTimeout); !ok(); <-poll.C {
		if time.Now().After(deadline) {
			t.Fatalf("valkeytest: never happened: %s", what)
		}
	}
}
