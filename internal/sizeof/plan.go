package sizeof

import (
	"net/netip"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
)

// Sizer sizes the values of one type. It decides once for each struct type which fields may be read. Its methods may be
// called from any goroutine.
type Sizer struct {
	own   []string // packages whose unexported fields are read
	inUse int64    // the least that is guessed of a value; 0 if that is not known
	plans sync.Map // of reflect.Type to *plan, for structs
}

var sizers sync.Map // of reflect.Type to *Sizer

// For returns the Sizer of type t, which is not nil.
func For(t reflect.Type) *Sizer {
	if s, ok := sizers.Load(t); ok {
		return s.(*Sizer)
	}
	s, _ := sizers.LoadOrStore(t, &Sizer{own: packagesOf(t, nil), inUse: inUseOf(t)})
	return s.(*Sizer)
}

// plan is how the values of a struct type are walked.
type plan struct {
	fields []int // to be followed, in order
	// guess is the estimate of all that the fields refer to, if none of them may be read; 0: fields has all fields that
	// refer to something.
	guess int64
}

func (p *plan) refers() bool { return len(p.fields) > 0 || p.guess > 0 }

// planOf decides which fields of a struct may be read while the program uses it.
//
//   - None if it holds, by value or by a pointer of its own, something that goroutines synchronize by, or by value
//     something that holds code: then it has internal state that its methods change. Pointers to it are not followed either.
//   - All if its type is of the package of V, whose authors know that cached values are read-only.
//   - Otherwise all or none: a type of another package is data only if all its fields are exported and none is an
//     interface with methods. Exported fields beside unexported ones may be internal state, too: html/template changes
//     the Tree of a template when it is first executed.
func (s *Sizer) planOf(t reflect.Type) *plan {
	if known, ok := s.plans.Load(t); ok {
		return known.(*plan)
	}
	p := &plan{}
	switch {
	case belongsToProgram(t) || !hasPointers(t):
	// guard: sizeof-other-packages
	// guard: sizeof-holds-inside
	case holdsInside(t) || !slices.Contains(s.own, packageOf(t)) && !isStandardData(t) && !isData(t):
		// guard: sizeof-most-of-a-struct
		p.guess = min(unreadBytes*references(t), mostUnread)
	default:
		for i := range t.NumField() {
			if s.refers(t.Field(i).Type) {
				p.fields = append(p.fields, i)
			}
		}
	}
	s.plans.Store(t, p)
	return p
}

// refers reports whether a value of type t can keep other objects alive.
func (s *Sizer) refers(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array:
		return t.Len() > 0 && s.refers(t.Elem())
	case reflect.Struct:
		return s.planOf(t).refers()
	}
	return hasPointers(t)
}

const (
	// unreadBytes is the guess of the heap that each reference keeps alive that is not followed.
	unreadBytes = 64
	// mostUnread is the most that is guessed of one struct: of those with many references, as http.Transport and tls.Config,
	// most are nil.
	mostUnread = 8 * unreadBytes
)

// inUse is what lies behind values of some types of the standard library when they are in use, since the references of such a struct say
// nothing of it. It is for views of just those: an object that is a part of a value is more likely to be shared by all values.
var inUse = map[string]int64{
	"net/http.Client":        10 << 10, // 4 kB without a connection, 16 kB with one
	"net/http.Transport":     10 << 10,
	"html/template.Template": 4 << 10, // 2 kB when parsed, 6 kB when executed: short ones
	"strings.Replacer":       4 << 10,
	"bufio.Reader":           4 << 10, // the buffer, as it is by default
	"bufio.Writer":           4 << 10,
}

// inUseOf returns the guess of what lies behind a t, or behind what it points to, when it is in use; 0 if none is known.
func inUseOf(t reflect.Type) int64 {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return inUse[t.PkgPath()+"."+t.Name()]
}

// references counts the references in a value of type t: pointers, and values that hold one.
func references(t reflect.Type) (n int64) {
	switch t.Kind() {
	case reflect.Array:
		if t.Len() > 0 {
			n = int64(t.Len()) * references(t.Elem())
		}
	case reflect.Struct:
		for i := range t.NumField() {
			n += references(t.Field(i).Type)
		}
	default:
		if hasPointers(t) {
			n = 1
		}
	}
	return n
}

