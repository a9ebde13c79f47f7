// Package shape knows how the values of a Go type are encoded: a fingerprint of
// the type, and which types and values encoding/json does not give back.
package shape

import (
	"fmt"
	"reflect"
	"strings"
)

// Name spells a type with the full paths of its packages, and nothing of what a
// named type consists of.
func Name(t reflect.Type) string {
	if t.Name() != "" {
		if t.PkgPath() == "" {
			return t.Name()
		}
		// Name has the arguments of a generic type with their paths.
		return t.PkgPath() + "." + t.Name()
	}
	switch t.Kind() {
	case reflect.Pointer:
		return "*" + Name(t.Elem())
	case reflect.Slice:
		return "[]" + Name(t.Elem())
	case reflect.Array:
		return fmt.Sprintf("[%d]", t.Len()) + Name(t.Elem())
	case reflect.Map:
		return "map[" + Name(t.Key()) + "]" + Name(t.Elem())
	}
	return t.String() // a struct without a name is what it consists of
}

// describe writes what JSON sees of the values of n.
func describe(b *strings.Builder, n *node, above []*node) {
	for i, u := range above {
		if n == u { // a recursive type: the distance upwards identifies it
			fmt.Fprintf(b, "^%d", len(above)-i)
			return
		}
	}
	above = append(above, n)
	switch n.op {
	case opText, opCustom, opRaw, opNumber:
		b.WriteString(n.op.String() + "!" + Name(n.t)) // its methods decide how it is encoded
		return
	case opBytes:
		b.WriteString("base64")
		return
	}
	b.WriteString(n.t.Kind().String())
	switch n.op {
	case opStruct:
		b.WriteByte('{')
		for _, f := range n.fields {
			fmt.Fprintf(b, "%q ", f.name)
			if f.quoted {
				b.WriteByte('"')
			}
			describe(b, f.n, above)
			b.WriteByte(';')
		}
		b.WriteByte('}')
	case opMap:
		b.WriteString(n.t.Key().Kind().String())
		if textUnmarshals(n.t.Key()) {
			b.WriteString("!" + Name(n.t.Key()))
		}
		b.WriteByte(':')
		describe(b, n.elem, above)
	case opArray:
		fmt.Fprintf(b, "%d", n.t.Len())
		describe(b, n.elem, above)
	case opPointer, opSlice:
		b.WriteByte(' ')
		describe(b, n.elem, above)
	}
}
