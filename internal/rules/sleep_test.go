package rules

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Functions of tests that run what they are given in a bubble.
var bubbles = map[string]bool{
	"synctest.Test": true,
	"bubble":        true, // invalidation
	"idler":         true, // internal/changelog
	"inBubbles":     true, // tier
	"inTiers":       true, // tier
	"partitioned":   true, // tier
}

// Functions of tests that sleep and are only called in bubbles, or whose literals run in one.
var sleepInBubbles = map[string]bool{
	"tier/monotonic_test.go: TestI1NoFallbackIsOlderThanAChangeBeforeTheCaller": true,
	"tier/monotonic_stale_test.go: TestI1NoReadGoesBehindAValuePastItsTTL":      true,
	"tier/panic_test.go: TestAPanicInABackgroundGoroutineEndsNothingElse":       true,
	"tier/idle_heartbeat_test.go: watched":                                      true,
	"tier/server_test.go: end":                                                  true, // of a partition
	"tier/server_test.go: beginUnproven":                                        true,
	"tier/internal/breaker/busy_test.go: Delta":                                 true,
	"internal/wire/silence_test.go: paced":                                      true,
	"tier/suspended_test.go: reconnect":                                         true,
	"tier/suspended_test.go: proveInBackground":                                 true,
	"tier/race_paths_test.go: race":                                             true,
	"tier/ttl_test.go: expiresAfter":                                            true,
}

// A test that sleeps guesses how long something takes, and is wrong on a slow machine.
func TestNoTestSleepsOutsideOfABubble(t *testing.T) {
	unused := make(map[string]bool)
	for name := range sleepInBubbles {
		unused[name] = true
	}
	sleeps := 0
	for name, source := range sources(t) {
		if !strings.HasSuffix(name, "_test.go") || !strings.Contains(source, "time.Sleep") {
			continue
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, name, source, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			in := ""
			if ok {
				in = name + ": " + f.Name.Name
			}
			for _, at := range sleepsOutsideBubbles(d) {
				delete(unused, in)
				if !sleepInBubbles[in] {
					t.Errorf("%s: a test sleeps outside of a bubble: wait for the event, poll with a deadline, or use synctest", files.Position(at))
				}
			}
		}
		sleeps += strings.Count(source, "time.Sleep(")
	}
	require.Positive(t, sleeps, "the test is blind")
	require.Empty(t, unused, "listed, and they do not sleep")
}

// sleepsOutsideBubbles returns where time.Sleep is named in what no bubble runs.
func sleepsOutsideBubbles(root ast.Node) (at []token.Pos) {
	ast.Inspect(root, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if bubbles[nameOf(n.Fun)] {
				return false
			}
		case *ast.SelectorExpr:
			if nameOf(n) == "time.Sleep" {
				at = append(at, n.Pos())
			}
		}
		return true
	})
	return at
}

// nameOf returns the name of a function as a call spells it.
func nameOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		if x, ok := e.X.(*ast.Ident); ok {
			return x.Name + "." + e.Sel.Name
		}
	}
	return ""
}
