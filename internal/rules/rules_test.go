package rules

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	root = "../.."
	page = root + "/docs/rules.md"
)

var (
	heading   = regexp.MustCompile(`(?m)^### ([RIV][0-9]+) `)
	named     = regexp.MustCompile(`\b(?:Test|Fuzz)?([RIV][0-9]{1,2})(?:[A-Z]\w*)?\b`)
	place     = regexp.MustCompile("`([a-z_/]+\\.go): (\\w+)`")
	testNamed = regexp.MustCompile("`(Test\\w+)`")
)

// sources returns the text of every Go file of the repository but this package's.
func sources(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(filepath.ToSlash(path), root+"/")
		if d.IsDir() {
			if name == "internal/rules" || strings.HasPrefix(d.Name(), ".") && path != root {
				return fs.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(name, ".go") {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			all[name] = string(b)
		}
		return nil
	}))
	return all
}

// rulesOfPage returns the names of the rules that the page states, each once.
func rulesOfPage(t *testing.T, text string) map[string]bool {
	t.Helper()
	stated := make(map[string]bool)
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		require.False(t, stated[m[1]], "%s is stated twice", m[1])
		stated[m[1]] = true
	}
	require.Greater(t, len(stated), 20)
	return stated
}

// isRule tells names of rules from other words of the same shape.
func isRule(name string) bool {
	return regexp.MustCompile(`^(R([1-9]|1[0-9])|I([1-9]|1[0-9])|V[1-6])$`).MatchString(name)
}

func TestTheRulesThatCodeNamesAreThoseThatThePageStates(t *testing.T) {
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	stated, inCode := rulesOfPage(t, string(text)), make(map[string]bool)
	for name, source := range sources(t) {
		for _, m := range named.FindAllStringSubmatch(source, -1) {
			if !isRule(m[1]) {
				continue
			}
			inCode[m[1]] = true
			if !stated[m[1]] {
				t.Errorf("%s names %s, which docs/rules.md does not state", name, m[1])
			}
		}
	}
	for rule := range stated {
		if !inCode[rule] {
			t.Errorf("docs/rules.md states %s, which no code or test names", rule)
		}
	}
}

func TestWhatThePageSaysOfCodeExists(t *testing.T) {
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	all := sources(t)
	places := place.FindAllStringSubmatch(string(text), -1)
	require.NotEmpty(t, places)
	for _, m := range places {
		if !declares(t, all[m[1]], m[2]) {
			t.Errorf("docs/rules.md says that %s enforces a rule in %s, which is not there", m[1], m[2])
		}
	}
	tests := testNamed.FindAllStringSubmatch(string(text), -1)
	require.NotEmpty(t, tests)
	for _, m := range tests {
		found := false
		for name, source := range all {
			found = found || strings.HasSuffix(name, "_test.go") && strings.Contains(source, "func "+m[1]+"(")
		}
		if !found {
			t.Errorf("docs/rules.md names %s, which is no test", m[1])
		}
	}
}

// declares reports whether a file declares a function or a method of that name.
func declares(t *testing.T, source, name string) bool {
	t.Helper()
	if source == "" {
		return false
	}
	file, err := parser.ParseFile(token.NewFileSet(), "", source, parser.SkipObjectResolution)
	require.NoError(t, err)
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Name.Name == name {
			return true
		}
	}
	return false
}
