package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"
)

// checkAll sees that the code of the checkout compiles without each guard.
func checkAll(match *regexp.Regexp) error {
	sites, err := findMarkers(".")
	if err != nil {
		return err
	}
	c, err := newChecker(".")
	if err != nil {
		return err
	}
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	errs := make([]error, len(marks)) // all of them are told
	for i, m := range marks {
		if !match.MatchString(m.name) {
			continue
		}
		group.Go(func() error {
			file, _, without, err := m.mutated(".", sites)
			if err == nil {
				err = c.check(file, without)
			}
			if err != nil {
				errs[i] = fmt.Errorf("%s: %w", m.name, err)
			}
			return nil
		})
	}
	_ = group.Wait()
	return errors.Join(errs...)
}

// checker checks the types of the module's packages, each file of which may be another.
type checker struct {
	root     string
	exports  map[string]string   // import path -> its export data
	files    map[string][]string // folder, below the root -> the files that are compiled
	paths    map[string]string   // folder -> import path
	versions map[string]string   // folder -> version of Go
}

// newChecker builds what the packages below root import.
func newChecker(root string) (*checker, error) {
	cmd := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles,Module", "./...")
	cmd.Dir, cmd.Stderr = root, os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	absolute, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	c := &checker{root, make(map[string]string), make(map[string][]string), make(map[string]string), make(map[string]string)}
	for d := json.NewDecoder(out); ; {
		var p struct {
			ImportPath, Dir, Export string
			GoFiles                 []string
			Module                  *struct {
				Main      bool
				GoVersion string
			}
		}
		if err := d.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
		c.exports[p.ImportPath] = p.Export
		if p.Module != nil && p.Module.Main {
			dir, err := filepath.Rel(absolute, p.Dir)
			if err != nil {
				return nil, err
			}
			dir = filepath.ToSlash(dir)
			c.files[dir], c.paths[dir], c.versions[dir] = p.GoFiles, p.ImportPath, "go"+p.Module.GoVersion
		}
	}
	return c, cmd.Wait()
}

// check returns the errors of a file's package if the file has this text.
func (c *checker) check(file string, text []byte) error {
	dir := path.Dir(file)
	if !slices.Contains(c.files[dir], path.Base(file)) {
		return fmt.Errorf("%s is not compiled on %s", file, runtime.GOOS)
	}
	fset := token.NewFileSet()
	var parsed []*ast.File
	for _, name := range c.files[dir] {
		name = path.Join(dir, name)
		var source any
		if name == file {
			source = text
		}
		f, err := parser.ParseFile(fset, filepath.Join(c.root, name), source, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		parsed = append(parsed, f)
	}
	open := func(path string) (io.ReadCloser, error) { return os.Open(c.exports[path]) }
	conf := types.Config{Importer: importer.ForCompiler(fset, "gc", open), GoVersion: c.versions[dir]}
	_, err := conf.Check(c.paths[dir], fset, parsed, nil)
	return err
}
