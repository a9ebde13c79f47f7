package shape

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// types makes random types out of simple ones.
type types struct{ *rand.Rand }

var simple = []reflect.Type{
	reflect.TypeFor[int](), reflect.TypeFor[int8](), reflect.TypeFor[uint64](), reflect.TypeFor[float64](), reflect.TypeFor[float32](), reflect.TypeFor[bool](),
	reflect.TypeFor[string](), reflect.TypeFor[secret](), reflect.TypeFor[[]byte](), reflect.TypeFor[any](), reflect.TypeFor[any](), reflect.TypeFor[json.RawMessage](),
	reflect.TypeFor[json.Number](), reflect.TypeFor[time.Time](), reflect.TypeFor[netip.Addr](), reflect.TypeFor[both](), reflect.TypeFor[bothOnPtr](), reflect.TypeFor[level](),
	reflect.TypeFor[list](), reflect.TypeFor[day](), reflect.TypeFor[EmptyStruct](), reflect.TypeFor[onlyRead](), reflect.TypeFor[onlyWrite](), reflect.TypeFor[badText](),
	reflect.TypeFor[map[string]any](), reflect.TypeFor[Stamp](), reflect.TypeFor[keyLower](), reflect.TypeFor[keyRead](), reflect.TypeFor[error](), reflect.TypeFor[textWrite](),
}

var tags = []string{"", "", "", `json:",omitempty"`, `json:",omitzero"`, `json:",string"`, `json:"a"`, `json:"A"`, `json:"b,omitempty,string"`, `json:"-"`, `json:"-,"`, `json:"ü,omitempty"`, `json:"a b\""`}

func (r types) of(depth int) reflect.Type {
	one := simple[r.IntN(len(simple))]
	if depth == 0 {
		return one
	}
	switch r.IntN(8) {
	case 0:
		return reflect.PointerTo(r.of(depth - 1))
	case 1:
		return reflect.SliceOf(r.of(depth - 1))
	case 2:
		return reflect.ArrayOf(r.IntN(3), r.of(depth-1))
	case 3:
		key := simple[r.IntN(len(simple))]
		if !key.Comparable() {
			key = reflect.TypeFor[string]()
		}
		return reflect.MapOf(key, r.of(depth-1))
	case 4, 5, 6:
		var fields []reflect.StructField
		for i := range r.IntN(4) {
			fields = append(fields, reflect.StructField{Name: string(rune('A' + i)), Type: r.of(depth - 1), Tag: reflect.StructTag(tags[r.IntN(len(tags))])})
		}
		return reflect.StructOf(fields)
	}
	return one
}

// fill sets v to a random value.
func (r types) fill(v reflect.Value, depth int) {
	if r.IntN(6) == 0 {
		return // the zero value
	}
	switch x := v.Addr().Interface().(type) {
	case *time.Time:
		*x = time.Unix(r.Int64N(1<<33), r.Int64N(1e9)).UTC()
		return
	case *netip.Addr:
		*x = netip.AddrFrom4([4]byte{1, 2, 3, byte(r.Int())})
		return
	case *json.RawMessage:
		*x = json.RawMessage([]string{"1", "null", `{"a":"<\\ufffd>"}`, "[ ]", `" "`}[r.IntN(5)])
		return
	case *json.Number:
		*x = json.Number([]string{"1", "1e3", "-0.50"}[r.IntN(3)])
		return
	case *both:
		x.n = r.IntN(9)
		return
	case *bothOnPtr:
		x.n = r.IntN(9)
		return
	case *Stamp:
		x.Time = time.Unix(r.Int64N(1<<33), 0).UTC()
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8:
		v.SetInt(int64(r.IntN(100)) - 50)
	case reflect.Uint64:
		v.SetUint(r.Uint64())
	case reflect.Float32, reflect.Float64:
		v.SetFloat([]float64{0.1, math.Copysign(0, -1), 1e30, -2.5}[r.IntN(4)])
	case reflect.String:
		v.SetString([]string{"text", "<&>", "\xff", "a\ufffd", `\ufffd`, "null", "1", `"`, "\u2028"}[r.IntN(9)])
	case reflect.Interface:
		if v.NumMethod() > 0 {
			return
		}
		all := []any{nil, true, 1.5, "a", "\xff", 7, int64(1<<53 + 1), float32(0.1), []byte("x"), inner{}, []any{1.5, "\xff"}, map[string]any{"k": []any{}}, []any(nil), map[string]any(nil),
			map[string]any{"\xff": 1.0}, time.Unix(1, 0).UTC(), json.Number("1")}
		if x := all[r.IntN(len(all))]; x != nil {
			v.Set(reflect.ValueOf(x))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		if depth > 0 {
			r.fill(v.Elem(), depth-1)
		}
	case reflect.Slice:
		n := r.IntN(3)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			r.fill(v.Index(i), depth-1)
		}
	case reflect.Array:
		for i := range v.Len() {
			r.fill(v.Index(i), depth-1)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range r.IntN(3) {
			key, elem := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			r.fill(key, depth-1)
			r.fill(elem, depth-1)
			if !key.Comparable() {
				return
			}
			v.SetMapIndex(key, elem)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				r.fill(v.Field(i), depth-1)
			}
		}
	}
}

