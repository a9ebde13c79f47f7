package shape

import (
	"crypto/x509"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Types whose methods encode them. Each names the receivers, v for the value and p for the pointer.
type (
	both      struct{ n int } // v, p
	bothOnPtr struct{ n int } // p, p
	onlyWrite struct{ N int } // v
	writePtr  struct{ N int } // p
	onlyRead  struct{ N int } // p
	textBoth  struct{ n int }
	textWrite int
	textRead  int
	textJSON  struct{ N int } // MarshalText and UnmarshalJSON
	jsonText  struct{ N int } // MarshalJSON and UnmarshalText
	masked    string          // a MarshalText that hides what it holds
	badText   string          // its text is not UTF-8
	level     int
	keyRead   string // UnmarshalText alone
	keyWrite  string // MarshalText alone
	keyLower  string // its UnmarshalText changes what it is given
	intText   int    // MarshalText alone
	boolText  bool
)

func (b both) MarshalJSON() ([]byte, error)       { return json.Marshal(b.n) }
func (b *both) UnmarshalJSON(t []byte) error      { return json.Unmarshal(t, &b.n) }
func (b *bothOnPtr) MarshalJSON() ([]byte, error) { return json.Marshal(b.n) }
func (b *bothOnPtr) UnmarshalJSON(t []byte) error { return json.Unmarshal(t, &b.n) }
func (onlyWrite) MarshalJSON() ([]byte, error)    { return []byte(`"***"`), nil }
func (*writePtr) MarshalJSON() ([]byte, error)    { return []byte(`"***"`), nil }
func (r *onlyRead) UnmarshalJSON([]byte) error    { r.N = -1; return nil }
func (b textBoth) MarshalText() ([]byte, error)   { return fmt.Append(nil, b.n), nil }
func (b *textBoth) UnmarshalText(t []byte) error {
	_, err := fmt.Sscan(string(t), &b.n)
	return err
}
func (textWrite) MarshalText() ([]byte, error)  { return []byte("x"), nil }
func (*textRead) UnmarshalText([]byte) error    { return nil }
func (textJSON) MarshalText() ([]byte, error)   { return []byte("x"), nil }
func (*textJSON) UnmarshalJSON([]byte) error    { return nil }
func (jsonText) MarshalJSON() ([]byte, error)   { return []byte(`"x"`), nil }
func (*jsonText) UnmarshalText([]byte) error    { return nil }
func (masked) MarshalText() ([]byte, error)     { return []byte("***"), nil }
func (b badText) MarshalText() ([]byte, error)  { return []byte(b), nil }
func (b *badText) UnmarshalText(t []byte) error { *b = badText(t); return nil }
func (l level) MarshalText() ([]byte, error)    { return fmt.Append(nil, "level ", int(l)), nil }
func (l *level) UnmarshalText(t []byte) error {
	_, err := fmt.Sscanf(string(t), "level %d", (*int)(l))
	return err
}
func (k *keyRead) UnmarshalText(t []byte) error { *k = keyRead(t); return nil }
func (keyWrite) MarshalText() ([]byte, error)   { return []byte("x"), nil }
func (k *keyLower) UnmarshalText(t []byte) error {
	*k = keyLower(strings.ToLower(string(t)))
	return nil
}
func (intText) MarshalText() ([]byte, error)  { return []byte("x"), nil }
func (boolText) MarshalText() ([]byte, error) { return []byte("x"), nil }

// Types that embed one with methods.
type (
	Both     = both
	Stamp    struct{ time.Time }
	Answered struct {
		time.Time
		Answer string
	}
	AnsweredPtr struct {
		*time.Time
		Answer string
	}
	Deep   struct{ Answered }
	Hidden struct {
		time.Time
		note string
	}
	Tagged struct {
		time.Time `json:"at"`
		Answer    string
	}
	Excluded struct {
		time.Time `json:"-"`
		Answer    string
	}
	Noted struct {
		time.Time
		Note string `json:"-"`
	}
	Addressed struct {
		netip.Addr
		Port int
	}
	Twice struct {
		time.Time
		netip.Addr
	} // its text methods cancel each other
	TwoStamps struct {
		Stamp
		Answered
	} // all cancel each other
	Iface struct {
		json.Marshaler
		X int
	}
	IfaceOnly struct{ json.Marshaler }
	// Own has methods of its own, for all its fields.
	Own struct {
		time.Time
		Answer string
	}
	// HalfOwn writes by a method of its own, and reads by that of the time.
	HalfOwn struct{ time.Time }
	// HalfOwnMore does so, too, and has another field.
	HalfOwnMore struct {
		time.Time
		Answer string
	}
	OwnOf[T any] struct {
		time.Time
		Answer T
	}
	PlainOf[T any] struct {
		time.Time
		Answer T
	}
	ReadsOnly struct {
		onlyReadBase
		X int
	}
	onlyReadBase struct{ N int }
)

func (o Own) MarshalJSON() ([]byte, error) { return json.Marshal([]any{o.Time, o.Answer}) }
func (o *Own) UnmarshalJSON(b []byte) error {
	return json.Unmarshal(b, &[]any{&o.Time, &o.Answer})
}
func (h HalfOwn) MarshalJSON() ([]byte, error)     { return json.Marshal(h.Format(time.DateOnly)) }
func (h HalfOwnMore) MarshalJSON() ([]byte, error) { return json.Marshal(h.Answer) }
func (o OwnOf[T]) MarshalJSON() ([]byte, error)    { return json.Marshal([]any{o.Time, o.Answer}) }
func (o *OwnOf[T]) UnmarshalJSON(b []byte) error {
	return json.Unmarshal(b, &[]any{&o.Time, &o.Answer})
}
func (*onlyReadBase) UnmarshalJSON([]byte) error { return nil }

// Types with field names that meet.
type (
	A       struct{ X int }
	B       struct{ X int }
	C       struct{ Other int }
	OfC     struct{ C }
	AlsoOfC struct{ C }
	Renamed struct {
		Y int `json:"X"`
	}
	Loop struct {
		*Loop
		X int
	}
	lowered  struct{ X int }
	Optional struct {
		X int `json:",omitempty"`
	}
	Optional0 struct {
		X int `json:",omitzero"`
	}
	OnlyPtr struct{ *Optional }
)

// structOf makes a struct of ints by names and tags, of which go vet would complain.
func structOf(namesAndTags ...string) any {
	var fields []reflect.StructField
	for i := 0; i < len(namesAndTags); i += 2 {
		f := reflect.StructField{Name: namesAndTags[i], Type: reflect.TypeFor[int](), Tag: reflect.StructTag(namesAndTags[i+1])}
		if f.Name[0] >= 'a' {
			f.PkgPath = "shape"
		}
		fields = append(fields, f)
	}
	return reflect.New(reflect.StructOf(fields)).Elem().Interface()
}

// These are read by methods that set a copy, or what is nil.
type (
	readByValue  struct{ N int }
	mapByValue   map[string]int
	textByValue  struct{ N int }
	keyByValue   string
	emptyByValue struct{} // has nothing to lose
	embedsReader struct{ Reader }
	Reader       interface {
		json.Marshaler
		json.Unmarshaler
	}
)

func (r readByValue) MarshalJSON() ([]byte, error) { return json.Marshal(r.N) }
func (r readByValue) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &r.N) } //nolint:staticcheck // that is the mistake
func (m mapByValue) MarshalJSON() ([]byte, error)  { return json.Marshal(map[string]int(m)) }
func (m mapByValue) UnmarshalJSON(b []byte) error  { return json.Unmarshal(b, (*map[string]int)(&m)) }
func (r textByValue) MarshalText() ([]byte, error) { return fmt.Append(nil, r.N), nil }
func (r textByValue) UnmarshalText(b []byte) error { _, err := fmt.Sscan(string(b), &r.N); return err }
func (k keyByValue) MarshalText() ([]byte, error)  { return []byte(k), nil }
func (keyByValue) UnmarshalText([]byte) error      { return nil }
func (emptyByValue) MarshalJSON() ([]byte, error)  { return []byte("1"), nil }
func (emptyByValue) UnmarshalJSON([]byte) error    { return nil }

