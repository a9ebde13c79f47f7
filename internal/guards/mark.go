package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// mark is a guard that a marker in the code names:
//
//	// guard: I2-epoch
//	if f.epoch != v.Epoch {
//
// A marker stands alone on its line, above the statement, case or element that it
// marks; other comments, and markers of other guards, may stand between. In Lua it
// begins with "--".
type mark struct {
	name string
	op   string // how it is taken out: see takeOut
	test string // a -run pattern of ./tier, or "package pattern"
}

var marker = regexp.MustCompile(`^\s*(//|--) guard: ([A-Za-z0-9]+(?:-[A-Za-z0-9]+)*)$`)

// site is where a marker stands.
type site struct {
	file string // below the root, with slashes
	line int    // the marker's, from 0
	lua  bool
}

// findMarkers returns the markers of the code below root. Each name is there once.
func findMarkers(root string) (map[string]site, error) {
	sites := make(map[string]site)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if d.IsDir() {
			if name != "." && (strings.HasPrefix(d.Name(), ".") || slices.Contains([]string{"bench", "examples", "internal/guards"}, name)) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for i, line := range strings.Split(string(source), "\n") {
			found := marker.FindStringSubmatch(line)
			if found == nil {
				if strings.Contains(line, "// guard:") || strings.Contains(line, "-- guard:") {
					return fmt.Errorf("%s:%d: a marker is a comment of its own, with a name of letters, digits and single hyphens: %q", name, i+1, strings.TrimSpace(line))
				}
				continue
			}
			if first, ok := sites[found[2]]; ok {
				return fmt.Errorf("%s:%d: %s:%d has a marker %q too; give one of them another name", name, i+1, first.file, first.line+1, found[2])
			}
			sites[found[2]] = site{name, i, found[1] == "--"}
		}
		return nil
	})
	return sites, err
}

// mutated returns the file of a guard, and its text without the guard.
func (m mark) mutated(root string, sites map[string]site) (file string, source, without []byte, err error) {
	at, ok := sites[m.name]
	if !ok {
		return "", nil, nil, fmt.Errorf("no code has the marker %q", m.name)
	}
	if source, err = os.ReadFile(filepath.Join(root, filepath.FromSlash(at.file))); err != nil {
		return at.file, nil, nil, err
	}
	if without, err = takeOut(source, at, m.op, gone); err != nil {
		err = fmt.Errorf("%s:%d: guard %q: %q: %w", at.file, at.line+1, m.name, m.op, err)
	}
	return at.file, source, without, err
}

// takeOut returns a source without the guard that the marker at a site names. The
// operation is one of
//
//	drop           the marked statement or element is not there
//	true, false    the condition of the if, for or case, or what is returned or
//	               assigned, is always so
//	true 2         so is the second operand of its && and ||, counted from the left
//	operand 2      that operand is not there; 2-3: neither are those
//	and X, or X    the condition holds only if X does too, or also if X does
//	zero error     what is returned or assigned is the zero value of that type
//	swap           the marked statement and the next change places
//	return, continue, break
//	               stands before the marked statement, or begins the marked case
//	sub OLD => NEW the one OLD in the marked statement, up to its block, becomes NEW;
//	               "…" is any text in OLD, and the first such text in NEW
//
// Those that name nothing of the code are to be preferred: they outlive its names. What
// they take out stays in the text, where it is not reached, so nothing becomes unused.
// Of Lua they take one line, and only drop, true, false, operand and sub.
func takeOut(source []byte, at site, op string, out switched) ([]byte, error) {
	edits, err := editsOf(source, at, op, out)
	if err != nil {
		return nil, err
	}
	return apply(source, edits), nil
}

// switched is how the text tells, as it runs, that a guard is out, and that it is not.
type switched struct{ is, not string }

// gone is what cannot be switched: the guard is out.
var gone = switched{"true", "false"}

// errNotSwitched is of what only changes of the text can take out.
var errNotSwitched = errors.New("it cannot be switched")

// editsOf returns the edits that take a guard out.
func editsOf(source []byte, at site, op string, out switched) ([]edit, error) {
	lines := bytes.SplitAfter(source, []byte("\n"))
	from, n := 0, 0
	for ; n < len(lines); n++ {
		text := bytes.TrimSpace(lines[n])
		if n > at.line && !bytes.HasPrefix(text, []byte("//")) && !bytes.HasPrefix(text, []byte("--")) {
			break
		}
		from += len(lines[n])
	}
	if n == len(lines) {
		return nil, errors.New("nothing is below the marker")
	}
	if at.lua {
		if out != gone {
			return nil, errNotSwitched
		}
		line, err := takeOutOfLua(strings.TrimSuffix(string(lines[n]), "\n"), op)
		return []edit{{from: from, to: from + len(lines[n]) - 1, text: line}}, err
	}
	from += len(lines[n]) - len(bytes.TrimLeft(lines[n], "\t "))
	if bytes.HasPrefix(source[from:], []byte("} else ")) {
		from += len("} else ")
	}
	return takeOutOfGo(source, from, op, out)
}

