package valkeytest

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var errNoServer = errors.New("no program valkey-server: run make test (it gets one), or set VALKEY_SERVER=/path/to/valkey-server")

// find returns the server program by the rules in the package comment; errNoServer if there is none.
func find() (string, error) {
	if noServer() {
		return "", errNoServerUsed
	}
	if path := os.Getenv("VALKEY_SERVER"); path != "" {
		path, err := exec.LookPath(path)
		if err != nil {
			return "", fmt.Errorf("valkeytest: VALKEY_SERVER: %w", err)
		}
		return filepath.Abs(path)
	}
	if path, err := exec.LookPath("valkey-server"); err == nil {
		return path, nil
	}
	cache := cmp.Or(os.Getenv("XDG_CACHE_HOME"), filepath.Join(os.Getenv("HOME"), ".cache"))
	if path, err := exec.LookPath(filepath.Join(cache, "tiercache", "valkey", "valkey-server")); err == nil {
		return path, nil
	}
	return "", errNoServer
}

// need returns the server program, or ends the test: with a failure if a server is required or the named one is
// unusable, else with a skip.
func need(t testing.TB) string {
	t.Helper()
	path, err := find()
	switch {
	case err == nil:
		return path
	case errors.Is(err, errNoServerUsed):
		t.Skipf("SKIPPED: %v", err)
	case errors.Is(err, errNoServer) && !required():
		noteSkip()
		t.Skipf("SKIPPED: %v", err)
	default:
		t.Fatal(err)
	}
	return "" // not reached
}

func required() bool { return isSet("TIERCACHE_REQUIRE_SERVER") }

var errNoServerUsed = errors.New("no server is used: TIERCACHE_NO_SERVER is set, as make quick does")

func noServer() bool { return isSet("TIERCACHE_NO_SERVER") }

func isSet(variable string) bool {
	v := os.Getenv(variable)
	return v != "" && v != "0"
}

// Binaries returns the server programs that EachVersion runs: those of TIERCACHE_VALKEY_SERVERS, else the one that
// Start would use, else none.
func Binaries() []string {
	if noServer() {
		return nil
	}
	if list := filepath.SplitList(os.Getenv("TIERCACHE_VALKEY_SERVERS")); len(list) > 0 {
		return list
	}
	if path, err := find(); err == nil {
		return []string{path}
	}
	return nil
}

// EachVersion runs f as a subtest, named by version, on a server of each of the Binaries; opts go to [Start].
func EachVersion(t *testing.T, f func(t *testing.T, s *Server), opts ...Option) {
	t.Helper()
	eachBinary(t, func(t *testing.T, binary Option) { f(t, Start(t, append(opts, binary)...)) })
}

// EachCluster is EachVersion on a cluster of n primaries and as many replicas.
func EachCluster(t *testing.T, n int, f func(t *testing.T, c *Cluster), opts ...Option) {
	t.Helper()
	eachBinary(t, func(t *testing.T, binary Option) { f(t, StartCluster(t, n, append(opts, binary)...)) })
}

func eachBinary(t *testing.T, f func(t *testing.T, binary Option)) {
	t.Helper()
	binaries := Binaries()
	if len(binaries) == 0 {
		need(t)
	}
	for _, path := range binaries {
		version, err := Version(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(version, func(t *testing.T) { f(t, Binary(path)) })
	}
}

// Version asks a server program for its version, such as "8.1.4".
func Version(path string) (string, error) {
	// "Valkey server v=8.1.1 sha=00000000:0 malloc=…", older ones "Server v=…".
	out, err := exec.Command(path, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("valkeytest: %s --version: %w", path, err)
	}
	for word := range strings.FieldsSeq(string(out)) {
		if version, ok := strings.CutPrefix(word, "v="); ok {
			return version, nil
		}
	}
	return "", fmt.Errorf("valkeytest: %s --version: no version in %q", path, out)
}