// withoutExcluded zeroes what the user says need not be stored, and turns integers in interfaces into what they come
// back as. It changes v.
func withoutExcluded(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if !v.Field(i).CanSet() {
				continue
			}
			if v.Type().Field(i).Tag.Get("json") == "-" {
				v.Field(i).SetZero()
				continue
			}
			withoutExcluded(v.Field(i))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			withoutExcluded(v.Elem())
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			withoutExcluded(v.Index(i))
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			elem := reflect.New(v.Type().Elem()).Elem()
			elem.Set(v.MapIndex(k))
			withoutExcluded(elem)
			v.SetMapIndex(k, elem)
		}
	case reflect.Interface:
		if !v.IsNil() && v.Elem().CanInt() && v.NumMethod() == 0 && v.Elem().Int() < maxExact {
			v.Set(reflect.ValueOf(float64(v.Elem().Int())))
		}
	}
}

// negativeZeros counts the negative zeros in v, which are equal to others.
func negativeZeros(v reflect.Value) (n int) {
	switch v.Kind() {
	case reflect.Float32, reflect.Float64:
		if v.Float() == 0 && math.Signbit(v.Float()) {
			n = 1
		}
	case reflect.Struct:
		for i := range v.NumField() {
			n += negativeZeros(v.Field(i))
		}
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			n = negativeZeros(v.Elem())
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			n += negativeZeros(v.Index(i))
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			n += negativeZeros(v.MapIndex(k))
		}
	}
	return n
}

// What is accepted comes back, and what is refused does not, by random types and values.
func TestWhatIsAcceptedComesBackAndWhatIsRefusedDoesNot(t *testing.T) {
	accepted, refused, types := 0, 0, types{rand.New(rand.NewPCG(1, 2))}
	for n := range 20_000 {
		typ := types.of(3)
		j, err := JSONOf(typ)
		v := reflect.New(typ).Elem()
		types.fill(v, 5)
		if err != nil {
			continue
		}
		accepted++
		encoded, err := checkValue(t, j, v)
		back := reflect.New(typ)
		cameBack := encoded != nil && json.Unmarshal(encoded, back.Interface()) == nil
		if cameBack {
			withoutExcluded(v)
			cameBack = reflect.DeepEqual(v.Interface(), back.Elem().Interface()) && negativeZeros(v) == negativeZeros(back.Elem())
		}
		if err != nil {
			refused++
			require.False(t, cameBack, "%d: %v: %s: refused: %v", n, typ, encoded, err)
			continue
		}
		require.True(t, cameBack, "%d: %v: %s\n%s\n%s", n, typ, encoded, fmt.Sprintf("%#v", v), fmt.Sprintf("%#v", back.Elem()))
	}
	t.Log(accepted, "types accepted,", refused, "values refused")
	require.Greater(t, accepted, 2_000)
	require.Greater(t, refused, 200)
}
