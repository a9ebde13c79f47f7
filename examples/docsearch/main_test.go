package main

import (
	"context"
	"net"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/valkeytest"
)

// command runs the program as a user would.
func command(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, errs strings.Builder
	code = run(ctx, args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestMistakesGiveOneLine(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer busy.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, gone.Close())

	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"-nonsense", exitUsage, "-nonsense"},
		{"-replicas one", exitUsage, "one"},
		{"-replicas 1", exitUsage, "2 to 8"},
		{"-replicas 9 -reads 0", exitUsage, "-reads 0"},
		{"-serve 8080", exitUsage, "host:port"},
		{"-valkey=", exitUsage, "-valkey: must not be empty"},
		{"extra", exitUsage, "extra"},
		{"-serve " + busy.Addr().String(), exitFailure, "address already in use"},
		{"-valkey valkey://" + gone.Addr().String(), exitFailure, gone.Addr().String()},
		{"-valkey nonsense://x", exitFailure, "not a URL like valkey://"},
	} {
		code, stdout, stderr := command(t.Context(), strings.Fields(c.args)...)
		assert.Equal(t, c.code, code, c.args)
		assert.Empty(t, stdout, c.args)
		assert.Contains(t, stderr, c.says, c.args)
		assert.Equal(t, 1, strings.Count(stderr, "\n"), "%s: %s", c.args, stderr)
	}
}

func TestHelp(t *testing.T) {
	code, stdout, stderr := command(t.Context(), "-h")
	assert.Equal(t, exitOK, code)
	assert.Empty(t, stderr)
	for _, flag := range []string{"-valkey url", "-serve host:port", "-replicas number"} {
		assert.Contains(t, stdout, flag)
	}
}

func TestTour(t *testing.T) {
	code, stdout, stderr := command(t.Context(), "-reads", "500")
	require.Equal(t, exitOK, code, stderr)
	checkTour(t, stdout)
}

func TestTourOnAServer(t *testing.T) {
	server := valkeytest.Start(t) // of its own: the example's keys have a fixed prefix
	for range 2 {                 // and again: nothing of the first tour may be believed in the second
		code, stdout, stderr := command(t.Context(), "-reads", "500", "-valkey", server.URL())
		require.Equal(t, exitOK, code, stderr)
		checkTour(t, stdout)
	}
}

// checkTour checks what a tour with two replicas printed.
func checkTour(t *testing.T, stdout string) {
	t.Helper()
	checkReadable(t, stdout)
	sections := regexp.MustCompile(`(?m)^\d\. `).Split(stdout, -1)
	require.Len(t, sections, 9)
	for section, want := range map[int]string{
		2: "(1 loaded, 1 local, 2 remote, 2 (local|remote), ){3}", // see tour.warm
		5: "1 loaded, 2 remote, ",
		6: "1 loaded, 2 remote, 1 local, 2 local, ",
		7: "1 loaded, 2 remote, 1 loaded, 2 remote, ",
	} {
		assert.Regexp(t, "^"+want+"$", printedOrigins(sections[section]), sections[section])
	}
	before, after, ok := strings.Cut(strings.Join(strings.Fields(sections[5]), " "), "InvalidateSource")
	assert.True(t, ok)
	assert.NotContains(t, before, "Since the edit")
	assert.Equal(t, 2, strings.Count(after, "Since the edit"), "both replicas give the new answer")
	assert.Contains(t, after, "Replica 2 dropped its copy")
}

// printedOrigins reads replica and origin from the table of a section.
func printedOrigins(section string) string {
	var b strings.Builder
	for _, m := range regexp.MustCompile(`(?m)\? +(\d +\w+) +[0-9.]+[nµm]?s$`).FindAllStringSubmatch(section, -1) {
		b.WriteString(strings.Join(strings.Fields(m[1]), " ") + ", ")
	}
	return b.String()
}

func TestInterruptedTourSaysSo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	code, _, stderr := command(ctx)
	assert.Equal(t, exitFailure, code)
	assert.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
}
