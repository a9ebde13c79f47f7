package shape

import (
	"encoding"
	"encoding/json"
	"fmt"
	"math/big"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/zeebo/xxh3"
)

// JSON is what is known of how encoding/json treats the values of one type. Values are taken
// to be encoded and decoded through pointers, so that methods with pointer receivers are used.
type JSON struct {
	root *node
}

// JSONOf returns what is known of a type, or an error that names the first part of it that
// encoding/json cannot encode, would drop, or would not give back, and says what to do.
func JSONOf(t reflect.Type) (*JSON, error) {
	b := builder{known: make(map[nodeKey]*node)}
	root, err := b.build(t, t.String(), true, true)
	if err != nil {
		return nil, err
	}
	b.finish()
	return &JSON{root}, nil
}

// Shape returns a number that two types share if JSON sees the same in them, whatever they are
// called and whatever else they hold. It is the same in every process.
func (j *JSON) Shape() uint64 {
	var b strings.Builder
	b.WriteString("json ")
	describe(&b, j.root, nil)
	return xxh3.HashString(b.String())
}

// op is how the values of a type are encoded.
type op uint8

const (
	opPlain   op = iota // as what they are: bool, numbers
	opFloat             // a float, which may be none of JSON's numbers
	opString            // a string
	opBytes             // base64
	opAny               // whatever is in the interface
	opRaw               // json.RawMessage
	opNumber            // json.Number
	opText              // by MarshalText and UnmarshalText
	opCustom            // by MarshalJSON and UnmarshalJSON
	opPointer           // the rest: by their parts
	opSlice
	opArray
	opMap
	opStruct
)

func (o op) String() string {
	return [...]string{"plain", "float", "string", "bytes", "any", "raw", "number", "text", "custom", "pointer", "slice", "array", "map", "struct"}[o]
}

// node is a type at a place where values of it are encoded in one way.
type node struct {
	t      reflect.Type
	op     op
	elem   *node
	fields []field // of a struct, by name
	// textKeys: the keys of a map are decoded by their UnmarshalText.
	textKeys bool
	// may says what has to be looked for in values: see mode.
	may mode
}

// field is what JSON sees as one field of a struct.
type field struct {
	index  []int
	path   string // .Embedded.Name
	name   string // in JSON
	quoted bool
	omits  omits
	n      *node
}

// omits is when a field is left out.
type omits uint8

const (
	never        omits = iota
	emptyLosing        // if its length is 0, so that what is empty comes back nil
	empty              // likewise, and nothing is lost
	zero               // if it is the zero value
	zeroLosing         // likewise, so that a negative 0 comes back as 0
	zeroByMethod       // if its IsZero says so
)

type nodeKey struct {
	t               reflect.Type
	addressable     bool
	methodsOnDecode bool
}

type builder struct {
	known map[nodeKey]*node
	all   []*node
}

