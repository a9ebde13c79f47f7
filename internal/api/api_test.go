package api

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const root = "../.."

// most is how many names, and methods, of all packages together may not be deprecated.
const most = 220

var update = flag.Bool("update", false, "write api/*.txt")

func surfaces(t *testing.T) map[string]Surface {
	t.Helper()
	dirs, err := Packages(root)
	require.NoError(t, err)
	require.Contains(t, dirs, "tier")
	all := make(map[string]Surface)
	for _, dir := range dirs {
		s, err := Read(filepath.Join(root, dir), dir)
		require.NoError(t, err)
		all[dir] = s
	}
	return all
}

// file is that of a package in the folder api.
func file(dir string) string {
	return filepath.Join(root, "api", strings.ReplaceAll(dir, "/", "_")+".txt")
}

func TestTheExportedNamesAreThoseThatAreListed(t *testing.T) {
	listed, err := filepath.Glob(filepath.Join(root, "api", "*.txt"))
	require.NoError(t, err)
	surplus := make(map[string]bool)
	for _, path := range listed {
		surplus[path] = true
	}
	for dir, s := range surfaces(t) {
		path, text := file(dir), strings.Join(s.Lines(), "\n")+"\n"
		delete(surplus, path)
		if *update {
			require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
			continue
		}
		before, err := os.ReadFile(path)
		if err != nil {
			before = nil // a new package
		}
		for _, line := range missing(string(before), text) {
			t.Errorf("%s: exported and not listed: %s", filepath.Base(path), line)
		}
		for _, line := range missing(text, string(before)) {
			t.Errorf("%s: listed and not exported: %s", filepath.Base(path), line)
		}
	}
	for path := range surplus {
		if *update {
			require.NoError(t, os.Remove(path))
			continue
		}
		t.Errorf("%s is of a package that does not exist", filepath.Base(path))
	}
	if t.Failed() {
		t.Log("where that is wanted: go test ./internal/api -update")
	}
}

// missing returns the lines of b that a has not.
func missing(a, b string) (lines []string) {
	has := make(map[string]bool)
	for line := range strings.SplitSeq(a, "\n") {
		has[line] = true
	}
	for line := range strings.SplitSeq(b, "\n") {
		if line != "" && !has[line] {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestNearlyEveryNameIsDocumentedAndThereAreFew(t *testing.T) {
	all, documented := 0, 0
	for dir, s := range surfaces(t) {
		n, d := s.Count()
		t.Logf("%-16s %3d names, %3d documented", dir, n, d)
		all, documented = all+n, documented+d
		for _, name := range s {
			if !name.Documented {
				t.Logf("without a comment: %s", name.Line)
			}
		}
	}
	t.Logf("%d names, %d documented", all, documented)
	require.LessOrEqual(t, all, most, "names that are not deprecated")
	require.GreaterOrEqual(t, 100*documented, 99*all, "names with a comment")
}

func TestEveryKindOfNameIsRead(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "x.go"), []byte(`package x

// A is one.
type A[K comparable, V any] struct {
	Field, Other int
	hidden       int
	Call         func(n int) error
	Embedded
}

// Get gets.
func (a *A[K, V]) Get(key K, more ...V) (v V, err error) { return }
func (a *A[K, V]) get()                                 {}

type hidden struct{}

func (hidden) Seen() {}

// B is another.
type B interface {
	// Do does.
	Do(a, b int) error
	Embedded
	hidden()
}

func (A[K, V]) String() string { return "" }

// Deprecated: use B.
type C = B

type F func(x int)

const (
	One F2 = iota // one
	Two
	three
)

// New makes.
//
// Deprecated: it makes no more.
func New[T any](x T) *T { return nil }

var ErrX = 1
`), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "x_test.go"), []byte("package x\n\nfunc Helper() {}\n"), 0o600))
	s, err := Read(dir, "x")
	require.NoError(t, err)
	require.Equal(t, []string{
		"pkg x, const One F2",
		"pkg x, const Two F2",
		"pkg x, func New[T any](T) *T //deprecated",
		"pkg x, method (*A[K, V]) Get(K, ...V) (V, error)",
		"pkg x, method (A[K, V]) String() string",
		"pkg x, type A[K comparable, V any] struct",
		"pkg x, type A struct, Call func(int) error",
		"pkg x, type A struct, Field int",
		"pkg x, type A struct, Other int",
		"pkg x, type A struct, embedded Embedded",
		"pkg x, type B interface",
		"pkg x, type B interface, embedded Embedded",
		"pkg x, type B interface, unexported methods",
		"pkg x, type B interface, Do(int, int) error",
		"pkg x, type C = B //deprecated",
		"pkg x, type F func(int)",
		"pkg x, var ErrX",
	}, s.Lines())
	names, documented := s.Count()
	require.Equal(t, 9, names)
	require.Equal(t, 6, documented, "not Two, F and ErrX")
}