// edit replaces a part of a source. What stands before or after a node replaces nothing, so that edits of nodes in that
// node can be made at the same time.
type edit struct {
	from, to int
	text     string
	before   int // the end of the node before which it stands
	after    int // the beginning of the node after which it stands, and 1
}

// apply makes edits that do not overlap.
func apply(source []byte, edits []edit) []byte {
	slices.SortStableFunc(edits, func(a, b edit) int {
		return cmp.Or(a.from-b.from,
			min(b.after, 1)-min(a.after, 1), // what ends there, before what begins there
			b.after-a.after,                 // the inner one ends first
			b.before-a.before)               // the outer one begins first
	})
	out, end := []byte(nil), 0
	for _, e := range edits {
		out = append(append(out, source[end:e.from]...), e.text...)
		end = e.to
	}
	return append(out, source[end:]...)
}

// goNode is what a marker in Go code stands above, and how it is taken out.
type goNode struct {
	source       []byte
	at           int // where the node begins
	fset         *token.FileSet
	node, parent ast.Node
	out          switched
}

// takeOutOfGo returns the edits, in order, that take the node out that begins at an offset.
func takeOutOfGo(source []byte, at int, op string, out switched) ([]edit, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "", source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	g := &goNode{source: source, at: at, fset: fset, out: out}
	if g.find(file); g.node == nil {
		return nil, errors.New("neither a statement nor an element begins on the line below the marker")
	}
	verb, rest, _ := strings.Cut(op, " ")
	exprs := conditions(g.node)
	switch verb {
	case "drop":
		return g.drop()
	case "return", "continue", "break":
		return g.leave(op)
	case "swap":
		return g.swap()
	case "sub":
		return g.substitute(rest)
	case "zero":
		if len(exprs) == 1 && rest != "" {
			return g.wrap(exprs[0], "func() (zero "+rest+") {\nif NOT {\nreturn NODE\n}\nreturn\n}()"), nil
		}
	case "and", "or":
		if len(exprs) == 1 && rest != "" {
			return g.wrap(exprs[0], map[string]string{"and": "((NODE) && (NOT || (" + rest + ")))", "or": "((NODE) || OUT && (" + rest + "))"}[verb]), nil
		}
	case "true", "false", "operand":
		return takeOutOfCondition(exprs, verb, rest, g.wrap)
	default:
		return nil, errors.New("no such operation")
	}
	return nil, g.unsuited()
}

// find looks for the outermost node that begins at the offset, and its parent.
func (g *goNode) find(file *ast.File) {
	var stack []ast.Node
	ast.Inspect(file, func(n ast.Node) bool {
		if n == nil {
			stack = stack[:len(stack)-1]
			return true
		}
		_, isComment := n.(*ast.CommentGroup)
		if g.node == nil && g.offset(n.Pos()) == g.at && !isComment {
			g.node, g.parent = n, stack[len(stack)-1]
		}
		stack = append(stack, n)
		return true
	})
}

func (g *goNode) unsuited() error { return fmt.Errorf("not of a %T", g.node) }

func (g *goNode) offset(p token.Pos) int { return g.fset.Position(p).Offset }

func (g *goNode) text(n ast.Node) string {
	return string(g.source[g.offset(n.Pos()):g.offset(n.End())])
}

// wrap puts what a format has before and after NODE around a node.
func (g *goNode) wrap(n ast.Node, format string) []edit {
	begin, end := g.offset(n.Pos()), g.offset(n.End())
	before, after, _ := strings.Cut(strings.NewReplacer("OUT", g.out.is, "NOT", g.out.not).Replace(format), "NODE")
	return []edit{{from: begin, to: begin, text: before, before: end}, {from: end, to: end, text: after, after: begin + 1}}
}

func (g *goNode) drop() ([]edit, error) {
	switch n := g.node.(type) {
	case *ast.CaseClause, *ast.CommClause:
		return nil, errors.New("of a case, make the condition false, or drop the statement in it")
	case ast.Stmt:
		return g.wrap(n, "if NOT {\nNODE\n}"), nil
	case ast.Expr: // of a literal, or an argument
		if g.out != gone {
			return nil, errNotSwitched
		}
		end := g.offset(n.End())
		if g.source[end] == ',' {
			end++
		}
		return []edit{{from: g.at, to: end}}, nil
	}
	return nil, g.unsuited()
}

