// Package shape fingerprints Go types by the structure of their values, and
// finds the parts that encoding/json would lose.
package shape

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/zeebo/xxh3"
)

// Of returns a number that two types share if their values have the same
// structure: kinds, field names, tags and element types, whatever the types
// are called. It is the same in every process.
func Of(t reflect.Type) uint64 {
	var b strings.Builder
	describe(&b, t, nil)
	return xxh3.HashString(b.String())
}

func describe(b *strings.Builder, t reflect.Type, above []reflect.Type) {
	for i, u := range above {
		if t == u { // a recursive type: the distance upwards identifies it
			fmt.Fprintf(b, "^%d", len(above)-i)
			return
		}
	}
	above = append(above, t)
	b.WriteString(t.Kind().String())
	if marshals(t) {
		b.WriteString("!" + t.String()) // its methods decide how it is encoded
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		b.WriteByte('{')
		for i := range t.NumField() {
			f := t.Field(i)
			fmt.Fprintf(b, "%s %q ", f.Name, f.Tag)
			if f.Anonymous {
				b.WriteByte('&') // encoders put its fields among the outer struct's
			}
			describe(b, f.Type, above)
			b.WriteByte(';')
		}
		b.WriteByte('}')
	case reflect.Map:
		describe(b, t.Key(), above)
		b.WriteByte(':')
		describe(b, t.Elem(), above)
	case reflect.Array:
		fmt.Fprintf(b, "%d", t.Len())
		describe(b, t.Elem(), above)
	case reflect.Pointer, reflect.Slice:
		b.WriteByte(' ')
		describe(b, t.Elem(), above)
	}
}

var (
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

func marshals(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return t.Implements(jsonMarshaler) || p.Implements(jsonMarshaler) ||
		t.Implements(textMarshaler) || p.Implements(textMarshaler)
}

// CheckJSON returns an error that names the first part of t that encoding/json
// cannot encode or would drop without an error.
func CheckJSON(t reflect.Type) error { return checkJSON(t, t.String(), nil) }

func checkJSON(t reflect.Type, path string, above []reflect.Type) error {
	for _, u := range above {
		if t == u {
			return nil
		}
	}
	if marshals(t) {
		return nil
	}
	above = append(above, t)
	switch t.Kind() {
	case reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer:
		return fmt.Errorf("%s is a %s, which JSON cannot encode", path, t.Kind())
	case reflect.Map:
		if k := t.Key(); k.Kind() != reflect.String && !k.Implements(textMarshaler) && (k.Kind() < reflect.Int || k.Kind() > reflect.Uintptr) {
			return fmt.Errorf("%s has a key of type %s, which JSON cannot encode", path, k)
		}
		return checkJSON(t.Elem(), path, above)
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return checkJSON(t.Elem(), path, above)
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			if f.Tag.Get("json") == "-" {
				continue
			}
			if !f.IsExported() && f.Name != "_" && !(f.Anonymous && f.Type.Kind() == reflect.Struct) {
				return fmt.Errorf("%s.%s is not exported, so JSON would lose it (tag it `json:\"-\"` if that is meant)", path, f.Name)
			}
			if err := checkJSON(f.Type, path+"."+f.Name, above); err != nil {
				return err
			}
		}
	}
	return nil
}
