package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/bench"
)

func traceFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "trace")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestAdviceForALoop: an LRU needs room for all of it, the others gain from any.
func TestAdviceForALoop(t *testing.T) {
	loop := strings.Repeat(strings.Join(strings.Split("abcdefghijklmnopqrstuvwxyz", ""), ",100\n")+",100\nbad,line\n", 200)
	path := traceFile(t, loop)
	got := tierctl(t, nil, "advise", path, "--hit", "40", "--verify")
	require.Zero(t, got.status, got.err)
	for _, want := range []string{"5200 requests for 26 keys", "270 bytes", "hits 40.0 %", "With all keys"} {
		assert.Contains(t, got.out, want)
	}
	assert.Contains(t, got.err, "line 27: size")
	assert.Contains(t, got.err, "and 180 more")
	a := decode[bench.Advice](t, tierctl(t, nil, "advise", path, "--hit", "40", "--json").out)
	assert.Equal(t, 26, a.Wanted[0].Size.Entries, "LRU")
	assert.LessOrEqual(t, a.Wanted[3].Size.Entries, 20, "adaptive")
	piped := tierctlWith(t, t.Context(), &command{in: strings.NewReader(loop)}, nil, "advise", "-", "--hit", "40", "--verify")
	assert.Equal(t, got, piped)
}

func TestBadCallsAreToldFromBadTraces(t *testing.T) {
	good := traceFile(t, "a\nb\na\n")
	for _, args := range [][]string{{"advise"}, {"advise", good, "more"}, {"advise", good, "--hit", "101"}, {"advise", "--unknown"}} {
		assert.Equal(t, exitUsage, tierctl(t, nil, args...).status, "%q", args)
	}
	for _, path := range []string{filepath.Join(t.TempDir(), "none"), traceFile(t, ""), traceFile(t, "\n\n")} {
		assert.Equal(t, exitFailed, tierctl(t, nil, "advise", path).status, path)
	}
}