var (
	jsonMarshaler   = reflect.TypeFor[json.Marshaler]()
	jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
	textMarshaler   = reflect.TypeFor[encoding.TextMarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
	zeroer          = reflect.TypeFor[interface{ IsZero() bool }]()
	rawMessage      = reflect.TypeFor[json.RawMessage]()
	number          = reflect.TypeFor[json.Number]()
	timeTime        = reflect.TypeFor[time.Time]()
)

// useCodec ends an error whose other cure is a codec.
const useCodec = "or use WithCodec"

// build returns the node of t. Addressable: the values of t can be addressed when they are encoded, or methods with
// pointer receivers are passed over. found: methods are found when they are decoded although t has no name.
func (b *builder) build(t reflect.Type, path string, addressable, found bool) (*node, error) {
	key := nodeKey{t, addressable, found}
	if n := b.known[key]; n != nil {
		return n, nil
	}
	n := &node{t: t}
	b.known[key] = n
	b.all = append(b.all, n)
	if t.Kind() == reflect.Interface {
		if t.NumMethod() > 0 {
			return nil, fmt.Errorf("%s is an interface with methods (%s), into which JSON cannot decode a value: declare it as a type without methods or as a concrete one, %s", path, t, useCodec)
		}
		n.op = opAny
		return n, nil
	}
	if why := lossyMethods[t]; why != "" {
		return nil, fmt.Errorf("%s is a %s, %s: store its text and make it of that, %s", path, t, why, useCodec)
	}
	custom, err := n.methods(path, addressable, found)
	if err != nil || custom {
		return n, err
	}
	return n, b.parts(n, path, addressable)
}

// lossyMethods are types of the standard library whose methods do not give back what they were given.
var lossyMethods = map[reflect.Type]string{
	reflect.TypeFor[big.Float](): "which comes back with another precision",
}

// methods decides whether the methods of n's type encode and decode it.
func (n *node) methods(path string, addressable, found bool) (custom bool, err error) {
	t := n.t
	if t.Kind() == reflect.Pointer {
		return false, nil // those of what it points to count
	}
	p := reflect.PointerTo(t)
	enc, dec := opPlain, opPlain
	switch {
	case t.Implements(jsonMarshaler) || addressable && p.Implements(jsonMarshaler):
		enc = opCustom
	case t.Implements(textMarshaler) || addressable && p.Implements(textMarshaler):
		enc = opText
	}
	switch {
	case !found && t.Name() == "":
		// encoding/json looks for methods of what has a name, or is behind a pointer.
	case p.Implements(jsonUnmarshaler):
		dec = opCustom
	case p.Implements(textUnmarshaler):
		dec = opText
	}
	names := map[op][2]string{opCustom: {"MarshalJSON", "UnmarshalJSON"}, opText: {"MarshalText", "UnmarshalText"}}
	switch {
	case enc == opPlain && dec == opPlain:
		return false, nil
	case enc == opPlain && (p.Implements(jsonMarshaler) || p.Implements(textMarshaler)):
		return false, fmt.Errorf("%s is a %s whose %s has a pointer receiver, which JSON cannot use for a value in a map: keep pointers there, %s", path, t, names[dec][0], useCodec)
	case enc != dec && dec == opPlain:
		return false, fmt.Errorf("%s is a %s, which has %s and not %s, so JSON cannot read what it writes: add that, tag it `json:\"-\"`, %s", path, t, names[enc][0], names[enc][1], useCodec)
	case enc == opPlain:
		return false, fmt.Errorf("%s is a %s, which has %s and not %s, and need not read what JSON writes: add that, %s", path, t, names[dec][1], names[dec][0], useCodec)
	case enc != dec:
		return false, fmt.Errorf("%s is a %s, which is written by %s and read by %s: add %s, %s", path, t, names[enc][0], names[dec][1], names[enc][1], useCodec)
	}
	if err := checkPromoted(t, path, enc); err != nil {
		return false, err
	}
	// What is decoded is the zero value, so there is nothing that a value receiver could set.
	// guard: unmarshal-by-value
	if t.Size() > 0 && t.Implements(map[op]reflect.Type{opCustom: jsonUnmarshaler, opText: textUnmarshaler}[dec]) {
		return false, fmt.Errorf("%s is a %s whose %s has no pointer receiver, so what it reads is lost: give it one, %s", path, t, names[dec][1], useCodec)
	}
	switch t {
	case rawMessage:
		enc = opRaw
	}
	n.op = enc
	return true, nil
}

// checkPromoted returns an error if a method that encodes or decodes a t is that of an embedded field, so that the
// other fields are lost. What consists of nothing else is encoded as that field.
func checkPromoted(t reflect.Type, path string, how op) error {
	if t.Kind() != reflect.Struct {
		return nil
	}
	marshal, unmarshal := promotedMethods(t, how)
	// guard: promoted-methods
	if !marshal && !unmarshal {
		return nil
	}
	if others := othersThanEmbedded(t); others != "" {
		doing := "MarshalJSON"
		if how == opText {
			doing = "MarshalText"
		}
		if !marshal {
			doing = "Un" + strings.ToLower(doing[:1]) + doing[1:]
		}
		return fmt.Errorf("%s has the %s of a field that it embeds, so JSON would lose %s.%s: give the embedded field a name, or %s methods of its own, %s",
			path, doing, path, others, t, useCodec)
	}
	if marshal != unmarshal {
		return fmt.Errorf("%s is a %s, which writes or reads JSON by a method of its own, and the other by one of a field that it embeds: give it both, %s", path, t, useCodec)
	}
	for i := range t.NumField() {
		if f := t.Field(i); f.Anonymous {
			// guard: promoted-by-pointer
			if f.Type.Kind() == reflect.Pointer {
				return fmt.Errorf("%s.%s is an embedded pointer whose methods write and read all of %s, and which is nil when that is read: embed the value, give the field a name, %s",
					path, f.Name, t, useCodec)
			}
			return checkPromoted(f.Type, path+"."+f.Name, how)
		}
	}
	return nil
}

// othersThanEmbedded returns the name of a field that is lost when an embedded one encodes the struct; empty if there
// is none.
func othersThanEmbedded(t reflect.Type) string {
	embedded := 0
	for i := range t.NumField() {
		f := t.Field(i)
		switch {
		case f.Anonymous:
			if embedded++; embedded > 1 && f.Tag.Get("json") != "-" {
				return f.Name
			}
		case f.Name != "_" && f.Tag.Get("json") != "-":
			return f.Name
		}
	}
	return ""
}

// promotedMethods reports which of the two methods are those of embedded fields. Reflection does not tell, but such a
// method was made by the compiler, which is where its line is.
func promotedMethods(t reflect.Type, how op) (marshal, unmarshal bool) {
	p := reflect.PointerTo(t)
	// The names are constants, or the linker would have to keep every method of the program.
	if how == opCustom {
		m, ok := t.MethodByName("MarshalJSON")
		if !ok {
			m, _ = p.MethodByName("MarshalJSON")
		}
		u, ok := t.MethodByName("UnmarshalJSON")
		if !ok {
			u, _ = p.MethodByName("UnmarshalJSON")
		}
		return generated(m), generated(u)
	}
	m, ok := t.MethodByName("MarshalText")
	if !ok {
		m, _ = p.MethodByName("MarshalText")
	}
	u, ok := t.MethodByName("UnmarshalText")
	if !ok {
		u, _ = p.MethodByName("UnmarshalText")
	}
	return generated(m), generated(u)
}

func generated(m reflect.Method) bool {
	pc := m.Func.Pointer()
	f := runtime.FuncForPC(pc)
	if f == nil {
		return false
	}
	file, _ := f.FileLine(pc)
	return file == "<autogenerated>"
}

// parts builds the nodes that n consists of.
func (b *builder) parts(n *node, path string, addressable bool) (err error) {
	t := n.t
	switch t.Kind() {
	case reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer:
		return fmt.Errorf("%s is a %s, which JSON cannot encode: tag it `json:\"-\"` if it need not be stored, %s", path, t.Kind(), useCodec)
	case reflect.Float32, reflect.Float64:
		n.op = opFloat
	case reflect.String:
		n.op = opString
		if t == number {
			n.op = opNumber
		}
	case reflect.Map:
		n.op = opMap
		if err := n.checkKey(path); err != nil {
			return err
		}
		n.elem, err = b.build(t.Elem(), path, false, false)
	case reflect.Pointer:
		n.op = opPointer
		n.elem, err = b.build(t.Elem(), path, true, true)
	case reflect.Slice:
		n.op = opSlice
		if t.Elem().Kind() == reflect.Uint8 {
			if p := reflect.PointerTo(t.Elem()); !p.Implements(jsonMarshaler) && !p.Implements(textMarshaler) {
				n.op = opBytes
				return nil
			}
		}
		n.elem, err = b.build(t.Elem(), path, true, false)
	case reflect.Array:
		n.op = opArray
		n.elem, err = b.build(t.Elem(), path, addressable, false)
	case reflect.Struct:
		n.op = opStruct
		err = b.structParts(n, path, addressable)
	}
	return err
}

// checkKey returns an error for keys that JSON does not give back.
func (n *node) checkKey(path string) error {
	k := n.t.Key()
	texts := textUnmarshals(k)
	n.textKeys = texts
	switch {
	case texts && k.Size() > 0 && k.Kind() != reflect.Interface && k.Implements(textUnmarshaler) && k.Kind() != reflect.Pointer:
		return fmt.Errorf("%s has a key of type %s whose UnmarshalText has no pointer receiver, so what it reads is lost: give it one, %s", path, k, useCodec)
	case k.Kind() == reflect.String || k.Kind() >= reflect.Int && k.Kind() <= reflect.Uintptr:
		if texts || !k.Implements(textMarshaler) || k.Kind() == reflect.String {
			return nil
		}
	case k.Kind() != reflect.Pointer && k.Kind() != reflect.Interface && k.Implements(textMarshaler) && texts:
		return nil
	case !k.Implements(textMarshaler):
		return fmt.Errorf("%s has a key of type %s, which JSON cannot encode: use strings or integers, %s", path, k, useCodec)
	}
	return fmt.Errorf("%s has a key of type %s, which JSON can write and not read: use strings or integers, give it UnmarshalText, %s", path, k, useCodec)
}

func textUnmarshals(key reflect.Type) bool { return reflect.PointerTo(key).Implements(textUnmarshaler) }

// structParts builds the fields of a struct, those of embedded structs among them.
func (b *builder) structParts(n *node, path string, addressable bool) error {
	if _, ok := reflect.PointerTo(n.t).MethodByName("ProtoReflect"); ok {
		return fmt.Errorf("%s is a protobuf message, of which JSON would lose a part: use WithCodec(protobuf.Codec{}) of github.com/tiercache/tiercache/tier/codec/protobuf", path)
	}
	if err := b.collect(n, n.t, "", nil, path, addressable, nil); err != nil {
		return err
	}
	slices.SortStableFunc(n.fields, func(x, y field) int { return strings.Compare(x.name, y.name) })
	for i := 1; i < len(n.fields); i++ {
		if x, y := n.fields[i-1], n.fields[i]; x.name == y.name {
			return fmt.Errorf("%s%s and %s%s are both %q in JSON, which would lose one: name one otherwise by a tag (or tag it `json:\"-\"` if that is meant)", path, x.path, path, y.path, x.name)
		}
	}
	return nil
}

// collect appends the fields of t, which is n's type or a struct embedded in it at index and at, to those of n.
func (b *builder) collect(n *node, t reflect.Type, at string, index []int, path string, addressable bool, above []reflect.Type) error {
	if slices.Contains(above, t) {
		return fmt.Errorf("%s%s embeds itself, of which JSON would lose the inner one: give it a name", path, at)
	}
	above = append(above, t)
	for i := range t.NumField() {
		f := t.Field(i)
		where := path + at + "." + f.Name
		tag := f.Tag.Get("json")
		if tag == "-" || f.Name == "_" {
			continue
		}
		inner, pointer := f.Type, false
		if f.Anonymous && inner.Kind() == reflect.Pointer {
			inner, pointer = inner.Elem(), true
		}
		embedsStruct := f.Anonymous && inner.Kind() == reflect.Struct
		if !f.IsExported() && !embedsStruct {
			return fmt.Errorf("%s is not exported, so JSON would lose it (tag it `json:\"-\"` if that is meant)", where)
		}
		name, options, _ := strings.Cut(tag, ",")
		if !validName(name) {
			name = ""
		}
		if !f.IsExported() && pointer {
			return fmt.Errorf("%s is an embedded pointer to a struct that is not exported, which JSON cannot read: embed the struct, or export its type", where)
		}
		fieldIndex := append(slices.Clone(index), i)
		if embedsStruct && name == "" {
			had := len(n.fields)
			if err := b.collect(n, inner, at+"."+f.Name, fieldIndex, path, addressable || pointer, above); err != nil {
				return err
			}
			if pointer && !slices.ContainsFunc(n.fields[had:], func(f field) bool { return f.omits == never && len(f.index) == len(fieldIndex)+1 }) {
				return fmt.Errorf("%s is an embedded pointer to a struct without a field that is always written, so JSON could lose it: embed the struct, or give it a name", where)
			}
			continue
		}
		if name == "" {
			name = f.Name
		}
		node, err := b.build(f.Type, where, addressable, false)
		if err != nil {
			return err
		}
		if !f.IsExported() && node.op != opStruct {
			return fmt.Errorf("%s is not exported, and JSON cannot use its methods: export its type, or give the field a name that is exported", where)
		}
		out := field{index: fieldIndex, path: at + "." + f.Name, name: name, n: node}
		if err := out.setOptions(f.Type, options, where); err != nil {
			return err
		}
		n.fields = append(n.fields, out)
	}
	return nil
}

// setOptions applies the options of a tag.
func (f *field) setOptions(t reflect.Type, options, where string) error {
	for option := range strings.SplitSeq(options, ",") {
		switch option {
		case "omitempty":
			switch t.Kind() {
			case reflect.Slice, reflect.Map:
				f.omits = emptyLosing
			case reflect.Array, reflect.String:
				f.omits = empty
			case reflect.Bool, reflect.Interface, reflect.Pointer:
				f.omits = max(f.omits, zero)
			case reflect.Float32, reflect.Float64:
				f.omits = zeroLosing
			default:
				if t.Kind() >= reflect.Int && t.Kind() <= reflect.Uintptr {
					f.omits = max(f.omits, zero)
				}
			}
		case "omitzero":
			switch {
			case t.Implements(zeroer) || reflect.PointerTo(t).Implements(zeroer):
				f.omits = zeroByMethod
			case f.omits == never && holdsFloats(t):
				f.omits = zeroLosing
			case f.omits == never:
				f.omits = zero
			}
		case "string":
			quotes := t
			if t.Kind() == reflect.Pointer && t.Name() == "" {
				quotes = t.Elem()
			}
			k := quotes.Kind()
			if f.quoted = k >= reflect.Bool && k <= reflect.Float64 || k == reflect.String; !f.quoted {
				continue
			}
			n := f.n
			if n.op == opPointer {
				n = n.elem
			}
			if n.op == opText || n.op == opCustom {
				return fmt.Errorf("%s has the option \"string\" and a type whose methods encode it, %s, which JSON cannot read: remove the option", where, quotes)
			}
		}
	}
	return nil
}

// holdsFloats reports whether values of t have floats in them.
func holdsFloats(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Float32, reflect.Float64:
		return true
	case reflect.Array:
		return holdsFloats(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if holdsFloats(t.Field(i).Type) {
				return true
			}
		}
	}
	return false
}

