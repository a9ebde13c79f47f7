package valkeytest

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/valkey-io/valkey-go"
)

func TestMain(m *testing.M) { Main(m) }

func set(t *testing.T, s *Server, key, value string) { t.Helper(); s.Do(t, "SET", key, value) }

func get(t *testing.T, s *Server, key string) string {
	t.Helper()
	msg := s.Do(t, "GET", key)
	if msg.IsNil() {
		return ""
	}
	v, err := msg.ToString()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func want(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Fatalf("%s is %q, want %q", what, got, want)
	}
}

func TestServerAnswersOnItsURL(t *testing.T) {
	t.Parallel()
	s := Start(t)
	opt, err := valkey.ParseURL(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	c, err := valkey.NewClient(opt)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Do(t.Context(), c.B().Ping().Build()).Error(); err != nil {
		t.Fatal(err)
	}
	port, _ := s.Do(t, "CONFIG", "GET", "port").AsStrMap()
	want(t, "the server's port", "127.0.0.1:"+port["port"], s.Addr)
}

func TestConfigReachesTheServer(t *testing.T) {
	t.Parallel()
	s := Start(t, Config("maxmemory", "10mb"), Config("maxmemory-policy", "allkeys-lru"), Config("requirepass", "p@ss"))
	want(t, "URL", s.URL(), "valkey://:p%40ss@"+s.Addr)
	conf, err := s.Do(t, "CONFIG", "GET", "maxmemory*").AsStrMap()
	if err != nil {
		t.Fatal(err)
	}
	want(t, "maxmemory", conf["maxmemory"], strconv.Itoa(10<<20))
	want(t, "policy", conf["maxmemory-policy"], "allkeys-lru")

	opt, err := valkey.ParseURL(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	c, err := valkey.NewClient(opt)
	if err != nil {
		t.Fatalf("the URL's password was refused: %v", err)
	}
	c.Close()
}

func TestACLFile(t *testing.T) {
	t.Parallel()
	acl := filepath.Join(t.TempDir(), "users.acl")
	users := "user default on nopass ~* &* +@all\nuser reader on >secret ~* -@all +get\n"
	if err := os.WriteFile(acl, []byte(users), 0o600); err != nil {
		t.Fatal(err)
	}
	s := Start(t, Config("aclfile", acl))
	list, err := s.Do(t, "ACL", "USERS").AsStrSlice()
	if err != nil {
		t.Fatal(err)
	}
	want(t, "users", strings.Join(list, " "), "default reader")
}

func TestRestartedServerIsEmptyOnTheSameAddress(t *testing.T) {
	t.Parallel()
	s := Start(t)
	addr := s.Addr
	set(t, s, "k", "v")
	s.Restart()
	want(t, "address", s.Addr, addr)
	want(t, "k", get(t, s, "k"), "")
}

func TestPersistKeepsDataAcrossKillAndStop(t *testing.T) {
	t.Parallel()
	s := Start(t, Persist())
	set(t, s, "k", "v1")
	s.Kill()
	s.Restart()
	want(t, "k after a kill", get(t, s, "k"), "v1")
	set(t, s, "k", "v2")
	s.Stop()
	s.Stop() // stopping twice is fine
	s.Restart()
	want(t, "k after a stop", get(t, s, "k"), "v2")
}

func TestKilledServerRefusesConnections(t *testing.T) {
	t.Parallel()
	s := Start(t)
	s.Kill()
	if c, err := net.Dial("tcp", s.Addr); err == nil {
		c.Close()
		t.Fatal("something answered on the address of a killed server")
	}
}

func TestPausedServerKeepsConnectionsAndAnswersAfterResume(t *testing.T) {
	t.Parallel()
	s := Start(t)
	c, err := net.Dial("tcp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ping := func(patience time.Duration) (string, error) {
		c.SetDeadline(time.Now().Add(patience))
		b := make([]byte, 7)
		_, err := io.ReadFull(c, b)
		return string(b), err
	}
	s.Pause()
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		t.Fatal(err)
	}
	if got, err := ping(50 * time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a paused server answered %q, %v", got, err)
	}
	s.Resume()
	got, err := ping(readyTimeout)
	if err != nil {
		t.Fatal(err)
	}
	want(t, "answer", got, "+PONG\r\n")

	s.Pause()
	s.Stop() // works on a paused server, in the orderly way
	if !strings.Contains(s.Log(), "User requested shutdown") {
		t.Errorf("the server was not shut down in order; its log:\n%s", s.Log())
	}
}

func TestFailedStartShowsTheServersLog(t *testing.T) {
	t.Parallel()
	s := &Server{tb: t, binary: need(t)}
	Config("no-such-setting", "1")(s)
	err := s.create()
	if err == nil {
		s.destroy()
		t.Fatal("the server started in spite of a bad setting")
	}
	if !strings.Contains(err.Error(), "no-such-setting") {
		t.Fatalf("the error does not show what the server said: %v", err)
	}
	if _, err := os.Stat(s.dir); !os.IsNotExist(err) {
		t.Errorf("the folder of a server that failed to start is left: %v", err)
	}
}

// Two servers that want one port: the second must fail rather than take the first one's answers for its own.
func TestTakenPortIsNoticed(t *testing.T) {
	t.Parallel()
	first := Start(t)
	second := &Server{tb: t, binary: first.binary, port: first.port, dir: t.TempDir()}
	if err := second.run(); !errors.Is(err, errPortTaken) {
		t.Fatalf("second server on a taken port: %v", err)
	}
}

func TestSharedServerIsOneAndProtected(t *testing.T) {
	s := Shared(t)
	if Shared(t) != s {
		t.Fatal("two shared servers")
	}
	p, q := Prefix(t), Prefix(t)
	if p == q {
		t.Fatalf("the same prefix twice: %s", p)
	}
	set(t, s, p+"k", "v")
	want(t, "the other prefix's key", get(t, s, q+"k"), "")
	defer func() {
		if recover() == nil {
			t.Error("the shared server let itself be killed")
		}
	}()
	s.Kill()
}

func TestClientIsClosedWithItsTest(t *testing.T) {
	s := Start(t)
	var c valkey.Client
	t.Run("inner", func(t *testing.T) {
		c = s.Client(t)
		if err := c.Do(t.Context(), c.B().Ping().Build()).Error(); err != nil {
			t.Fatal(err)
		}
	})
	err := c.Do(context.Background(), c.B().Ping().Build()).Error()
	if !errors.Is(err, valkey.ErrClosing) {
		t.Fatalf("after its test the client says %v", err)
	}
}

func TestEachVersion(t *testing.T) {
	need(t)
	EachVersion(t, func(t *testing.T, s *Server) {
		info, err := s.Do(t, "INFO", "server").ToString()
		if err != nil {
			t.Fatal(err)
		}
		version := t.Name()[strings.LastIndexByte(t.Name(), '/')+1:]
		if !strings.Contains(info, "_version:"+version) {
			t.Errorf("a server named %s says\n%s", version, info)
		}
	})
}

func TestMissingServerSkipsOrFails(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		env  []string
		ok   bool
		says string
	}{
		{"skips", nil, true, "SKIPPED 2 tests of "},
		{"required", []string{"TIERCACHE_REQUIRE_SERVER=1"}, false, "no program valkey-server"},
		{"not to be used", []string{"TIERCACHE_NO_SERVER=1", "TIERCACHE_REQUIRE_SERVER=1", "VALKEY_SERVER=/nonexistent/server"}, true, "PASS"},
		{"named but absent", []string{"VALKEY_SERVER=/nonexistent/server"}, false, "VALKEY_SERVER"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.run=^(TestServerAnswersOnItsURL|TestSharedServerIsOneAndProtected)$")
			cmd.Env = append([]string{"HOME=" + t.TempDir(), "PATH="}, c.env...)
			out, err := cmd.CombinedOutput()
			if (err == nil) != c.ok || !strings.Contains(string(out), c.says) {
				t.Errorf("%v, and it says %s", err, out)
			}
		})
	}
}