// standardData are types of the standard library whose unexported references never change, except by methods that change the
// value. By their names: to import their packages would link them into every program.
var standardData = map[string]bool{
	"math/big.Int":            true,
	"math/big.Rat":            true,
	"math/big.Float":          true,
	"net/url.Userinfo":        true,
	"regexp.Regexp":           true, // Longest changes no reference
	"text/template.Template":  true, // but not what it shares with those that it defines
	"bytes.Reader":            true, // reading moves a position
	"strings.Reader":          true,
	"crypto/x509.Certificate": true,
}

// isStandardData reports whether t is one of those, or a part of a parsed template.
func isStandardData(t reflect.Type) bool {
	p := t.PkgPath()
	return p == "text/template/parse" || standardData[p+"."+t.Name()]
}

// belongsToProgram reports whether the object that a t refers to is shared by all equal values: the location of a time,
// the zone of an address.
func belongsToProgram(t reflect.Type) bool {
	switch t {
	case reflect.TypeFor[time.Time](), reflect.TypeFor[netip.Addr](), reflect.TypeFor[netip.AddrPort](), reflect.TypeFor[netip.Prefix]():
		return true
	}
	return t.PkgPath() == "unique"
}

// holdsInside reports whether a value of type t holds, by value and at any depth, something of sync or sync/atomic or a
// pointer to that, a channel, a func, an unsafe.Pointer, or a value that go vet reports when it is copied. That may be of
// size 0.
func holdsInside(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Chan, reflect.Func, reflect.UnsafePointer:
		return true
	case reflect.Pointer:
		// guard: sizeof-pointer-to-lock
		p := t.Elem().PkgPath()
		return p == "sync" || p == "sync/atomic"
	case reflect.Array:
		if t.Len() == 0 && t.Elem().Kind() == reflect.Func {
			return false // which makes a type incomparable
		}
		return holdsInside(t.Elem())
	case reflect.Struct:
		if p := t.PkgPath(); p == "sync" || p == "sync/atomic" || reflect.PointerTo(t).Implements(reflect.TypeFor[sync.Locker]()) {
			return true
		}
		for i := range t.NumField() {
			if holdsInside(t.Field(i).Type) {
				return true
			}
		}
	}
	return false
}

// isData reports whether a struct of another package than V's consists of its exported fields only.
func isData(t reflect.Type) bool {
	for i := range t.NumField() {
		f := t.Field(i)
		behaves := f.Type.Kind() == reflect.Interface && f.Type.NumMethod() > 0
		if behaves || !f.IsExported() && f.Name != "_" {
			return false
		}
	}
	return true
}

// packageOf is the package of a struct's unexported fields; a struct without a name has no other package.
func packageOf(t reflect.Type) string {
	if t.Name() == "" {
		for i := range t.NumField() {
			if f := t.Field(i); !f.IsExported() {
				return f.PkgPath
			}
		}
	}
	return t.PkgPath()
}

// packagesOf appends the packages of the types that a V consists of, as []docs.Page consists of docs.Page.
func packagesOf(t reflect.Type, out []string) []string {
	p := t.PkgPath()
	if t.Kind() == reflect.Struct {
		p = packageOf(t)
	}
	if p != "" && !standard(p) {
		out = append(out, p)
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		if t.Kind() == reflect.Map {
			out = packagesOf(t.Key(), out)
		}
		if t.Name() == "" { // else it may be recursive, and only its own package counts
			out = packagesOf(t.Elem(), out)
		}
	}
	return out
}

// standard reports whether a package is of the standard library, whose types are not written for cached values. Its
// import paths begin without a dot; so do those of programs that no other module imports.
func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".") && first != "main" && first != program()
}

// program is the first element of the import paths of the main module; empty if that is not known.
var program = sync.OnceValue(func() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	first, _, _ := strings.Cut(info.Main.Path, "/")
	return first
})