// validName reports whether encoding/json takes the name in a tag.
func validName(s string) bool {
	if s == "" {
		return false
	}
	for _, c := range s {
		if !strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", c) && !unicode.IsLetter(c) && !unicode.IsDigit(c) {
			return false
		}
	}
	return true
}

// finish decides for every node what has to be looked for in its values.
func (b *builder) finish() {
	for _, n := range b.all {
		n.may = n.own()
	}
	for again := true; again; {
		again = false
		for _, n := range b.all {
			was := n.may
			if n.elem != nil {
				n.may |= n.elem.may
			}
			for _, f := range n.fields {
				n.may |= f.n.may
			}
			again = again || n.may != was
		}
	}
}

// own is what has to be looked for in the values of n themselves.
func (n *node) own() (m mode) {
	switch n.op {
	case opAny:
		return losses | depths | texts | failures
	case opRaw, opNumber:
		return losses | failures
	case opString:
		return texts
	case opText:
		if lossyValues[nameOf(n.t)] != nil {
			m = losses
		}
		return m | texts | failures
	case opCustom:
		if n.t.Implements(typeZoned) {
			m = losses
		}
		return m | failures
	case opFloat:
		return failures
	case opPointer:
		if n.elem.canBeNull() {
			m |= losses
		}
		if n.elem.op == opCustom && n.elem.t != timeTime {
			m |= nulls
		}
	case opMap:
		m = texts
		if n.textKeys {
			m |= losses
		}
	case opStruct:
		for _, f := range n.fields {
			if f.losesZero() {
				m |= losses
			}
		}
	}
	if n.reaches(n, nil) {
		m |= depths | failures
	}
	return m
}

// canBeNull reports whether a value is written as null, as a nil pointer to it is.
func (n *node) canBeNull() bool {
	switch n.op {
	case opPointer, opSlice, opBytes, opMap, opAny, opRaw:
		return true
	}
	return false
}

// reaches reports whether values of n hold such of to.
func (n *node) reaches(to *node, seen map[*node]bool) bool {
	if seen == nil {
		seen = make(map[*node]bool)
	}
	next := func(m *node) bool {
		if m == to {
			return true
		}
		if m == nil || seen[m] {
			return false
		}
		seen[m] = true
		return m.reaches(to, seen)
	}
	if next(n.elem) {
		return true
	}
	for _, f := range n.fields {
		if next(f.n) {
			return true
		}
	}
	return false
}