// These are read by calling a method of a nil pointer.
type (
	byPointer     struct{ *time.Time }
	textByPointer struct{ *netip.Addr }
)

func TestTypesThatJSONWouldLoseAPartOfAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		v    any
		want string // what the error has in it
	}{
		// what JSON cannot encode
		"chan": {struct{ C chan int }{}, ".C is a chan"},
		"func": {struct{ F func() }{}, ".F is a func"},
		"func, tagged": {struct {
			F func() `json:"f,omitempty"`
		}{}, ".F is a func"},
		"complex": {struct {
			A []map[string]struct{ C complex128 }
		}{}, ".A.C is a complex"},
		"complex64":      {complex64(0), "complex64"},
		"unsafe pointer": {struct{ P *atomic.Pointer[int] }{}, ".P"},

		// methods of what is nil when it is read
		"time by an embedded pointer":     {struct{ *time.Time }{}, ".Time is an embedded pointer whose methods"},
		"text by an embedded pointer":     {struct{ A textByPointer }{}, ".A.Addr is an embedded pointer whose methods"},
		"through another embedded struct": {struct{ byPointer }{}, ".byPointer.Time is an embedded pointer whose methods"},
		// what is read by a value receiver
		"JSON by value":             {readByValue{1}, " is a shape.readByValue whose UnmarshalJSON has no pointer receiver"},
		"JSON by value, in a slice": {struct{ A []readByValue }{}, ".A is a shape.readByValue whose UnmarshalJSON has no"},
		"JSON of a map, by value":   {mapByValue{}, "whose UnmarshalJSON has no pointer receiver"},
		"text by value":             {struct{ P *textByValue }{}, ".P is a shape.textByValue whose UnmarshalText has no pointer receiver"},
		"by an embedded interface":  {struct{ E embedsReader }{}, ".E is a shape.embedsReader whose UnmarshalJSON has no pointer receiver"},
		"keys by value":             {map[textByValue]int{}, "a key of type shape.textByValue whose UnmarshalText has no pointer"},
		"keys of strings by value":  {map[keyByValue]int{}, "a key of type shape.keyByValue whose UnmarshalText has no pointer"},

		"by a pointer to an embedded one": {struct{ P []*byPointer }{}, ".P.Time is an embedded pointer whose methods"},
		"by an embedded pointer, the rest not stored": {struct {
			*netip.Addr
			X int `json:"-"`
		}{}, ".Addr is an embedded pointer whose methods"},

		// fields that are left out
		"unexported":                 {reflect.ValueOf(struct{ X, x int }{}).Interface(), ".x is not exported"},
		"unexported in a slice":      {[]struct{ x int }{}, ".x is not exported"},
		"unexported in a map":        {map[string]struct{ x int }{}, ".x is not exported"},
		"unexported behind pointers": {struct{ P **struct{ x int } }{}, ".P.x is not exported"},
		"unexported, with a tag":     {structOf("x", `json:"x"`), ".x is not exported"},
		"unexported embedded name":   {struct{ secret }{}, ".secret is not exported"},
		"embedded error":             {struct{ error }{}, ".error is not exported"},
		"embedded any":               {struct{ any }{}, ".any is not exported"},
		"state":                      {struct{ B strings.Builder }{}, ".B.addr is not exported"},
		"mutex":                      {struct{ Mu sync.Mutex }{}, ".Mu"},
		"embedded mutex": {struct {
			sync.Mutex
			X int
		}{}, ".Mutex"},
		"url":                {struct{ U *url.URL }{}, ".U.User.username is not exported"},
		"unexported pointer": {struct{ *lowered }{}, ".lowered is an embedded pointer"},

		// names
		"two embedded, one name": {struct {
			A
			B
		}{}, ".A.X and "},
		"hidden by the outer": {struct {
			A
			X int
		}{}, ".A.X"},
		"hidden, in a pointer": {struct {
			*A
			X string
		}{}, ".A.X"},
		"one tagged": {struct {
			A
			Renamed
		}{}, ".Renamed.Y"},
		"duplicate tags": {structOf("P", `json:"n"`, "Q", `json:"n"`), `are both "n"`},
		"a tag and a name": {struct {
			P int `json:"Q"`
			Q int
		}{}, `are both "Q"`},
		"twice at one depth": {struct {
			OfC
			AlsoOfC
		}{}, ".OfC.C.Other and "},
		"at two depths": {struct {
			C
			OfC
		}{}, ".C.Other and "},
		"duplicate tags, omitempty":       {structOf("P", `json:"n,omitempty"`, "Q", `json:"n,omitempty"`), `are both "n"`},
		"embeds itself":                   {Loop{}, ".Loop embeds itself"},
		"embedded pointer, all omitted":   {struct{ *Optional }{}, ".Optional is an embedded pointer"},
		"embedded pointer, omitzero":      {struct{ *Optional0 }{}, ".Optional0 is an embedded pointer"},
		"embedded pointer to an empty":    {struct{ *EmptyStruct }{}, ".EmptyStruct is an embedded pointer"},
		"embedded pointer to one of such": {struct{ *OnlyPtr }{}, "is an embedded pointer"},

		// methods of embedded fields
		"embedded time": {struct {
			time.Time
			Answer string
		}{}, ".Answer"},
		"embedded time, named":      {Answered{}, "Answered.Answer"},
		"embedded time, pointer":    {AnsweredPtr{}, "AnsweredPtr.Answer"},
		"embedded time, deep":       {Deep{}, "Deep.Answered.Answer"},
		"embedded time, unexported": {Hidden{}, "Hidden.note"},
		"embedded time, tagged":     {Tagged{}, "Tagged.Answer"},
		"embedded time, excluded":   {Excluded{}, "Excluded.Answer"},
		"embedded time, in a slice": {[]Answered{}, ".Answer"},
		"embedded time, in a map":   {map[string]*Answered{}, ".Answer"},
		"embedded time, generic":    {PlainOf[int]{}, ".Answer"},
		"embedded text":             {Addressed{}, "Addressed.Port"},
		"embedded JSON beside text": {Twice{}, "Twice.Addr"},
		"embedded, cancelling":      {TwoStamps{}, "is not exported"},
		"embedded interface":        {Iface{}, "Iface"},
		"embedded interface alone":  {IfaceOnly{}, "IfaceOnly"},
		"embedded raw message": {struct {
			json.RawMessage
			X int
		}{}, ".X"},
		"own write, promoted read":       {HalfOwn{}, "HalfOwn"},
		"own write, promoted read, X":    {HalfOwnMore{}, "HalfOwnMore.Answer"},
		"promoted read alone":            {ReadsOnly{}, "UnmarshalJSON"},
		"a struct without a name in one": {struct{ S struct{ time.Time } }{}, ".S"},

		// methods that do not match
		"write only":               {onlyWrite{}, "onlyWrite"},
		"write only, field":        {struct{ M onlyWrite }{}, ".M is a shape.onlyWrite"},
		"write only, pointer":      {struct{ M *onlyWrite }{}, ".M is a shape.onlyWrite"},
		"write only by pointer":    {struct{ M writePtr }{}, ".M is a shape.writePtr"},
		"write only, slice":        {struct{ M []onlyWrite }{}, ".M is"},
		"write only, map":          {struct{ M map[string]onlyWrite }{}, ".M is"},
		"read only":                {struct{ R onlyRead }{}, ".R is a shape.onlyRead"},
		"read only, map":           {map[string]onlyRead{}, "onlyRead"},
		"text write only":          {struct{ M textWrite }{}, ".M is"},
		"text read only":           {struct{ M textRead }{}, ".M is"},
		"text and JSON":            {struct{ M textJSON }{}, ".M is"},
		"JSON and text":            {struct{ M jsonText }{}, ".M is"},
		"masking":                  {struct{ Password masked }{}, ".Password is"},
		"pointer methods in a map": {map[string]bothOnPtr{}, "pointer receiver"},
		"in a struct in a map":     {map[string]struct{ B bothOnPtr }{}, ".B"},
		"in an array in a map":     {map[string][2]bothOnPtr{}, "pointer receiver"},
		"big.Int in a map":         {map[string]big.Int{}, "pointer receiver"},
		"big.Float":                {struct{ F *big.Float }{}, ".F is a big.Float"},
		"option string on text": {struct {
			L level `json:",string"`
		}{}, ".L has the option"},

		// interfaces
		"error":          {struct{ Err error }{}, ".Err is an interface with methods"},
		"errors":         {struct{ Errs []error }{}, ".Errs is an interface"},
		"stringer":       {struct{ S fmt.Stringer }{}, ".S is an interface"},
		"in a map":       {map[string]fmt.Stringer{}, "is an interface"},
		"json.Marshaler": {struct{ M json.Marshaler }{}, ".M is an interface"},
		"itself":         {reflect.New(reflect.TypeFor[error]()).Interface(), "is an interface"},
		"embedded with a name": {struct {
			fmt.Stringer `json:"s"`
		}{}, ".Stringer"},
		"pointer to interface": {struct{ P *error }{}, ".P is an interface"},
		"of text":              {struct{ M encoding.TextMarshaler }{}, ".M is an interface"},

		// map keys
		"struct keys":          {map[inner]string{}, "key"},
		"float keys":           {struct{ M map[float64]int }{}, ".M has a key"},
		"bool keys":            {map[bool]int{}, "key"},
		"any keys":             {map[any]int{}, "key"},
		"array keys":           {map[[2]int]int{}, "key"},
		"pointer keys":         {map[*textBoth]int{}, "key"},
		"interface keys":       {map[encoding.TextMarshaler]int{}, "key"},
		"keys that only write": {map[boolText]int{}, "key"},
		"int keys that write":  {map[intText]int{}, "key"},
		"complex keys":         {map[complex128]int{}, "key"},

		"protobuf message": {struct{ M *message }{}, "tier/codec/protobuf"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := JSONOf(reflect.TypeOf(c.v))
			require.ErrorContains(t, err, c.want)
		})
	}
}