// leave has a jump made before the statement, or at the beginning of the case.
func (g *goNode) leave(jump string) ([]edit, error) {
	if b := blockOf(g.node); b != token.NoPos && g.source[g.offset(b)] != '{' { // a case
		return []edit{{from: g.offset(b), to: g.offset(b), text: "\nif " + g.out.is + " {\n" + jump + "\n}\n"}}, nil
	}
	if _, isStmt := g.node.(ast.Stmt); isStmt {
		return g.wrap(g.node, "if OUT {\n"+jump+"\n}\nNODE"), nil
	}
	return nil, g.unsuited()
}

// swap exchanges the statement and the next one.
func (g *goNode) swap() ([]edit, error) {
	var list []ast.Stmt
	switch p := g.parent.(type) {
	case *ast.BlockStmt:
		list = p.List
	case *ast.CaseClause:
		list = p.Body
	case *ast.CommClause:
		list = p.Body
	}
	stmt, isStmt := g.node.(ast.Stmt)
	i := slices.Index(list, stmt)
	if !isStmt || i < 0 || i+1 == len(list) {
		return nil, g.unsuited()
	}
	if g.out != gone {
		return nil, errNotSwitched
	}
	replace := func(a, b ast.Node) edit { return edit{from: g.offset(a.Pos()), to: g.offset(a.End()), text: g.text(b)} }
	return []edit{replace(stmt, list[i+1]), replace(list[i+1], stmt)}, nil
}

// substitute replaces a part of the statement, up to its block.
func (g *goNode) substitute(how string) ([]edit, error) {
	block := blockOf(g.node)
	head := g.text(g.node)
	if block != token.NoPos {
		head = string(g.source[g.at:g.offset(block)])
	}
	e, err := substitute(head, how)
	if err != nil {
		return nil, err
	}
	e.from, e.to = g.at+e.from, g.at+e.to
	if g.out == gone {
		return []edit{e}, nil
	}
	with := func(n ast.Node) string { // with the edit
		return string(g.source[g.offset(n.Pos()):e.from]) + e.text + string(g.source[e.to:g.offset(n.End())])
	}
	returned, isReturn := g.node.(*ast.ReturnStmt)
	if isReturn {
		return g.wrap(returned, "if OUT {\n"+with(returned)+"\n}\nNODE"), nil
	}
	for _, x := range conditions(g.node) {
		if g.offset(x.Pos()) <= e.from && e.to <= g.offset(x.End()) && block != token.NoPos {
			return g.wrap(x, "(OUT && ("+with(x)+") || NOT && (NODE))"), nil
		}
	}
	switch n := g.node.(type) {
	case *ast.AssignStmt:
		if n.Tok == token.DEFINE {
			return nil, errNotSwitched
		}
	case *ast.DeclStmt, *ast.LabeledStmt, *ast.CaseClause, *ast.CommClause:
		return nil, errNotSwitched
	}
	if _, isStmt := g.node.(ast.Stmt); !isStmt {
		return nil, errNotSwitched
	}
	return g.wrap(g.node, "if OUT {\n"+with(g.node)+"\n} else {\nNODE\n}"), nil
}

// substitute returns the edit of a text that "OLD => NEW" asks for.
func substitute(text, how string) (edit, error) {
	from, to, ok := strings.Cut(how, " =>")
	if !ok || from == "" {
		return edit{}, errors.New("it is not of the form OLD => NEW")
	}
	pattern := strings.ReplaceAll(regexp.QuoteMeta(from), "…", "(.*?)")
	if strings.HasSuffix(from, "…") {
		pattern = strings.TrimSuffix(pattern, "?)") + ")"
	}
	found := regexp.MustCompile(pattern).FindAllStringSubmatchIndex(text, -1)
	if len(found) != 1 {
		return edit{}, fmt.Errorf("%q is %d times in %q", from, len(found), text)
	}
	to = strings.TrimPrefix(to, " ")
	if at := found[0]; len(at) > 2 {
		to = strings.ReplaceAll(to, "…", text[at[2]:at[3]])
	}
	return edit{from: found[0][0], to: found[0][1], text: to}, nil
}

// blockOf returns where the block of a statement begins.
func blockOf(n ast.Node) token.Pos {
	switch n := n.(type) {
	case *ast.IfStmt:
		return n.Body.Pos()
	case *ast.ForStmt:
		return n.Body.Pos()
	case *ast.RangeStmt:
		return n.Body.Pos()
	case *ast.SwitchStmt:
		return n.Body.Pos()
	case *ast.CaseClause:
		return n.Colon + 1
	case *ast.CommClause:
		return n.Colon + 1
	}
	return token.NoPos
}

