package recovery

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// packages are those that run in the processes of users.
var packages = []string{"tier", "tier/internal/core", "internal/changelog", "remote", "local", "internal/wire", "internal/checkconn", "internal/resp",
	"internal/bound", "internal/mono", "internal/envelope", "internal/sizeof", "internal/shape", "internal/recovery", "internal/embedded",
	"tier/internal/background", "tier/internal/breaker", "tier/internal/config", "tier/internal/inflight", "tier/internal/keyspace",
	"tier/internal/record", "tier/internal/evict", "tier/internal/revalidate", "tier/internal/session", "tier/internal/stripe", "tier/internal/pace", "tier/internal/loads",
	"tier/internal/inspect", "tier/internal/warmstart", "internal/fleet", "tier/tierdebug"}

// starts are names of functions that have their argument run in another goroutine.
var starts = map[string]bool{"Go": true, "AfterFunc": true, "AddCleanup": true, "SetFinalizer": true}

// TestEveryGoroutineIsInTheTable of docs/goroutines.md, which says what a panic of it does.
func TestEveryGoroutineIsInTheTable(t *testing.T) {
	found := make(map[string]bool)
	for _, p := range packages {
		files, err := filepath.Glob(filepath.Join("..", "..", p, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatal(p, err)
		}
		for _, name := range files {
			if !strings.HasSuffix(name, "_test.go") {
				startsIn(t, name, p+"/"+filepath.Base(name), found)
			}
		}
	}
	page, err := os.ReadFile("../../docs/goroutines.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := make(map[string]bool)
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+[.]go: [^`]+)`").FindAllStringSubmatch(string(page), -1) {
		listed[row[1]] = true
	}
	for _, at := range slices.Sorted(maps.Keys(found)) {
		if !listed[at] {
			t.Errorf("%s starts a goroutine that docs/goroutines.md does not have", at)
		}
	}
	for _, at := range slices.Sorted(maps.Keys(listed)) {
		if !found[at] {
			t.Errorf("%s is in docs/goroutines.md and starts none", at)
		}
	}
}

// startsIn adds the functions of a file that start goroutines, as "path: function".
func startsIn(t *testing.T, name, path string, found map[string]bool) {
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range file.Decls {
		where := path + ": package"
		if f, ok := d.(*ast.FuncDecl); ok {
			where = path + ": " + f.Name.Name
		}
		ast.Inspect(d, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				found[where] = true
			case *ast.CallExpr:
				if s, ok := n.Fun.(*ast.SelectorExpr); ok && starts[s.Sel.Name] {
					found[where] = true
				}
			}
			return true
		})
	}
}
