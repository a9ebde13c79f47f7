package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
	for _, want := range []string{"5200 requests for 26 keys", "270 bytes", "hits 40.0 %", "With all keys", "% in "} {
		assert.Contains(t, got.out, want)
	}
	assert.Contains(t, got.err, "line 27: size")
	assert.Contains(t, got.err, "and 180 more")
	a := decode[advised](t, tierctl(t, nil, "advise", path, "--hit", "40", "--json").out)
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

// What people have is recognised, and said.
func TestAdviseSaysWhatItTakesTheTraceFor(t *testing.T) {
	var monitor, twitter, weblog strings.Builder
	monitor.WriteString("OK\n")
	for i := range 300 {
		fmt.Fprintf(&monitor, "%d.5 [0 127.0.0.1:1] \"GET\" \"k%d\"\n%d.6 [0 127.0.0.1:1] \"SET\" \"w%d\" \"v\"\n", 1796003000+i, i%7, 1796003000+i, i)
		fmt.Fprintf(&twitter, "%d,k%d,2,100,1,get,0\n%d,k%d,2,100,1,set,60\n", i, i%7, i, i%7)
		fmt.Fprintf(&weblog, "::1 - - [10/Oct/2025:13:55:36 +0000] \"GET /k%d HTTP/1.1\" 200 99\n", i%7)
	}
	for trace, want := range map[string]string{
		monitor.String(): "The trace is taken for the output of MONITOR: 300 reads; 300 writes left out",
		twitter.String(): "The trace is taken for Twitter's key-value traces (twemcache): CSV with 7 fields: 300 reads; 300 writes left out, whose sizes and TTLs are used.",
		weblog.String():  "The trace is taken for access logs of web servers",
	} {
		got := tierctl(t, nil, "advise", traceFile(t, trace))
		require.Zero(t, got.status, got.err)
		assert.Contains(t, got.out, want)
		assert.Contains(t, got.out, " for 7 keys")
		assert.Empty(t, got.err)
		a := decode[advised](t, tierctl(t, nil, "advise", traceFile(t, trace), "--json").out)
		assert.Equal(t, 300, a.Reads)
		assert.Len(t, a.Curves["adaptive"], len(a.Curves["LRU"]))
		assert.NotEmpty(t, a.Format)
	}
	got := tierctl(t, nil, "advise", traceFile(t, twitter.String()))
	assert.Contains(t, got.out, "TTLs are known of 100 % of the reads, and obeyed.")

	odd := "x;k1;10\nx;k2;20\nx;k1;10\n"
	got = tierctl(t, nil, "advise", traceFile(t, odd), "--pattern", `^x;(?P<key>\w+);(?P<size>\d+)`)
	require.Zero(t, got.status, got.err)
	assert.Contains(t, got.out, "read as lines in which a pattern finds the fields: 3 reads")
	got = tierctl(t, nil, "advise", traceFile(t, twitter.String()), "--share", "0.1")
	assert.Contains(t, got.out, "3000 requests for 70 keys")
}

// A trace in which nothing is read twice is no wrong call.
func TestATraceWithoutAHitIsToldInOneLine(t *testing.T) {
	for _, trace := range []string{"a\nb\nc\n", "1,2,3,4,5\n"} {
		got := tierctl(t, nil, "advise", traceFile(t, trace))
		assert.Equal(t, exitFailed, got.status)
		assert.Equal(t, 1, strings.Count(got.err, "\n"), got.err)
		assert.Contains(t, got.err, "taken for lines of key")
	}
	for _, args := range [][]string{{"--format", "nope"}, {"--format", "pattern"}, {"--pattern", "("}, {"--pattern", "a"}, {"--share", "2"}, {"--sample", "-1"},
		{"--most", "-1"}, {"--pattern", "(?P<key>a)", "--format", "meta"}} {
		got := tierctl(t, nil, append([]string{"advise", traceFile(t, "a\na\n")}, args...)...)
		assert.Equal(t, exitUsage, got.status, "%q: %s", args, got.err)
	}
}
