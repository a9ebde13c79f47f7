package shape

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"strconv"
	"unicode/utf8"
)

// mode is what is looked for in a value, and what the values of a node may have in them.
type mode uint8

const (
	losses   mode = 1 << iota // values that JSON gives back as others
	depths                    // nesting that JSON cannot read
	texts                     // strings that are not UTF-8
	failures                  // values that JSON cannot encode
	nulls                     // what a method writes as null, behind a pointer
)

// maxDepth is how deep encoding/json reads arrays and objects in one another.
const maxDepth = 10_000

// Marshal is json.Marshal without the escapes for HTML, which would change a json.RawMessage.
func Marshal(v any) ([]byte, error) {
	var out written
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out, []byte("\n")), nil
}

// written is what an encoder wrote, which is all in one piece.
type written []byte

func (w *written) Write(b []byte) (int, error) {
	*w = append(*w, b...)
	return len(b), nil
}

// Check returns nil if encoded, which encoding/json made of *v, gives back that value; otherwise an error that
// names the part of it that would change. v is a pointer to the type that j is of.
//
// Of most types nothing but the bytes is looked at: what is not UTF-8 leaves a trace in them.
func (j *JSON) Check(v any, encoded []byte) error {
	m := losses
	if len(encoded) > 2*maxDepth {
		m |= depths // it takes two bytes to be one deeper
	}
	// An invalid byte is written as an escaped U+FFFD; one that was valid need not be escaped.
	// guard: text-that-is-not-utf8
	if bytes.Contains(encoded, []byte(`\ufffd`)) || bytes.Contains(encoded, []byte("\ufffd")) {
		m |= texts
	}
	if j.root.may&nulls != 0 && bytes.Contains(encoded, []byte("null")) {
		m |= nulls
	}
	if j.root.may&m == 0 {
		return nil
	}
	w := walk{mode: m}
	return w.value(j.root, reflect.ValueOf(v).Elem()).in(j.root.t)
}

// Explain returns an error that names the part of *v that encoding/json could not encode, or nil if it is not found.
func (j *JSON) Explain(v any) (err error) {
	defer func() {
		if recover() != nil {
			err = nil // of a method, as before
		}
	}()
	w := walk{mode: failures}
	return w.value(j.root, reflect.ValueOf(v).Elem()).in(j.root.t)
}

// fault is what is wrong with a part of a value, whose path it has from the end.
type fault struct {
	path, text string
}

func (f *fault) in(t reflect.Type) error {
	if f == nil {
		return nil
	}
	return fmt.Errorf("%s%s %s", t, f.path, f.text)
}

func (f *fault) at(part string) *fault {
	if f != nil {
		f.path = part + f.path
		// Of what holds itself it would be ten thousand parts long.
		// guard: path-of-bounded-length
		if len(f.path) > maxPath {
			f.path = f.path[:maxPath-len("…")] + "…"
		}
	}
	return f
}

// maxPath bounds a path, of which it keeps the beginning.
const maxPath = 200

func faultf(format string, args ...any) *fault { return &fault{text: fmt.Sprintf(format, args...)} }

type walk struct {
	mode  mode
	depth int
}

// value looks for what is wrong with v. It never says what the value is.
func (w *walk) value(n *node, v reflect.Value) *fault {
	if n.may&w.mode == 0 {
		return nil
	}
	switch n.op {
	case opFloat:
		if f := v.Float(); math.IsNaN(f) || math.IsInf(f, 0) {
			return faultf("is not a number or infinite, which JSON cannot encode")
		}
	case opString:
		return w.text(v.String())
	case opAny:
		return w.dynamic(v.Interface())
	case opRaw:
		return w.raw(v.Bytes())
	case opNumber:
		if v.Len() == 0 {
			return faultf(`is an empty json.Number, which JSON gives back as 0: set it, or tag it "omitempty"`)
		}
		if w.mode&failures != 0 && !json.Valid([]byte(v.String())) {
			return faultf("is a json.Number that is not a number")
		}
	case opText, opCustom:
		return w.methods(v)
	case opPointer:
		if v.IsNil() {
			return nil
		}
		// guard: pointer-to-null
		if w.mode&losses != 0 && isNull(n.elem, v.Elem()) || w.mode&nulls != 0 && n.elem.op == opCustom && writesNull(v) {
			return faultf("points to what is nil, and JSON gives back a nil pointer: use the one or the other")
		}
		return w.value(n.elem, v.Elem())
	case opSlice, opArray:
		return w.nested(func() *fault {
			for i := range v.Len() {
				if f := w.value(n.elem, v.Index(i)); f != nil {
					return f.at("[" + strconv.Itoa(i) + "]")
				}
			}
			return nil
		})
	case opMap:
		return w.nested(func() *fault { return w.mapped(n, v) })
	case opStruct:
		return w.nested(func() *fault { return w.structure(n, v) })
	}
	return nil
}