type (
	EmptyStruct struct{}
	message     struct{ state int }
)

func (*message) ProtoReflect() {}

var _, _ = Hidden{note: ""}, message{state: 1} // fields that only reflection uses

func TestTypesThatJSONGivesBackAreAccepted(t *testing.T) {
	for _, v := range []any{
		0, "", inner{}, list{}, tree{}, time.Time{}, []byte(nil), map[string]any{}, map[int]string{}, map[secret]int{}, map[time.Time]int{},
		struct {
			c chan int `json:"-"`
			X int
		}{}, struct{ inner }{}, struct{ Embedded }{}, struct{ _ int }{}, struct {
			lowered `json:"l"`
		}{},
		both{}, bothOnPtr{}, struct{ B bothOnPtr }{}, []bothOnPtr{}, map[string]*bothOnPtr{}, map[string][]bothOnPtr{}, [2]bothOnPtr{}, map[string]both{},
		textBoth{}, struct{ L level }{}, map[level]int{}, map[textBoth]int{}, map[keyRead]int{}, map[keyWrite]int{}, map[netip.Addr]int{},
		Stamp{}, Noted{}, Own{}, OwnOf[string]{}, struct{ S Stamp }{}, struct{ *Embedded }{},
		struct {
			A A
			B B
		}{}, struct {
			A
			C
		}{}, struct {
			P int `json:"n"`
			Q int `json:"N"`
		}{},
		big.NewInt(1), struct{ I big.Int }{}, big.NewRat(1, 2), net.IP{}, net.IPNet{}, struct{ U uintptr }{},
		json.RawMessage{}, json.Number(""), struct{ A any }{}, []any{}, struct{ P **int }{},
		struct {
			D time.Duration
			M time.Month
		}{}, EmptyStruct{}, struct{ E *EmptyStruct }{}, [0]int{},
	} {
		_, err := JSONOf(reflect.TypeOf(v))
		require.NoError(t, err, "%T", v)
	}
}

