package main

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Guards in one another have switches that do not get into each other's way.
func TestSwitchesInOneAnother(t *testing.T) {
	source := "package p\n\nfunc f() {\n// guard: a\nif x && y {\n// guard: b\ng()\n// guard: c\n}\n}\n"
	var edits []edit
	for _, c := range []struct {
		line int
		op   string
	}{{5, "drop"}, {3, "operand 1"}, {3, "return"}, {3, "and z"}} {
		more, err := editsOf([]byte(source), site{line: c.line}, c.op, switched{"is" + c.op[:1], "not" + c.op[:1]})
		require.NoError(t, err)
		edits = append(edits, more...)
	}
	assert.Equal(t, "package p\n\nfunc f() {\n// guard: a\nif isr {\nreturn\n}\nif (((iso || x) && y) && (nota || (z))) {\n// guard: b\nif notd {\ng()\n}\n// guard: c\n}\n}\n", string(apply([]byte(source), edits)))
}

func TestASubstitutionHasASwitch(t *testing.T) {
	for _, c := range []struct{ op, marked, want string }{
		{"sub a => b", "if x := a(); a2(x) {\n\tf(c)\n}", ""}, // twice
		{"sub z => b", "if x := y(); z(x) {\n\tf(c)\n}", "if x := y(); (IS && (b(x)) || NOT && (z(x))) {\n\tf(c)\n}"},
		{"sub y => b", "if x := y(); z(x) {\n\tf(c)\n}", "if IS {\nif x := b(); z(x) {\n\tf(c)\n}\n} else {\nif x := y(); z(x) {\n\tf(c)\n}\n}"},
		{"sub 1 => 0", "h(1)", "if IS {\nh(0)\n} else {\nh(1)\n}"},
		{"sub 1 => 0", "return h(1)", "if IS {\nreturn h(0)\n}\nreturn h(1)"},
		{"sub 1 => 0", "x := h(1)", ""},
	} {
		text := "package p\n\nfunc f() {\n// guard: name\n"
		got, err := takeOut([]byte(text+c.marked+"\nlast()\n}\n"), site{line: 3}, c.op, switched{"IS", "NOT"})
		if c.want == "" {
			assert.Error(t, err)
		} else if assert.NoError(t, err, c.op) {
			assert.Equal(t, text+c.want+"\nlast()\n}\n", string(got), c.op)
		}
	}
}

// All switches of a file together leave it a file of Go.
func TestTheCodeWithAllSwitchesIsGo(t *testing.T) {
	sites, err := findMarkers(root)
	require.NoError(t, err)
	edits, with := make(map[string][]edit), 0
	for _, m := range marks {
		at := sites[m.name]
		source, err := os.ReadFile(filepath.Join(root, at.file))
		require.NoError(t, err)
		more, err := editsOf(source, at, m.op, switched{"is()", "!is()"})
		if err == nil {
			edits[at.file], with = append(edits[at.file], more...), with+1
		}
	}
	for file, list := range edits {
		source, err := os.ReadFile(filepath.Join(root, file))
		require.NoError(t, err)
		_, err = parser.ParseFile(token.NewFileSet(), file, withImport(source, list), parser.SkipObjectResolution)
		assert.NoError(t, err, file)
	}
	t.Logf("%d of %d guards have switches", with, len(marks))
	assert.Greater(t, with, len(marks)*2/3)
}