func (w *walk) nested(f func() *fault) *fault {
	w.depth++
	defer func() { w.depth-- }()
	if w.depth > maxDepth {
		return faultf("is nested more than %d deep, or holds itself, which JSON cannot read back", maxDepth)
	}
	return f()
}

func (w *walk) text(s string) *fault {
	if w.mode&texts != 0 && !utf8.ValidString(s) {
		return faultf("is text that is not UTF-8, which JSON would change: use []byte")
	}
	return nil
}

func isNull(n *node, v reflect.Value) bool {
	switch n.op {
	case opRaw:
		return v.IsNil() || string(v.Bytes()) == "null"
	case opPointer, opSlice, opBytes, opMap, opAny:
		return v.IsNil()
	}
	return false
}

// writesNull reports whether the method of what v points to writes null.
func writesNull(v reflect.Value) bool {
	if !v.CanInterface() {
		return false
	}
	m, ok := v.Interface().(json.Marshaler)
	if !ok {
		return false
	}
	b, err := m.MarshalJSON()
	return err == nil && string(bytes.TrimSpace(b)) == "null"
}

// raw checks a json.RawMessage, which is written without its white space.
func (w *walk) raw(b []byte) *fault {
	if b == nil {
		if w.mode&losses != 0 {
			return faultf(`is a nil json.RawMessage, which JSON gives back as null: set it to that, or tag it "omitempty"`)
		}
		return nil
	}
	if w.mode&failures != 0 && !json.Valid(b) {
		return faultf("is a json.RawMessage that is not JSON")
	}
	if w.mode&losses == 0 {
		return nil
	}
	quoted, escaped := false, false
	for _, c := range b {
		switch {
		case escaped:
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ' ' || c == '\n' || c == '\t' || c == '\r'):
			return faultf("is a json.RawMessage with white space, which JSON would remove: json.Compact it, or use []byte")
		}
	}
	return nil
}

// methods checks a value that is encoded by its methods, whose errors are the user's.
func (w *walk) methods(v reflect.Value) *fault {
	if !v.CanInterface() {
		return nil
	}
	i := v.Interface()
	if v.CanAddr() {
		i = v.Addr().Interface()
	}
	if w.mode&losses != 0 {
		// guard: time-with-seconds-in-offset
		if t, ok := i.(zoned); ok && offsetHasSeconds(t) {
			return faultf("(a time.Time) has an offset with seconds, as local times long ago, which JSON gives back as another instant: store its UTC()")
		}
		// guard: lossy-value
		if lossy := lossyValues[nameOf(v.Type())]; lossy != nil {
			if why := lossy(v); why != "" {
				return faultf("(a %s) %s", v.Type(), why)
			}
		}
	}
	if w.mode&failures != 0 {
		if _, err := json.Marshal(i); err != nil {
			return faultf("(a %s) could not be encoded by its method", v.Type())
		}
	}
	if m, ok := i.(encoding.TextMarshaler); ok && w.mode&texts != 0 {
		if _, ok := i.(json.Marshaler); ok {
			return nil
		}
		if b, err := m.MarshalText(); err == nil && !utf8.Valid(b) {
			return faultf("(a %s) has a MarshalText that gives what is not UTF-8, which JSON would change: give it MarshalJSON", v.Type())
		}
	}
	return nil
}