// checkValue is what a Set does: nil if the value comes back, by its own word.
func checkValue(t *testing.T, j *JSON, v reflect.Value) (encoded []byte, err error) {
	p := reflect.New(v.Type())
	p.Elem().Set(v)
	encoded, err = Marshal(p.Interface())
	if err != nil {
		return nil, errors.Join(j.Explain(p.Interface()), err)
	}
	return encoded, j.Check(p.Interface(), encoded)
}

func ptr[T any](v T) *T { return &v }

type (
	withTags struct {
		Tags []string        `json:",omitempty"`
		Map  map[string]int  `json:",omitempty"`
		Raw  json.RawMessage `json:",omitempty"`
		Num  json.Number     `json:",omitempty"`
		At   time.Time       `json:",omitzero"`
		Day  day             `json:",omitzero"`
		DayP *day            `json:",omitzero"`
		Zero []string        `json:",omitzero"`
		N    *int            `json:",omitempty"`
		Any  any             `json:",omitempty"`
	}
	day       struct{ Year, Day int } // is zero without a year
	negatives struct {
		Empty float32                `json:",omitempty"`
		Zero  float64                `json:",omitzero"`
		In    struct{ A [2]float64 } `json:",omitzero"`
		Own   zeroed                 `json:",omitzero"`
	}
	zeroed struct{ F float64 }

	document struct {
		Title string
		Meta  map[string]any
		Raw   json.RawMessage
		Num   json.Number
		Deep  []map[string]*document
		Err   badText
		F     float64
		G     float32
		Ptr   **int
		List  *[]int
		Any   *any
		Keys  map[level]string
		Low   map[keyLower]int
		Times map[time.Time]int
		Names map[string]int
	}
)

