package api

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Name is an exported name: of a package, of a type's method, or of an interface's.
type Name struct {
	Line       string   // as api/*.txt has it
	Members    []string // lines of a type's fields and embedded types
	Documented bool
	Deprecated bool
}

// Surface is what a package exports.
type Surface []Name

// Read returns what the package in a folder exports, by all its files, whatever system they are for.
func Read(dir, pkg string) (s Surface, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return s, err
	}
	r := reader{pkg: pkg, seen: make(map[string]bool)}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return s, err
		}
		for _, d := range f.Decls {
			r.declaration(d)
		}
	}
	slices.SortFunc(r.names, func(a, b Name) int { return strings.Compare(a.Line, b.Line) })
	return r.names, nil
}

// Lines returns the text of the package's file in api.
func (s Surface) Lines() (lines []string) {
	for _, n := range s {
		mark := ""
		if n.Deprecated {
			mark = " //deprecated"
		}
		lines = append(lines, n.Line+mark)
		for _, m := range n.Members {
			lines = append(lines, m+mark)
		}
	}
	return lines
}

// Count returns how many names there are that are not deprecated, and how many of them are documented.
func (s Surface) Count() (names, documented int) {
	for _, n := range s {
		if n.Deprecated {
			continue
		}
		names++
		if n.Documented {
			documented++
		}
	}
	return names, documented
}

// Packages returns the folders below root that are packages which users can import, "/" between their elements.
func Packages(root string) (dirs []string, err error) {
	var walk func(dir string) error
	walk = func(dir string) error {
		entries, err := os.ReadDir(filepath.Join(root, dir))
		if err != nil {
			return err
		}
		isPackage := false
		for _, e := range entries {
			name := e.Name()
			switch {
			case !e.IsDir():
				isPackage = isPackage || strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go")
			case name == "internal" || name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_"):
			default:
				sub := filepath.Join(dir, name)
				if _, err := os.Stat(filepath.Join(root, sub, "go.mod")); err == nil {
					continue // another module
				}
				if err := walk(sub); err != nil {
					return err
				}
			}
		}
		if isPackage {
			dirs = append(dirs, filepath.ToSlash(dir))
		}
		return nil
	}
	return dirs, walk("")
}

// What these methods do needs no comment.
var wellKnown = []string{") Error() string", ") String() string", ") Unwrap() error"}

type reader struct {
	pkg   string
	names []Name
	seen  map[string]bool
}

// add takes in a name once: files for several systems may declare the same.
func (r *reader) add(n Name, format string, args ...any) {
	n.Line = "pkg " + r.pkg + ", " + fmt.Sprintf(format, args...)
	for _, method := range wellKnown {
		n.Documented = n.Documented || strings.HasSuffix(n.Line, method)
	}
	if !r.seen[n.Line] {
		r.seen[n.Line] = true
		r.names = append(r.names, n)
	}
}

// documented returns a name with what the first comment that there is says of it.
func documented(comments ...*ast.CommentGroup) (n Name) {
	for _, c := range comments {
		if text := c.Text(); text != "" {
			return Name{Documented: true, Deprecated: strings.HasPrefix(text, "Deprecated: ") || strings.Contains(text, "\nDeprecated: ")}
		}
	}
	return Name{}
}

func (r *reader) declaration(d ast.Decl) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		r.function(d)
	case *ast.GenDecl:
		inherited := ""
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				if spec.Name.IsExported() {
					r.typeSpec(spec, documented(spec.Doc, d.Doc, spec.Comment))
				}
			case *ast.ValueSpec:
				kind := ""
				if spec.Type != nil {
					kind = " " + types.ExprString(spec.Type)
				}
				if d.Tok == token.CONST {
					if spec.Type == nil && spec.Values == nil {
						kind = inherited // as in a list of iota
					}
					inherited = kind
				}
				for _, name := range spec.Names {
					if name.IsExported() {
						r.add(documented(spec.Doc, spec.Comment, d.Doc), "%s %s%s", d.Tok, name.Name, kind)
					}
				}
			}
		}
	}
}

func (r *reader) function(d *ast.FuncDecl) {
	if !d.Name.IsExported() {
		return
	}
	if d.Recv == nil {
		r.add(documented(d.Doc), "func %s%s%s", d.Name.Name, typeParameters(d.Type.TypeParams), signature(d.Type))
		return
	}
	receiver := types.ExprString(d.Recv.List[0].Type)
	name, _, _ := strings.Cut(strings.TrimPrefix(receiver, "*"), "[")
	if ast.IsExported(name) {
		r.add(documented(d.Doc), "method (%s) %s%s", receiver, d.Name.Name, signature(d.Type))
	}
}

func (r *reader) typeSpec(spec *ast.TypeSpec, n Name) {
	name := spec.Name.Name + typeParameters(spec.TypeParams)
	if spec.Assign.IsValid() {
		r.add(n, "type %s = %s", name, types.ExprString(spec.Type))
		return
	}
	switch t := spec.Type.(type) {
	case *ast.StructType:
		prefix := "pkg " + r.pkg + ", type " + spec.Name.Name + " struct, "
		for _, f := range t.Fields.List {
			if len(f.Names) == 0 {
				n.Members = append(n.Members, prefix+"embedded "+types.ExprString(f.Type))
			}
			for _, field := range f.Names {
				if field.IsExported() {
					n.Members = append(n.Members, prefix+field.Name+" "+typeOf(f.Type))
				}
			}
		}
		slices.Sort(n.Members)
		r.add(n, "type %s struct", name)
	case *ast.InterfaceType:
		prefix, hidden := "pkg "+r.pkg+", type "+spec.Name.Name+" interface, ", false
		for _, m := range t.Methods.List {
			f, ok := m.Type.(*ast.FuncType)
			if !ok {
				n.Members = append(n.Members, prefix+"embedded "+types.ExprString(m.Type))
				continue
			}
			method := documented(m.Doc, m.Comment)
			method.Deprecated = method.Deprecated || n.Deprecated
			for _, name := range m.Names {
				if hidden = hidden || !name.IsExported(); name.IsExported() {
					r.add(method, "type %s interface, %s%s", spec.Name.Name, name.Name, signature(f))
				}
			}
		}
		if hidden {
			n.Members = append(n.Members, prefix+"unexported methods")
		}
		slices.Sort(n.Members)
		r.add(n, "type %s interface", name)
	default:
		r.add(n, "type %s %s", name, typeOf(t))
	}
}

// typeOf returns a type as text; functions without the names of their parameters.
func typeOf(e ast.Expr) string {
	if f, ok := e.(*ast.FuncType); ok {
		return "func" + signature(f)
	}
	return types.ExprString(e)
}

func typeParameters(list *ast.FieldList) string {
	if list == nil {
		return ""
	}
	var all []string
	for _, f := range list.List {
		for _, name := range f.Names {
			all = append(all, name.Name+" "+types.ExprString(f.Type))
		}
	}
	return "[" + strings.Join(all, ", ") + "]"
}

// signature returns parameters and results by their types alone.
func signature(f *ast.FuncType) string {
	text := "(" + strings.Join(fieldTypes(f.Params), ", ") + ")"
	switch results := fieldTypes(f.Results); len(results) {
	case 0:
		return text
	case 1:
		return text + " " + results[0]
	default:
		return text + " (" + strings.Join(results, ", ") + ")"
	}
}

func fieldTypes(list *ast.FieldList) (all []string) {
	if list == nil {
		return nil
	}
	for _, f := range list.List {
		for range max(1, len(f.Names)) {
			all = append(all, typeOf(f.Type))
		}
	}
	return all
}