// conditions returns what a node decides by, or gives.
func conditions(n ast.Node) []ast.Expr {
	switch n := n.(type) {
	case *ast.IfStmt:
		return []ast.Expr{n.Cond}
	case *ast.ForStmt:
		if n.Cond != nil {
			return []ast.Expr{n.Cond}
		}
	case *ast.CaseClause:
		return n.List
	case *ast.ReturnStmt:
		return n.Results
	case *ast.AssignStmt:
		return n.Rhs
	case *ast.KeyValueExpr:
		return []ast.Expr{n.Value}
	}
	return nil
}

// takeOutOfCondition edits operands of && and ||, which are counted over all exprs.
func takeOutOfCondition(exprs []ast.Expr, verb, which string, wrap func(ast.Node, string) []edit) (edits []edit, err error) {
	constant := map[string]string{"true": "(OUT || NODE)", "false": "(NOT && (NODE))"}
	if which == "" && verb != "operand" {
		if len(exprs) != 1 {
			return nil, fmt.Errorf("%d conditions", len(exprs))
		}
		return wrap(exprs[0], constant[verb]), nil
	}
	first, last, err := parseRange(which)
	if err != nil {
		return nil, err
	}
	seen := 0
	var walk func(e ast.Expr, within token.Token)
	walk = func(e ast.Expr, within token.Token) {
		begin := seen
		count := countOperands(e)
		if begin+1 >= first && begin+count <= last {
			seen += count
			switch {
			case verb != "operand":
				edits = append(edits, wrap(e, constant[verb])...)
			case within == token.LAND:
				edits = append(edits, wrap(e, constant["true"])...)
			case within == token.LOR:
				edits = append(edits, wrap(e, constant["false"])...)
			default:
				err = errors.New("nothing is left without it")
			}
			return
		}
		switch x := e.(type) {
		case *ast.ParenExpr:
			walk(x.X, within)
		case *ast.BinaryExpr:
			if x.Op == token.LAND || x.Op == token.LOR {
				walk(x.X, x.Op)
				walk(x.Y, x.Op)
				return
			}
			seen++
		default:
			seen++
		}
	}
	for _, e := range exprs {
		walk(e, token.ILLEGAL)
	}
	if err == nil && (edits == nil || last > seen) {
		err = fmt.Errorf("%d operands", seen)
	}
	return edits, err
}

func countOperands(e ast.Expr) int {
	switch x := e.(type) {
	case *ast.ParenExpr:
		return countOperands(x.X)
	case *ast.BinaryExpr:
		if x.Op == token.LAND || x.Op == token.LOR {
			return countOperands(x.X) + countOperands(x.Y)
		}
	}
	return 1
}

// parseRange parses "2" or "2-3".
func parseRange(s string) (first, last int, err error) {
	from, to, ok := strings.Cut(s, "-")
	if !ok {
		to = from
	}
	first, err = strconv.Atoi(from)
	if err == nil {
		last, err = strconv.Atoi(to)
	}
	if err == nil && (first < 1 || last < first) {
		err = fmt.Errorf("no operands: %q", s)
	}
	return first, last, err
}

var (
	luaCondition = regexp.MustCompile(`\b(?:if|while) (.*?) (?:then|do)\b`)
	luaOperator  = regexp.MustCompile(` (and|or) `)
)

// takeOutOfLua returns a line of Lua without its guard.
func takeOutOfLua(line, op string) (string, error) {
	verb, rest, _ := strings.Cut(op, " ")
	switch verb {
	case "drop":
		return "", nil
	case "sub":
		e, err := substitute(line, rest)
		if err != nil {
			return "", err
		}
		return line[:e.from] + e.text + line[e.to:], nil
	case "true", "false", "operand":
		at := luaCondition.FindStringSubmatchIndex(line)
		if at == nil {
			return "", fmt.Errorf("no condition in %q", line)
		}
		condition := verb
		if verb == "operand" || rest != "" {
			first, last, err := parseRange(rest)
			if err != nil {
				return "", err
			}
			condition = line[at[2]:at[3]]
			operators := luaOperator.FindAllStringIndex(condition, -1)
			if last > len(operators)+1 {
				return "", fmt.Errorf("%d operands", len(operators)+1)
			}
			begin, end := 0, len(condition)
			if first > 1 {
				begin = operators[first-2][1]
			}
			if last <= len(operators) {
				end = operators[last-1][0]
			}
			switch {
			case verb != "operand":
				condition = condition[:begin] + verb + condition[end:]
			case first == 1 && last > len(operators):
				return "", errors.New("nothing is left without it")
			case first == 1:
				condition = condition[operators[last-1][1]:]
			default:
				condition = condition[:operators[first-2][0]] + condition[end:]
			}
		}
		return line[:at[2]] + condition + line[at[3]:], nil
	}
	return "", errors.New("no such operation on Lua")
}
