package main

import (
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const root = "../.."

func TestEveryMarkerHasAnEntryAndEveryEntryAMarker(t *testing.T) {
	sites, err := findMarkers(root)
	require.NoError(t, err)
	left := maps.Clone(sites)
	for _, m := range marks {
		assert.Contains(t, left, m.name, "no code has this marker, or two entries name it")
		delete(left, m.name)
	}
	for name, at := range left {
		t.Errorf("%s:%d: marks has no entry for %q", at.file, at.line+1, name)
	}
}

// That the types are right, too, takes longer to see: guards -check does that.
func TestWithoutAnyGuardTheCodeIsGo(t *testing.T) {
	sites, err := findMarkers(root)
	require.NoError(t, err)
	for _, m := range marks {
		file, source, without, err := m.mutated(root, sites)
		if assert.NoError(t, err) {
			assert.NotEqual(t, string(source), string(without), m.name)
			_, err = parser.ParseFile(token.NewFileSet(), file, without, parser.SkipObjectResolution)
			assert.NoError(t, err, m.name)
		}
	}
}

func TestEveryGuardHasATest(t *testing.T) {
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	tests := make(map[string][]string) // of each package
	for _, m := range marks {
		pkg, pattern := splitTest(m.test)
		if tests[pkg] == nil {
			files, err := filepath.Glob(filepath.Join(root, pkg, "*_test.go"))
			require.NoError(t, err)
			for _, file := range files {
				source, err := os.ReadFile(file)
				require.NoError(t, err)
				for _, name := range declared.FindAllSubmatch(source, -1) {
					tests[pkg] = append(tests[pkg], string(name[1]))
				}
			}
		}
		top, _, _ := strings.Cut(pattern, "/")
		match, err := regexp.Compile(top)
		if assert.NoError(t, err, m.name) {
			assert.True(t, slices.ContainsFunc(tests[pkg], match.MatchString), "%s: no test of %s matches %q", m.name, pkg, top)
		}
	}
}

func TestAGuardIsTakenOutOfGo(t *testing.T) {
	for _, c := range []struct{ op, marked, want string }{
		{"drop", "f(a)", "if false {\nf(a)\n}"},
		{"drop", "defer f(a)", "if false {\ndefer f(a)\n}"},
		{"drop", "if a {\n\tf(b)\n}", "if false {\nif a {\n\tf(b)\n}\n}"},
		{"drop", "// Why.\n// guard: other\nf(a)", "// Why.\n// guard: other\nif false {\nf(a)\n}"},
		{"drop", "a = b", "if false {\na = b\n}"},
		{"true", "if a && b {\n}", "if (true || a && b) {\n}"},
		{"false", "if x := g(); x {\n}", "if x := g(); (false && (x)) {\n}"},
		{"false", "x := a", "x := (false && (a))"},
		{"false", "for a {\n}", "for (false && (a)) {\n}"},
		{"true", "return a", "return (true || a)"},
		{"and b", "if a || c {\n}", "if ((a || c) && (false || (b))) {\n}"},
		{"or b", "a = c", "a = ((c) || true && (b))"},
		{"operand 1", "if a && b {\n}", "if (true || a) && b {\n}"},
		{"operand 2", "if a || b {\n}", "if a || (false && (b)) {\n}"},
		{"operand 2-3", "if a && (b || c) {\n}", "if a && (true || (b || c)) {\n}"},
		{"operand 3", "if a && (b || c) {\n}", "if a && (b || (false && (c))) {\n}"},
		{"operand 2", "if a &&\n\tb {\n}", "if a &&\n\t(true || b) {\n}"},
		{"true 2", "if a || b {\n}", "if a || (true || b) {\n}"},
		{"false 2", "return n, a && b", "return n, (false && (a)) && b"},
		{"zero error", "err = h(a)", "err = func() (zero error) {\nif false {\nreturn h(a)\n}\nreturn\n}()"},
		{"swap", "f(a)\nf(b)", "f(b)\nf(a)"},
		{"return", "f(a)", "if true {\nreturn\n}\nf(a)"},
		{"sub 1 => 0", "h(1)", "h(0)"},
		{"sub  + … =>", "n = n + 5", "n = n"},
		{"sub go func() { … }() => …", "go func() { f(a) }()", "f(a)"},
		{"sub max(…, …) => …", "n = max(h(a), n)", "n = h(a)"},
		{"sub a => b", "if a {\n\tf(a)\n}", "if b {\n\tf(a)\n}"},
	} {
		text := "package p\n\nfunc f() {\n// guard: name\n"
		got, err := takeOut([]byte(text+c.marked+"\nlast()\n}\n"), site{line: 3}, c.op, gone)
		if assert.NoError(t, err, c.op) {
			assert.Equal(t, text+c.want+"\nlast()\n}\n", string(got), c.op)
		}
	}
}

func TestAGuardIsTakenOutOfACase(t *testing.T) {
	source := func(first string) string {
		return "package p\n\nfunc f() {\n\tfor {\n\t\tswitch {\n\t\t// guard: name\n\t\tcase " + first + "\n\t\t\tf()\n\t\tdefault:\n\t\t}\n\t}\n}\n"
	}
	for op, want := range map[string]string{"false": "(false && (a)):", "true": "(true || a):", "and b": "((a) && (false || (b))):", "continue": "a:\nif true {\ncontinue\n}\n"} {
		got, err := takeOut([]byte(source("a:")), site{line: 5}, op, gone)
		if assert.NoError(t, err, op) {
			assert.Equal(t, source(want), string(got), op)
		}
	}
	_, err := takeOut([]byte(source("a:")), site{line: 5}, "drop", gone)
	assert.ErrorContains(t, err, "of a case")
}

func TestAGuardIsTakenOutOfAnElse(t *testing.T) {
	got, err := takeOut([]byte("package p\n\nfunc f() {\n\tif a {\n\t\tg()\n\t\t// guard: name\n\t} else if b {\n\t}\n}\n"), site{line: 5}, "false", gone)
	require.NoError(t, err)
	assert.Contains(t, string(got), "} else if (false && (b)) {")
}

func TestAGuardIsTakenOutOfALiteral(t *testing.T) {
	got, err := takeOut([]byte("package p\n\nvar v = t{\n\ta: 1,\n\t// guard: name\n\tb: 2,\n\tc: 3,\n}\n"), site{line: 4}, "drop", gone)
	require.NoError(t, err)
	assert.Contains(t, string(got), "// guard: name\n\t\n\tc: 3")
}

func TestAGuardIsTakenOutOfLua(t *testing.T) {
	for _, c := range []struct{ op, marked, want string }{
		{"drop", "  redis.call('DEL', KEYS[1])", ""},
		{"true", "  if not a then return 1 end", "  if true then return 1 end"},
		{"false", "  if a or b then", "  if false then"},
		{"operand 1", "if not a or f(b) then return end", "if f(b) then return end"},
		{"operand 2", "if a and f(b) then return end", "if a then return end"},
		{"false 1", "if a and b then return end", "if false and b then return end"},
		{"sub 'NX',  =>", "call('NX', 'PX')", "call('PX')"},
		{"sub return 2 - … => … return 1", "return 2 - f(a)", "f(a) return 1"},
	} {
		text := "package p\n\nconst lua = `\n-- guard: name\n"
		got, err := takeOut([]byte(text+c.marked+"\nend\n`\n"), site{line: 3, lua: true}, c.op, gone)
		if assert.NoError(t, err, c.op) {
			assert.Equal(t, text+c.want+"\nend\n`\n", string(got), c.op)
		}
	}
}

func TestWhatCannotBeTakenOutIsAnError(t *testing.T) {
	for _, c := range []struct{ op, marked, want string }{
		{"remove", "f(a)", "no such operation"},
		{"true", "f(a)", "0 conditions"},
		{"true", "return a, b", "2 conditions"},
		{"operand", "if a && b {\n}", "invalid syntax"},
		{"operand 3", "if a && b {\n}", "2 operands"},
		{"operand 2-3", "if a && b {\n}", "2 operands"},
		{"operand 0", "if a && b {\n}", "no operands"},
		{"operand 1", "if a {\n}", "nothing is left"},
		{"operand 1-2", "if a && b {\n}", "nothing is left"},
		{"swap", "f(a)", "not of a"},
		{"zero error", "f(a)", "not of a"},
		{"sub a", "f(a)", "OLD => NEW"},
		{"sub b => c", "f(a)", "0 times"},
		{"sub a => c", "f(a, a)", "2 times"},
		{"drop", "", "neither a statement"},
	} {
		_, err := takeOut([]byte("package p\n\nfunc f() {\nfor {\n// guard: name\n"+c.marked+"\n}\n}\n"), site{line: 4}, c.op, gone)
		assert.ErrorContains(t, err, c.want, "%s of %s", c.op, c.marked)
	}
}

func TestMarkersAreFoundOnce(t *testing.T) {
	write := func(texts ...string) string {
		dir := t.TempDir()
		for i, text := range texts {
			require.NoError(t, os.WriteFile(filepath.Join(dir, string(rune('a'+i))+".go"), []byte(text), 0o644))
		}
		return dir
	}
	sites, err := findMarkers(write("package p\n\t// guard: I2-epoch\n", "x := `\n  -- guard: b2\n`\n"))
	require.NoError(t, err)
	assert.Equal(t, map[string]site{"I2-epoch": {"a.go", 1, false}, "b2": {"b.go", 1, true}}, sites)
	_, err = findMarkers(write("// guard: a\n", "// guard: a\n"))
	assert.ErrorContains(t, err, "b.go:1: a.go:1 has a marker \"a\" too")
	for _, bad := range []string{"f() // guard: a\n", "// guard: a b\n", "// guard: a-\n", "// guard:\n"} {
		_, err = findMarkers(write(bad))
		assert.ErrorContains(t, err, "a.go:1: a marker is", bad)
	}
}
