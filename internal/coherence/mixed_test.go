package coherence

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/valkeytest"
)

// versionBefore is what is in production while the present version is rolled out.
// TIERCACHE_BEFORE=commit takes another.
const versionBefore = "44f42aefd7b81331be7cef25b540df746718322e"

// memberOf builds the member of another version: its library, and this package, by
// which the processes of a fleet share their board. What this package calls has to
// be in that version too.
func memberOf(t *testing.T, commit string) string {
	dir := t.TempDir()
	in := func(dir, name string, args ...string) ([]byte, error) {
		cmd := exec.Command(name, args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOWORK=off")
		return cmd.CombinedOutput()
	}
	if out, err := in(".", "git", "cat-file", "-e", commit+"^{commit}"); err != nil {
		if os.Getenv("TIERCACHE_MIXED") != "" {
			t.Fatalf("no commit %s here, which make mixed needs: git fetch --unshallow; %s", commit, out)
		}
		t.Skipf("SKIPPED: no program of the version before: this clone has no commit %s to build it from (git fetch --unshallow): %v", commit, err)
	}
	root, err := in(".", "git", "rev-parse", "--show-toplevel")
	require.NoError(t, err, "%s", root)
	archive := filepath.Join(dir, "tree.tar")
	out, err := in(strings.TrimSpace(string(root)), "git", "archive", "--output="+archive, commit)
	require.NoError(t, err, "%s", out)
	tree := filepath.Join(dir, "tree")
	require.NoError(t, os.Mkdir(tree, 0o700))
	out, err = in(tree, "tar", "-xf", archive)
	require.NoError(t, err, "%s", out)

	checker := filepath.Join(tree, "internal", "coherence")
	require.NoError(t, os.RemoveAll(checker))
	copyFiles(t, ".", checker)
	copyFiles(t, "memberproc", filepath.Join(checker, "memberproc"))
	program := filepath.Join(dir, "member")
	out, err = in(tree, "go", "build", "-trimpath", "-o", program, "./internal/coherence/memberproc")
	require.NoError(t, err, "%s", out)
	return program
}

// copyFiles copies the Go files that are no tests.
func copyFiles(t *testing.T, from, to string) {
	require.NoError(t, os.MkdirAll(to, 0o700))
	files, err := filepath.Glob(filepath.Join(from, "*.go"))
	require.NoError(t, err)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(to, filepath.Base(file)), b, 0o600))
	}
}

// A fleet in which one process after the other is replaced by one of the present
// version, and then of the version before again, is coherent all the time: both hear
// of each other's changes, and neither takes the other's entries for what they are
// not. All reads are judged by I1, I2, I4 and I5, and none may fail (I8).
//
// What the version before does not do is not asked of it: its contexts do not end and
// its requests have time, since what it gives up can come later than another's write;
// no loader names a bad source, since the "not found" of its loads is shared; own
// reads are not judged; and servers are not set back.
func TestAFleetOfTwoVersionsIsCoherent(t *testing.T) {
	valkeytest.Extra(t, "git", "tar")
	turns, replaced, reads := 1, 2, int64(10_000)
	if n, err := strconv.Atoi(os.Getenv("TIERCACHE_MIXED")); err == nil {
		turns, replaced, reads = n, there, 300_000
	}
	commit := versionBefore
	if c := os.Getenv("TIERCACHE_BEFORE"); c != "" {
		commit = c
	}
	cfg := testConfig()
	w := emptyWorld(t, cfg)
	before := memberOf(t, commit)
	w.server = valkeytest.Start(t)
	for i := range there {
		w.proxies = append(w.proxies, w.proxy(w.server.Addr, uint64(i)))
	}
	w.cfg.OwnReads, w.cfg.BadSources, w.cfg.Timeout = false, false, 10*w.cfg.Timeout
	t.Cleanup(w.end)

	// start has a member be of a version.
	start := func(i int, program string) {
		if p := w.procs[i]; p != nil {
			p.Kill()
			w.hold(w.cfg.Timeout) // what it was writing when it died is performed, or is too late
			for s := range w.board.subjects {
				w.board.Subject(s).Replaced(i)
			}
		}
		cfg := w.config(i)
		if program == before {
			cfg.Ended = 0
		}
		p, err := SpawnOf(program, cfg, w.file)
		require.NoError(t, err)
		w.procs[i] = p
	}
	goOn := func(what string) {
		w.recovered()
		w.calm(reads)
		if w.rng.IntN(3) == 0 {
			w.inject(mixedFaults[w.rng.IntN(len(mixedFaults))])
		}
		_, violations := w.totals()
		t.Logf("%s: %d violations so far; %d failures", what, violations, w.failures())
	}
	for i := range there {
		start(i, before)
	}
	goOn("all of the version before")
	for range turns {
		order := w.rng.Perm(there)[:replaced]
		for _, step := range []struct{ name, program string }{{"forwards", os.Args[0]}, {"back", before}} {
			for n, i := range order {
				start(i, step.program)
				goOn(fmt.Sprintf("%s, %d of %d, member %d", step.name, n+1, replaced, i))
			}
		}
	}
	w.conclude()
}

// mixedFaults are what happens to a fleet while it is rolled out, too.
var mixedFaults = []fault{
	{name: "kill -9 and restart of the server", run: func(w *world) int {
		w.server.Kill()
		w.server.Restart()
		return 1
	}},
	{name: "CLIENT KILL of all connections", run: times(4, func(w *world) { w.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") })},
	{name: "FLUSHALL", run: times(4, func(w *world) { w.do("FLUSHALL") })},
	{name: "DEL of the change log", run: times(4, func(w *world) { w.do("DEL", w.logKey()) })},
}
