package rules

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const engine = "../../tier/internal/core"

// waysUp are the two that the page of package core names: the file may refer to those, though they are in a layer above.
var waysUp = map[string][]string{"lease": {"read", "refresh"}, "view": {"warm"}}

func TestFilesOfTheEngineReferToNoLayerAboveTheirOwn(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(engine, "doc.go"))
	require.NoError(t, err)
	layers := layersOf(string(page))
	files := engineFiles(t)
	for name := range files {
		if name != "doc" {
			require.Contains(t, layers, name, "doc.go of package core says in which layer %s.go is", name)
		}
	}
	for name := range layers {
		require.Contains(t, files, name, "doc.go of package core names a file that is not there")
	}
	require.Empty(t, upwards(t, files, layers))
}

func TestAReferenceToALayerAboveIsSeen(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(engine, "doc.go"))
	require.NoError(t, err)
	files := engineFiles(t)
	files["early"] += "\nfunc (c *Cache) madeUp() { c.endOnGoexit() }\n"
	require.Equal(t, []string{"early.go refers to endOnGoexit of read.go"}, upwards(t, files, layersOf(string(page))))
}

// engineFiles returns the files of the engine by their names without ending.
func engineFiles(t *testing.T) map[string]string {
	names, err := filepath.Glob(filepath.Join(engine, "*.go"))
	require.NoError(t, err)
	files := make(map[string]string)
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		files[strings.TrimSuffix(filepath.Base(name), ".go")] = string(text)
	}
	return files
}

var inBrackets = regexp.MustCompile(` \([^)]*\)`)

// layersOf reads the list of a package's page: the number of each file's layer, the lowest first.
func layersOf(page string) map[string]int {
	layers, n := make(map[string]int), 0
	for line := range strings.Lines(page) {
		list, ok := strings.CutPrefix(strings.TrimSpace(line), "//   - ")
		if !ok {
			continue
		}
		list, _, _ = strings.Cut(inBrackets.ReplaceAllString(list, ""), ":")
		for _, name := range strings.Split(list, ", ") {
			layers[name] = n
		}
		n++
	}
	return layers
}

// upwards returns which files refer to what a file of a layer above declares, other than by [waysUp].
func upwards(t *testing.T, files map[string]string, layers map[string]int) (found []string) {
	fset := token.NewFileSet()
	var parsed []*ast.File
	for name, text := range files {
		f, err := parser.ParseFile(fset, name, text, parser.SkipObjectResolution)
		require.NoError(t, err)
		parsed = append(parsed, f)
	}
	info := types.Info{Uses: make(map[*ast.Ident]types.Object)}
	checker := types.Config{Importer: importer.ForCompiler(fset, "gc", exports(t))}
	engine, err := checker.Check("core", fset, parsed, &info)
	require.NoError(t, err)
	for id, object := range info.Uses {
		if object.Pkg() != engine {
			continue
		}
		from, to := fset.File(id.Pos()).Name(), fset.File(object.Pos()).Name()
		if layers[to] > layers[from] && !slices.Contains(waysUp[from], to) {
			found = append(found, fmt.Sprintf("%s.go refers to %s of %s.go", from, object.Name(), to))
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// exports returns how to read what the packages that the engine imports export.
func exports(t *testing.T) importer.Lookup {
	list := exec.Command("go", "list", "-deps", "-export", "-json=ImportPath,Export", ".")
	list.Dir = engine
	out, err := list.Output()
	require.NoError(t, err)
	files := make(map[string]string)
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct{ ImportPath, Export string }
		if err := d.Decode(&p); err == io.EOF {
			break
		}
		files[p.ImportPath] = p.Export
	}
	return func(path string) (io.ReadCloser, error) { return os.Open(files[path]) }
}
