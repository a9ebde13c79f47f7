package valkeytest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/valkey-io/valkey-go"
)

const (
	readyTimeout = time.Minute      // from exec to the first answer; generous, for loaded machines
	stopTimeout  = 30 * time.Second // from SIGTERM to SIGKILL
	pollInterval = 2 * time.Millisecond
	bindAttempts = 8

	// Ports are drawn from here rather than asked of the kernel with ":0": the kernel's answers come from the range it
	// also uses for outgoing connections, where a client that redials a killed server may be given the server's own
	// port and so connect to itself. The cluster bus (port + 10000) stays below that range too.
	firstPort, lastPort = 11000, 20999
)

// Server is a Valkey server process that this test binary owns. Its methods are for the test's goroutine; they end the
// test when they fail.
type Server struct {
	// Addr is the server's host:port, the same before and after a Restart.
	Addr string

	tb       testing.TB // the test that started it; nil for the shared server
	binary   string
	port     int
	dir      string
	password string
	persist  bool
	settings []setting
	tls      *authority // the authority that signed the server's certificate; nil: no TLS
	sentinel bool
	stepped  bool // its wall clock is ours

	proc *process // the latest one; ended when proc.done is closed
}

type setting struct{ key, value string }

// Option configures a server of [Start].
type Option func(*Server)

// Config adds a line to the server's configuration, written as it would stand in valkey.conf (quote values that need
// it; an empty one is `""`). Later lines win, over the defaults of this package too.
// A requirepass is used by URL, Client and Do.
func Config(key, value string) Option {
	return func(s *Server) {
		s.settings = append(s.settings, setting{key, value})
		if key == "requirepass" {
			s.password = strings.Trim(value, `"`)
		}
	}
}

// Persist makes the data survive Stop, Kill and Restart (by an append-only file). The default: a restarted server is empty.
func Persist() Option { return func(s *Server) { s.persist = true } }

// Binary runs this server program instead of the one found by the rules in the package comment.
func Binary(path string) Option { return func(s *Server) { s.binary = path } }

// Start runs a new server and waits until it answers. It is ended when the test ends; if the test failed, the last of
// its log is shown. Without a server program the test is skipped, or fails: see the package comment.
func Start(t testing.TB, opts ...Option) *Server {
	t.Helper()
	s := &Server{tb: t}
	for _, o := range opts {
		o(s)
	}
	if s.binary == "" {
		s.binary = need(t)
	}
	if err := s.create(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the server on %s:\n%s", s.Addr, s.logTail())
		}
		s.destroy()
	})
	return s
}

// URL is the server's address in the form that tier.WithValkey takes, with the password if there is one.
func (s *Server) URL() string {
	u := url.URL{Scheme: "valkey", Host: s.Addr}
	if s.tls != nil {
		u.Scheme = "valkeys"
	}
	if s.password != "" {
		u.User = url.UserPassword("", s.password)
	}
	return u.String()
}

// Stop shuts the server down in the orderly way and waits for its end. A stopped server may be started again by Restart;
// stopping one that has ended is fine.
func (s *Server) Stop() {
	s.own("Stop")
	s.proc.stop()
}

// Kill ends the server at once, as a crash does (SIGKILL), and waits for its end.
func (s *Server) Kill() {
	s.own("Kill")
	s.proc.kill()
}

// Restart starts the server again on the same address and waits until it answers. One that is still running is stopped
// first.
func (s *Server) Restart() {
	s.own("Restart")
	s.tb.Helper()
	s.proc.stop()
	if err := s.run(); err != nil {
		s.tb.Fatal(err)
	}
}

// Pause freezes the server (SIGSTOP): its connections stay open and nothing is answered until Resume. Stop, Kill and
// Restart work on a paused server.
func (s *Server) Pause() {
	s.own("Pause")
	s.tb.Helper()
	if err := s.proc.pause(); err != nil {
		s.tb.Fatalf("valkeytest: pause: %v", err)
	}
}

// Resume ends a Pause.
func (s *Server) Resume() {
	s.own("Resume")
	s.tb.Helper()
	if err := s.proc.resume(); err != nil {
		s.tb.Fatalf("valkeytest: resume: %v", err)
	}
}

// Client returns a plain client (one connection, no client-side cache) that is closed when the test ends.
func (s *Server) Client(t testing.TB) valkey.Client {
	t.Helper()
	c, err := s.connect()
	if err != nil {
		t.Fatalf("valkeytest: connect to %s: %v", s.Addr, err)
	}
	t.Cleanup(c.Close)
	return c
}