func (d day) IsZero() bool    { return d.Year == 0 }
func (z zeroed) IsZero() bool { return z.F == 0 }

var zero32 = float32(math.Copysign(0, -1)) * -1

func oidOf(text string) x509.OID {
	id, err := x509.ParseOID(text)
	if err != nil {
		panic(err)
	}
	return id
}

func TestValuesThatJSONWouldChangeAreFound(t *testing.T) {
	type meta = map[string]any
	whole := func(change func(d *document)) any {
		d := document{Raw: json.RawMessage(`{}`), Num: "1"}
		change(&d)
		return d
	}
	for name, c := range map[string]struct {
		v    any
		want string // empty: it comes back
	}{
		"whole": {whole(func(*document) {}), ""},

		"int":            {meta{"n": 1}, ""},
		"int, 2^53":      {meta{"n": int64(1 << 53)}, ""},
		"int, beyond":    {meta{"n": int64(1<<53 + 1)}, "2^53"},
		"int64, below":   {meta{"n": int64(-1<<53 - 1)}, "2^53"},
		"uint64":         {meta{"n": uint64(math.MaxUint64)}, "2^53"},
		"int, nested":    {meta{"a": []any{meta{"n": int64(math.MaxInt64)}}}, "2^53"},
		"int in a field": {whole(func(d *document) { d.Meta = meta{"n": int64(math.MaxInt64)} }), ".Meta[…] holds an integer"},
		"int in a deeper field": {whole(func(d *document) {
			d.Deep = []map[string]*document{{"k": {Raw: json.RawMessage("1"), Num: "1", Meta: meta{"n": int64(math.MaxInt64)}}}}
		}), ".Deep[0][…].Meta[…] holds"},
		"float32":          {meta{"n": float32(0.5)}, ""},
		"float32, rounded": {meta{"n": float32(0.1)}, "float32"},
		"bytes":            {meta{"b": []byte("x")}, "[]uint8"},
		"time":             {meta{"t": time.Unix(1, 0)}, "time.Time"},
		"duration":         {meta{"t": time.Second}, "time.Duration"},
		"struct":           {meta{"s": inner{1}}, "shape.inner"},
		"pointer":          {meta{"s": ptr(1)}, "*int"},
		"strings":          {meta{"s": []string{"a"}}, "[]string"},
		"string map":       {meta{"s": map[string]string{"a": "b"}}, "map[string]string"},
		"named string":     {meta{"s": secret("a")}, "shape.secret"},
		"nil map":          {meta{"s": meta(nil)}, "map[string]interface"},
		"nil slice":        {meta{"s": []any(nil)}, "[]interface"},
		"number":           {meta{"s": json.Number("1")}, "json.Number"},
		"raw":              {meta{"s": json.RawMessage("1")}, "json.RawMessage"},
		"error":            {meta{"s": errors.New("x")}, "*errors.errorString"},
		"func":             {meta{"f": func() {}}, "func()"},
		"chan":             {meta{"f": make(chan int)}, "chan int"},
		"complex":          {meta{"f": complex(1, 2)}, "complex128"},
		"NaN":              {meta{"f": math.NaN()}, "not a number"},
		"int keys":         {meta{"m": map[int]any{1: 1}}, "map[int]"},
		"JSON's own":       {meta{"a": nil, "b": true, "c": 1.5, "d": "text", "e": []any{}, "f": meta{}, "g": []any{nil, meta{"x": "y"}}}, ""},
		"named map":        {map[secret]any{"x": []byte{}}, "[]uint8"},
		"slice of any":     {[]any{1.0, []int{1}}, "[1] holds a []int"},
		"array of any":     {[2]any{1, inner{}}, "[1] holds"},
		"pointer to any":   {whole(func(d *document) { d.Any = ptr(any(inner{})) }), ".Any holds"},

		"invalid text":            {whole(func(d *document) { d.Title = "a\xffb" }), ".Title is text that is not UTF-8"},
		"invalid text alone":      {"a\xff", "is text"},
		"half a surrogate":        {"\xed\xa0\x80", "is text"},
		"cut short":               {"\xe2\x82", "is text"},
		"invalid, in any":         {meta{"x": []any{"\xff"}}, "is text"},
		"invalid key, in any":     {meta{"\xff": 1.0}, "is text"},
		"two keys become one":     {map[string]int{"\xff": 1, "\xfe": 2}, "is text"},
		"invalid key":             {whole(func(d *document) { d.Names = map[string]int{"a\xff": 1} }), ".Names[key] is text"},
		"invalid in slices":       {[]secret{"a", "\xff"}, "[1] is text"},
		"invalid by a method":     {whole(func(d *document) { d.Err = "\xff" }), ".Err"},
		"replacement character":   {"a\ufffdb", ""},
		"its escape":              {`\ufffd`, ""},
		"its escape, escaped":     {`a\\ufffd`, ""},
		"it, and invalid":         {"a\ufffdb\xff", "is text"},
		"controls and separators": {"\x00\x1f\u2028\u2029<>&\"\\/\U0001F600\u007f", ""},
		"any bytes":               {[]byte("\xff\x00"), ""},

		"raw JSON":            {json.RawMessage(`{"a":"b c <&>","d":[1,2]}`), ""},
		"raw separators":      {json.RawMessage("\"\u2028\""), ""},
		"raw escapes":         {json.RawMessage(`"\ufffd \u003c \" \\"`), ""},
		"raw null":            {json.RawMessage("null"), ""},
		"raw, white space":    {json.RawMessage(`{"a": 1}`), "white space"},
		"raw, new line":       {json.RawMessage("[1,\n2]"), "white space"},
		"raw, around":         {json.RawMessage(" 1"), "white space"},
		"raw, nil":            {json.RawMessage(nil), "nil json.RawMessage"},
		"raw, nil in a field": {whole(func(d *document) { d.Raw = nil }), ".Raw is a nil"},
		"raw, not JSON":       {json.RawMessage("{"), "not JSON"},
		"raw, empty":          {json.RawMessage{}, "not JSON"},
		"raw, in a map":       {map[string]json.RawMessage{"a": json.RawMessage("[ ]")}, "white space"},
		"raw, pointer":        {ptr(json.RawMessage("null")), "points to what is nil"},
		"number, empty":       {whole(func(d *document) { d.Num = "" }), ".Num is an empty"},
		"number, no number":   {whole(func(d *document) { d.Num = "x" }), ".Num is a json.Number"},
		"number, long":        {json.Number("123456789012345678901234567890.10"), ""},

		"NaN in a field":      {whole(func(d *document) { d.F = math.NaN() }), ".F is not a number"},
		"infinite in a field": {whole(func(d *document) { d.G = float32(math.Inf(-1)) }), ".G is not a number"},
		"NaN in a slice":      {[]float64{1, math.NaN()}, "[1] is not a number"},
		"negative zero":       {math.Copysign(0, -1), ""},
		"smallest":            {[]float64{math.SmallestNonzeroFloat64, math.MaxFloat64, 0.1}, ""},
		"float32s":            {[]float32{0.1, math.SmallestNonzeroFloat32, math.MaxFloat32}, ""},
		"integers":            {[]int64{math.MinInt64, math.MaxInt64, 1<<53 + 1}, ""},
		"unsigned":            {[]uint64{math.MaxUint64}, ""},

		"pointer to a nil one":   {whole(func(d *document) { d.Ptr = ptr((*int)(nil)) }), ".Ptr points to"},
		"pointer to nil slice":   {whole(func(d *document) { d.List = ptr([]int(nil)) }), ".List points to"},
		"pointer to empty slice": {whole(func(d *document) { d.List = ptr([]int{}) }), ""},
		"pointer to nil any":     {whole(func(d *document) { d.Any = ptr(any(nil)) }), ".Any points to"},
		"pointers":               {whole(func(d *document) { d.Ptr = ptr(ptr(1)) }), ""},
		"slices":                 {[][]int{nil, {}}, ""},
		"maps":                   {[]map[string]int{nil, {}}, ""},
		"byte slices":            {[][]byte{nil, {}, {0}}, ""},

		"pointer to what writes null":    {struct{ P *nullable }{&nullable{}}, ".P points to what is nil"},
		"pointer to what writes more":    {struct{ P *nullable }{&nullable{ptr(1)}}, ""},
		"nil beside null":                {[]any{nil}, ""},
		"slice of such pointers":         {[]*nullable{nil, {ptr(1)}, {}}, "[2] points to"},
		"map of such pointers":           {map[string]*nullable{"a": {}}, "[…] points to"},
		"such a pointer":                 {&nullable{}, "points to"},
		"null without a pointer":         {struct{ V nullable }{}, ""},
		"a time of long ago":             {time.Date(1900, 1, 1, 0, 0, 0, 0, longAgo), "an offset with seconds"},
		"a time of long ago, in a field": {struct{ T *time.Time }{ptr(time.Date(1900, 1, 1, 0, 0, 0, 0, longAgo))}, ".T (a time.Time) has an offset"},
		"a time of long ago, in a map":   {map[string]time.Time{"a": time.Unix(0, 0).In(longAgo)}, "[…]"},
		"a time of long ago, embedded":   {[]stamp{{time.Unix(0, 0).In(longAgo)}}, "[0]"},
		"a time of long ago, in UTC":     {time.Date(1900, 1, 1, 0, 0, 0, 0, longAgo).UTC(), ""},

		"omitempty, nil":             {withTags{}, ""},
		"omitempty, empty slice":     {withTags{Tags: []string{}}, ".Tags is empty and not nil"},
		"omitempty, empty map":       {withTags{Map: map[string]int{}}, ".Map is empty and not nil"},
		"omitempty, empty raw":       {withTags{Raw: json.RawMessage{}}, ".Raw is empty and not nil"},
		"omitempty, full":            {withTags{Tags: []string{""}, Map: map[string]int{"": 0}, Num: "0", N: ptr(0), Any: ""}, ""},
		"omitzero, empty slice":      {withTags{Zero: []string{}}, ""},
		"omitempty, negative 0":      {negatives{Empty: -zero32}, ".Empty is left out"},
		"omitzero, negative 0":       {negatives{Zero: math.Copysign(0, -1)}, ".Zero is left out"},
		"omitzero, one in a struct":  {negatives{In: struct{ A [2]float64 }{[2]float64{0, math.Copysign(0, -1)}}}, ".In is left out"},
		"omitzero, one for a method": {negatives{Own: zeroed{F: math.Copysign(0, -1)}}, ".Own is left out"},
		"omitzero, zeros":            {negatives{}, ""},
		"negative 0, not left out":   {struct{ F float64 }{math.Copysign(0, -1)}, ""},
		"empty, read by value": {struct {
			A int
			E emptyByValue
		}{A: 1}, ""},
		"a port without an address": {netip.AddrPortFrom(netip.Addr{}, 80), "has a port and no address"},
		"no port and no address":    {netip.AddrPort{}, ""},
		"a prefix that is none":     {struct{ P []netip.Prefix }{[]netip.Prefix{netip.PrefixFrom(netip.IPv6Loopback(), 200)}}, ".P[0] (a netip.Prefix) is not valid"},
		"no prefix":                 {netip.Prefix{}, ""},
		"an empty IP":               {struct{ IP net.IP }{net.IP{}}, ".IP (a net.IP) is empty and not nil"},
		"no IP":                     {struct{ IP net.IP }{}, ""},
		"a regular expression":      {struct{ R *regexp.Regexp }{regexp.MustCompile("a|ab")}, "-"},
		"one of POSIX":              {struct{ R *regexp.Regexp }{regexp.MustCompilePOSIX("a|ab")}, ".R (a regexp.Regexp) prefers longest matches"},
		"an OID":                    {oidOf("1.2.3"), ""},
		"an empty OID":              {x509.OID{}, "is empty"},
		"omitzero, zero time":       {withTags{At: time.Time{}.In(time.FixedZone("x", 60))}, "-"},
		"omitzero, own method":      {withTags{Day: day{0, 5}}, ".Day is left out"},
		"omitzero, not zero":        {withTags{Day: day{1, 5}, DayP: &day{1, 5}}, ""},
		"omitzero, pointer":         {withTags{DayP: &day{}}, ".DayP is left out"},

		"keys by methods":          {map[level]string{1: "a", 2: "b"}, ""},
		"keys that methods change": {whole(func(d *document) { d.Low = map[keyLower]int{"A": 1} }), ".Low has a key"},
		"keys that they do not":    {map[keyLower]int{"a": 1}, ""},
		"keys in UTC":              {map[time.Time]int{time.Unix(5, 0).UTC(): 1}, ""},
		"keys with another zone":   {map[time.Time]int{time.Unix(5, 0).In(time.FixedZone("x", 60)): 1}, "has a key"},
		"keys with a reading":      {whole(func(d *document) { d.Times = map[time.Time]int{time.Now(): 1} }), ".Times has a key"},
	} {
		t.Run(name, func(t *testing.T) {
			v := reflect.ValueOf(c.v)
			j, err := JSONOf(v.Type())
			require.NoError(t, err)
			encoded, err := checkValue(t, j, v)
			if c.want != "" && c.want != "-" {
				require.ErrorContains(t, err, c.want)
				return
			}
			require.NoError(t, err)
			back := reflect.New(v.Type())
			require.NoError(t, json.Unmarshal(encoded, back.Interface()))
			if c.want == "" {
				require.True(t, same(v, back.Elem()), "%#v\n%#v", c.v, back.Elem().Interface())
			}
		})
	}
}

