package record

import (
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
)

// Shape is what all views of a namespace that are in use at a time agree in, since
// they are served each other's entries. They may differ in TTLs, loads, what is done
// about stale values, and WithRemoteOnly: each entry carries that itself, or it concerns
// the reader alone. They must not differ in WithLocalOnly:
//
//	A: local-only, loads k and keeps 1, which the server has not seen
//	another process: Set(k, 2); the server sends this process no invalidation, since
//	   this process has not read k there
//	B: both tiers, finds the copy, valid by all that this process knows, until its TTL
type Shape struct {
	values, codec reflect.Type // codec is nil for the default
	encoded       uint64       // the fingerprint
	schema        string       // that of WithSchema
	localOnly     bool
	tellsOfLeft   bool // WithOnEvict: items that were made without it would not be told of
}

// ShapeOf returns that of views of V.
func ShapeOf[V any](e Encoding) Shape {
	// guard: I2-local-only-is-own-shape
	return Shape{reflect.TypeFor[V](), reflect.TypeOf(e.Codec), e.Fingerprint, e.Schema, e.LocalOnly, e.Left != nil}
}

func (v Shape) String() string {
	codec := "the default codec"
	switch {
	case v.tellsOfLeft:
		codec = "WithLocalOnly and WithOnEvict"
	case v.localOnly:
		codec = "WithLocalOnly"
	case v.codec != nil:
		codec = fmt.Sprintf("WithCodec(%v)", v.codec)
	}
	if v.schema != "" {
		codec += fmt.Sprintf(", WithSchema(%q)", v.schema)
	}
	return fmt.Sprintf("values of type %v, %s", v.values, codec)
}

// Encoding is how a view's values are encoded.
type Encoding struct {
	Codec       any    // nil for the default
	Fingerprint uint64 // the codec's name and the schema are a part of it
	Schema      string // that of WithSchema
	LocalOnly   bool
	Left        LeftFunc // nil: none is told of values that leave the local tier
}

// Kinds has the kind of a namespace's entries. The zero Kinds has none yet.
type Kinds struct {
	mu    sync.Mutex // guards the rest
	shape Shape      // of the latest view
	// kind is the kind of their entries. Views of another shape get another kind, so that
	// entries of earlier views in the local tier are misses for them, "not found" included.
	kind *Kind
}

// Admit is called for each view that is made, with its shape. There is no view of another shape any more.
func (ks *Kinds) Admit(shape Shape) {
	ks.mu.Lock()
	defer ks.mu.Unlock()
	if ks.kind != nil && shape != ks.shape {
		// guard: I2-new-kind-per-shape
		ks.kind = nil
	}
}

// KindFor returns the kind of the entries of views of V, with the shape that was admitted last, of the namespace space.
func KindFor[V any](ks *Kinds, space any, shape Shape, left LeftFunc) *Kind {
	ks.mu.Lock()
	defer ks.mu.Unlock()
	if ks.kind == nil {
		ks.shape, ks.kind = shape, NewKind[V](space)
		ks.kind.Shape, ks.kind.NegativeKind.Shape = shape.encoded, shape.encoded
		if shape.tellsOfLeft {
			ks.kind.Left = new(atomic.Pointer[LeftFunc]) // negative items have no value to tell of
		}
	}
	if left != nil {
		ks.kind.Left.Store(&left)
	}
	return ks.kind
}

// MixedViews is the error of a view of the shape wanted while there is one of another.
func MixedViews(path string, there, wanted Shape) error {
	a, b := there.String(), wanted.String()
	if a == b {
		b += " (another type of the same name)"
	}
	return fmt.Errorf("views of one namespace share its entries, so they must agree in type, codec, WithSchema, WithLocalOnly and WithOnEvict: "+
		"one with %s is in use, this one has %s; give this one a namespace of its own, such as %q, "+
		"or drop every Cache of the other kind first", a, b, path+":other")
}
