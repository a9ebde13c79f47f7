package main

import (
	"context"
	"fmt"
	"go/ast"
	"go/build"
	"go/doc"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// findGoroot returns the root of the toolchain that runs this program. A binary built with -trimpath
// does not know it, so the go command is asked then.
func findGoroot(ctx context.Context) (string, error) {
	if root := build.Default.GOROOT; root != "" {
		return root, nil
	}
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("cannot find the Go toolchain: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// readGoroot reads the documentation of the standard library below root: one document for each
// package and each exported symbol that has a comment, in the order of their ids.
func readGoroot(ctx context.Context, root string) ([]Document, error) {
	paths, err := packagePaths(filepath.Join(root, "src"))
	if err != nil {
		return nil, err
	}
	perPackage := make([][]Document, len(paths))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, path := range paths {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			docs, err := readPackage(filepath.Join(root, "src", filepath.FromSlash(path)), path)
			perPackage[i] = docs
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	docs := slices.Concat(perPackage...)
	if len(docs) == 0 {
		return nil, fmt.Errorf("no Go documentation below %s", root)
	}
	slices.SortFunc(docs, func(a, b Document) int { return strings.Compare(a.ID, b.ID) })
	return docs, nil
}

// packagePaths lists the directories below src that users can import.
func packagePaths(src string) ([]string, error) {
	var paths []string
	err := filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() || path == src {
			return err
		}
		switch d.Name() {
		case "cmd", "internal", "vendor", "testdata":
			return fs.SkipDir
		}
		rel, err := filepath.Rel(src, path)
		paths = append(paths, filepath.ToSlash(rel))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read the documentation of Go: %w", err)
	}
	return paths, nil
}

// readPackage returns the documents of the package in dir, or none if dir holds no package.
func readPackage(dir, path string) ([]Document, error) {
	fset := token.NewFileSet()
	files, err := parseDir(fset, dir)
	if err != nil || len(files) == 0 {
		return nil, err
	}
	var mode doc.Mode
	if path == "builtin" {
		mode = doc.AllDecls // append, len and their like are not exported in the sense of go/doc
	}
	pkg, err := doc.NewFromFiles(fset, files, path, mode)
	if err != nil {
		return nil, fmt.Errorf("package %s: %w", path, err)
	}
	return documents(pkg), nil
}

// parseDir parses the files of a package that the go command would build here. A package has many
// files for other systems; with all of them, symbols would come twice.
func parseDir(fset *token.FileSet, dir string) ([]*ast.File, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []*ast.File
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		if match, err := build.Default.MatchFile(dir, name); err != nil || !match {
			continue
		}
		f, err := parser.ParseFile(fset, filepath.Join(dir, name), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		if f.Name.Name != "main" {
			files = append(files, f)
		}
	}
	return files, nil
}

// documents makes a document of each comment that go/doc would show.
func documents(pkg *doc.Package) []Document {
	c := &collector{pkg: pkg, printer: pkg.Printer()}
	c.printer.TextWidth = -1 // a line per paragraph: sentences are looked for in it
	c.add("package", "", pkg.Doc)
	c.values("const", pkg.Consts)
	c.values("var", pkg.Vars)
	c.funcs("func", "", pkg.Funcs)
	for _, t := range pkg.Types {
		c.add("type", t.Name, t.Doc)
		c.values("const", t.Consts)
		c.values("var", t.Vars)
		c.funcs("func", "", t.Funcs) // constructors: go/doc lists them with their type
		c.funcs("method", t.Name+".", t.Methods)
	}
	return c.docs
}

type collector struct {
	pkg     *doc.Package
	printer *comment.Printer
	docs    []Document
}

func (c *collector) add(kind, symbol, text string) {
	text = strings.TrimSpace(string(c.printer.Text(c.pkg.Parser().Parse(text))))
	if text == "" {
		return
	}
	id := c.pkg.ImportPath
	if symbol != "" {
		id += "." + symbol
	}
	c.docs = append(c.docs, Document{ID: id, Package: c.pkg.ImportPath, Kind: kind, Text: text})
}

func (c *collector) values(kind string, groups []*doc.Value) {
	for _, g := range groups {
		c.add(kind, g.Names[0], g.Doc) // a group has one comment: it goes by its first name
	}
}

func (c *collector) funcs(kind, receiver string, funcs []*doc.Func) {
	for _, f := range funcs {
		c.add(kind, receiver+f.Name, f.Doc)
	}
}