// lossyValues say of types of the standard library why their methods do not give back a value, or "". By their names: to import their
// packages would link them into every program.
var lossyValues = map[string]func(v reflect.Value) string{
	"net/netip.AddrPort": func(v reflect.Value) string {
		if a := v.Interface().(netip.AddrPort); a.Port() != 0 && !a.Addr().IsValid() {
			return "has a port and no address, so its text loses the port"
		}
		return ""
	},
	"net/netip.Prefix": func(v reflect.Value) string {
		if p := v.Interface().(netip.Prefix); p != (netip.Prefix{}) && !p.IsValid() {
			return "is not valid, so it cannot be read back"
		}
		return ""
	},
	"net.IP": func(v reflect.Value) string {
		if v.Len() == 0 && !v.IsNil() {
			return "is empty and not nil, so JSON gives back nil: use the one or the other"
		}
		return ""
	},
	"regexp.Regexp": func(v reflect.Value) string {
		if f := v.FieldByName("longest"); f.IsValid() && f.Kind() == reflect.Bool && f.Bool() {
			return "prefers longest matches, by Longest or as a POSIX one, which its text does not say: store its text, or use WithCodec"
		}
		return ""
	},
	"crypto/x509.OID": func(v reflect.Value) string {
		if v.IsZero() {
			return "is empty, so it cannot be read back"
		}
		return ""
	},
}

func nameOf(t reflect.Type) string { return t.PkgPath() + "." + t.Name() }

// zoned is what time.Time is, and what embeds it.
type zoned interface {
	json.Marshaler
	Zone() (name string, offset int)
}

var typeZoned = reflect.TypeFor[zoned]()

// offsetHasSeconds reports whether RFC 3339, which knows hours and minutes, cannot say the offset.
func offsetHasSeconds(t zoned) bool {
	_, offset := t.Zone()
	return offset%60 != 0
}

func (w *walk) mapped(n *node, v reflect.Value) *fault {
	for iter := v.MapRange(); iter.Next(); {
		if n.textKeys && w.mode&losses != 0 && !keyComesBack(iter.Key()) {
			return faultf("has a key (a %s) that UnmarshalText does not give back as MarshalText was given it", iter.Key().Type())
		}
		if iter.Key().Kind() == reflect.String {
			if f := w.text(iter.Key().String()); f != nil {
				return f.at("[key]")
			}
		}
		if f := w.value(n.elem, iter.Value()); f != nil {
			return f.at("[…]")
		}
	}
	return nil
}

// keyComesBack does to a key what encoding/json does.
func keyComesBack(k reflect.Value) bool {
	if !k.CanInterface() {
		return false
	}
	var text string
	m, ok := k.Interface().(encoding.TextMarshaler)
	switch {
	case k.Kind() == reflect.String:
		text = k.String()
	case ok:
		b, err := m.MarshalText()
		if err != nil {
			return false
		}
		text = string(b)
	case k.CanInt():
		text = strconv.FormatInt(k.Int(), 10)
	case k.CanUint():
		text = strconv.FormatUint(k.Uint(), 10)
	}
	back := reflect.New(k.Type())
	switch u := back.Interface().(type) {
	case json.Unmarshaler: // which is preferred for keys as well
		quoted, err := json.Marshal(text)
		if err != nil || u.UnmarshalJSON(quoted) != nil {
			return false
		}
	case encoding.TextUnmarshaler:
		if u.UnmarshalText([]byte(text)) != nil {
			return false
		}
	}
	return back.Elem().Equal(k)
}

func (w *walk) structure(n *node, v reflect.Value) *fault {
	for i := range n.fields {
		f := &n.fields[i]
		if f.n.may&w.mode == 0 && (!f.losesZero() || w.mode&losses == 0) {
			continue
		}
		at, ok := fieldByIndex(v, f.index)
		if !ok {
			continue // in an embedded pointer that is nil
		}
		omitted, lost := f.omitted(at)
		if lost && w.mode&losses != 0 {
			if f.omits == emptyLosing {
				return faultf(`is empty and not nil, and is left out by "omitempty", so JSON gives back nil: use "omitzero"`).at(f.path)
			}
			return faultf(`is left out by "omitzero" although it is not the zero value`).at(f.path)
		}
		if omitted {
			continue
		}
		if fault := w.value(f.n, at); fault != nil {
			return fault.at(f.path)
		}
	}
	return nil
}

func fieldByIndex(v reflect.Value, index []int) (reflect.Value, bool) {
	for i, x := range index {
		if i > 0 && v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return v, false
			}
			v = v.Elem()
		}
		v = v.Field(x)
	}
	return v, true
}