// same is reflect.DeepEqual, but numbers in an interface come back as float64.
func same(a, b reflect.Value) bool {
	return reflect.DeepEqual(floats(a.Interface()), b.Interface())
}

func floats(v any) any {
	switch x := v.(type) {
	case int:
		return float64(x)
	case int64:
		return float64(x)
	case float32:
		return float64(x)
	case map[string]any:
		out := make(map[string]any)
		for k, v := range x {
			out[k] = floats(v)
		}
		return out
	}
	return v
}

func TestValuesThatHoldThemselvesAreErrors(t *testing.T) {
	type self struct{ Next *self }
	s := &self{}
	s.Next = s
	m := map[string]any{}
	m["m"] = m
	a := []any{nil}
	a[0] = a
	for _, v := range []any{s, m, a} {
		j, err := JSONOf(reflect.TypeOf(v))
		require.NoError(t, err)
		_, err = checkValue(t, j, reflect.ValueOf(v))
		require.ErrorContains(t, err, "holds itself")
		require.Less(t, len(err.Error()), 1000, "its path is not told to the end")
	}
}

// encoding/json writes what is nested deeper than it reads.
func TestValuesThatAreTooDeepAreErrors(t *testing.T) {
	type nested struct{ Next *nested }
	for depth, fine := range map[int]bool{maxDepth - 1: true, maxDepth: true, maxDepth + 1: false, 3 * maxDepth: false} {
		var n *nested
		deep := any(true)
		for range depth {
			n, deep = &nested{n}, []any{deep}
		}
		for _, v := range []any{n, deep} {
			j, err := JSONOf(reflect.TypeOf(v))
			require.NoError(t, err)
			encoded, err := checkValue(t, j, reflect.ValueOf(v))
			if !fine {
				require.ErrorContains(t, err, "nested")
				continue
			}
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(encoded, reflect.New(reflect.TypeOf(v)).Interface()))
		}
	}
}

// nullable writes null, or a number.
type nullable struct{ v *int }

func (n nullable) MarshalJSON() ([]byte, error)  { return json.Marshal(n.v) }
func (n *nullable) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &n.v) }

// longAgo is Amsterdam's time until 1937.
var longAgo = time.FixedZone("AMT", 19*60+32)

type stamp struct{ time.Time }