// Do sends one command over a connection of its own and returns the answer, which may be nil (IsNil). An error ends the
// test.
func (s *Server) Do(t testing.TB, args ...string) *valkey.ValkeyMessage {
	t.Helper()
	c, err := s.connect()
	if err != nil {
		t.Fatalf("valkeytest: connect to %s: %v", s.Addr, err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	msg, err := c.Do(ctx, c.B().Arbitrary(args...).Build()).ToMessage()
	if err != nil && !valkey.IsValkeyNil(err) {
		t.Fatalf("valkeytest: %s: %v", strings.Join(args, " "), err)
	}
	return &msg
}

// Log returns what the server has logged so far, across restarts.
func (s *Server) Log() string {
	b, _ := os.ReadFile(s.logPath())
	return string(b)
}

func (s *Server) connect() (valkey.Client, error) {
	return valkey.NewClient(valkey.ClientOption{
		InitAddress:       []string{s.Addr},
		Password:          s.password,
		TLSConfig:         s.TLSConfig(),
		DisableCache:      true,
		ForceSingleClient: true,
		PipelineMultiplex: -1,
	})
}

// own guards the shared server, which others are using.
func (s *Server) own(method string) {
	if s.tb == nil {
		panic("valkeytest: " + method + " of the shared server; use Start")
	}
}

// create makes the server's folder and runs it on a free port.
func (s *Server) create() error {
	// Not t.TempDir: its names can be longer than a Unix socket's path may be.
	dir, err := os.MkdirTemp("", "valkeytest-")
	if err != nil {
		return err
	}
	s.dir = dir
	for range bindAttempts {
		if s.port, err = freePort(); err != nil {
			break
		}
		// Another process may take the port before the server does.
		if err = s.run(); !errors.Is(err, errPortTaken) {
			break
		}
	}
	if err != nil {
		os.RemoveAll(dir)
		return err
	}
	s.Addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port))
	return nil
}

// destroy need not be orderly: nothing of the server is left afterwards.
func (s *Server) destroy() {
	s.proc.kill()
	os.RemoveAll(s.dir)
}

var errPortTaken = errors.New("valkeytest: the port is taken")

// run starts the process on s.port and returns when it answers.
func (s *Server) run() error {
	if err := os.WriteFile(s.path("valkey.conf"), []byte(s.config()), 0o600); err != nil {
		return err
	}
	if s.tls != nil {
		if err := s.tls.certify(s.dir); err != nil {
			return err
		}
	}
	log, err := os.OpenFile(s.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the child has its own descriptor
	before, _ := log.Seek(0, 2)

	args := []string{s.path("valkey.conf")}
	if s.sentinel {
		args = append(args, "--sentinel")
	}
	cmd := exec.Command(s.binary, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, log, log
	if cmd.Env, err = s.environment(); err != nil {
		return err
	}
	proc, err := startProcess(cmd)
	if err != nil {
		return fmt.Errorf("valkeytest: start %s: %w", s.binary, err)
	}
	deadline := time.Now().Add(readyTimeout)
	for !s.answers() {
		select {
		case <-proc.done:
			said := s.Log()[before:]
			if strings.Contains(said, "Address already in use") {
				return errPortTaken
			}
			return fmt.Errorf("valkeytest: %s ended while starting (%v):\n%s", s.binary, proc.err, said)
		case <-time.After(pollInterval):
		}
		if time.Now().After(deadline) {
			proc.kill()
			return fmt.Errorf("valkeytest: %s did not answer within %v:\n%s", s.binary, readyTimeout, s.logTail())
		}
	}
	s.proc = proc
	return nil
}

// answers asks over the Unix socket in the server's own folder: on the TCP port, another process's server might answer.
// The server opens all its sockets before it answers on any. An error is an answer (a password may be wanted), except
// that the data is still being loaded.
func (s *Server) answers() bool {
	c, err := net.DialTimeout("unix", s.path("sock"), time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	b := make([]byte, 64)
	n, _ := c.Read(b)
	return n > 0 && !strings.HasPrefix(string(b[:n]), "-LOADING")
}

func (s *Server) config() string {
	var b strings.Builder
	line := func(key, value string) { fmt.Fprintf(&b, "%s %s\n", key, value) }
	line("bind", "127.0.0.1")
	if s.tls != nil {
		line("port", "0")
		line("tls-port", strconv.Itoa(s.port))
		line("tls-cert-file", strconv.Quote(s.path(certFile)))
		line("tls-key-file", strconv.Quote(s.path(keyFile)))
		line("tls-ca-cert-file", strconv.Quote(s.path(authorityFile)))
		line("tls-auth-clients", "no")
	} else {
		line("port", strconv.Itoa(s.port))
	}
	line("unixsocket", strconv.Quote(s.path("sock")))
	line("dir", strconv.Quote(s.dir))
	line("daemonize", "no")
	if !s.sentinel {
		line("save", `""`)
		if s.persist {
			line("appendonly", "yes")
		} else {
			line("appendonly", "no")
		}
		line("shutdown-timeout", "0")
		line("enable-debug-command", "local")
	}
	for _, x := range s.settings {
		line(x.key, x.value)
	}
	return b.String()
}

func (s *Server) path(name string) string { return filepath.Join(s.dir, name) }
func (s *Server) logPath() string         { return s.path("log") }

func (s *Server) logTail() string {
	const max = 4 << 10
	log := s.Log()
	if len(log) > max {
		log = "…" + log[len(log)-max:]
	}
	return log
}

// freePort returns a port of our range that no process listens on just now.
func freePort() (int, error) {
	var err error
	for range 100 {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		var l net.Listener
		if l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("valkeytest: no free loopback port: %w", err)
}

// process is a running command and the goroutine that owns it.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended and was waited for
	err  error         // how it ended; valid when done is closed
}

func startProcess(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel kills the child when the thread that started it ends (see startWithDeathSignal): the owner keeps its thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		release, err := startBound(cmd)
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		release()
		close(p.done)
	}()
	return p, <-started
}

func (p *process) kill() {
	p.cmd.Process.Kill() // fails if it has ended, which is fine
	<-p.done
}

func (p *process) stop() {
	p.resume()
	if err := p.terminate(); err != nil {
		p.kill()
		return
	}
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
		p.kill()
	}
}