// omitted reports whether the field is left out, and whether another value than the zero value is lost by that.
func (f *field) omitted(v reflect.Value) (omitted, lost bool) {
	switch f.omits {
	case emptyLosing:
		return v.Len() == 0, v.Len() == 0 && !v.IsNil()
	case empty:
		return v.Len() == 0, false
	case zero:
		return v.IsZero(), false
	case zeroLosing:
		// guard: omitted-negative-zero
		return v.IsZero(), v.IsZero() && hasNegativeZero(v)
	case zeroByMethod:
		if v.Kind() == reflect.Pointer && v.IsNil() {
			return true, false
		}
		i, ok := v.Interface().(interface{ IsZero() bool })
		if !ok {
			if !v.CanAddr() {
				boxed := reflect.New(v.Type()).Elem()
				boxed.Set(v)
				v = boxed
			}
			i = v.Addr().Interface().(interface{ IsZero() bool })
		}
		if !i.IsZero() {
			return false, false
		}
		// A zero time is equal to another one, wherever its location is.
		return true, v.Type() != timeTime && (!v.IsZero() || hasNegativeZero(v))
	}
	return false, false
}

// losesZero reports whether another value than the zero value may be left out.
func (f *field) losesZero() bool {
	return f.omits == emptyLosing || f.omits == zeroLosing || f.omits == zeroByMethod
}

// hasNegativeZero reports whether there is a negative 0 in v, which IsZero takes for 0.
func hasNegativeZero(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Float32, reflect.Float64:
		return v.Float() == 0 && math.Signbit(v.Float())
	case reflect.Array:
		for i := range v.Len() {
			if hasNegativeZero(v.Index(i)) {
				return true
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if hasNegativeZero(v.Field(i)) {
				return true
			}
		}
	}
	return false
}

// maxExact is up to where every integer is a float64, as which JSON gives back each number in an interface.
const maxExact = 1 << 53

// dynamic checks what is in an interface without methods. Of the types that can be in it JSON gives back nil, bool,
// float64, string, []any and map[string]any. Integers that a float64 holds are let through, and come back as such.
func (w *walk) dynamic(v any) *fault {
	switch x := v.(type) {
	case nil, bool:
		return nil
	case float64:
		if w.mode&failures != 0 && (math.IsNaN(x) || math.IsInf(x, 0)) {
			return faultf("is not a number or infinite, which JSON cannot encode")
		}
		return nil
	case string:
		return w.text(x)
	case map[string]any:
		if x == nil {
			break
		}
		return w.nested(func() *fault {
			for k, v := range x {
				if f := w.text(k); f != nil {
					return f.at("[key]")
				}
				if f := w.dynamic(v); f != nil {
					return f.at("[…]")
				}
			}
			return nil
		})
	case []any:
		if x == nil {
			break
		}
		return w.nested(func() *fault {
			for i, v := range x {
				if f := w.dynamic(v); f != nil {
					return f.at("[" + strconv.Itoa(i) + "]")
				}
			}
			return nil
		})
	case float32:
		if back, _ := strconv.ParseFloat(strconv.FormatFloat(float64(x), 'g', -1, 32), 64); back == float64(x) {
			return nil
		}
		return w.changes("holds a float32, which JSON gives back as another number: convert it to float64")
	case int, int8, int16, int32, int64:
		if n := reflect.ValueOf(v).Int(); n >= -maxExact && n <= maxExact {
			return nil
		}
		return w.changes("holds an integer beyond 2^53, which JSON gives back as another number: give the field the type of the integer, or hold a string")
	case uint, uint8, uint16, uint32, uint64, uintptr:
		if reflect.ValueOf(v).Uint() <= maxExact {
			return nil
		}
		return w.changes("holds an integer beyond 2^53, which JSON gives back as another number: give the field the type of the integer, or hold a string")
	}
	if w.mode&failures != 0 {
		if _, err := json.Marshal(v); err != nil {
			return faultf("holds a %T, which JSON cannot encode", v)
		}
	}
	return w.changes("holds a %T, which JSON gives back as another type: give the field that type, or use WithCodec", v)
}

func (w *walk) changes(format string, args ...any) *fault {
	if w.mode&losses == 0 {
		return nil
	}
	return faultf(format, args...)
}
