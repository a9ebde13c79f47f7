package record

import (
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"weak"
)

// viewShape is what all views of a namespace that are in use at a time agree in, since
// they are served each other's entries. They may differ in TTLs, loads, what is done
// about stale values, and WithRemoteOnly: each entry carries that itself, or it concerns
// the reader alone. They must not differ in WithLocalOnly:
//
//	A: local-only, loads k and keeps 1, which the server has not seen
//	another process: Set(k, 2); the server sends this process no invalidation, since
//	   this process has not read k there
//	B: both tiers, finds the copy, valid by all that this process knows, until its TTL
type viewShape struct {
	values, codec reflect.Type // codec is nil for the default
	encoded       uint64       // the fingerprint
	schema        string       // that of WithSchema
	localOnly     bool
	tellsOfLeft   bool // WithOnEvict: items that were made without it would not be told of
}

func shapeOf[V any](e Encoding) viewShape {
	// guard: I2-local-only-is-own-shape
	return viewShape{reflect.TypeFor[V](), reflect.TypeOf(e.Codec), e.Fingerprint, e.Schema, e.LocalOnly, e.Left != nil}
}

func (v viewShape) String() string {
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

// ViewsInUse is referenced by every Cache of one shape, and by nothing else for long, so
// that the garbage collector finds when none is left.
type ViewsInUse struct{ space any }

// Views admits views to a namespace.
type Views struct {
	mu    sync.Mutex // guards the rest
	shape viewShape  // of the latest view
	// kind is the kind of their entries. Views of another shape get another kind, so that
	// entries of earlier views in the local tier are misses for them, "not found" included.
	kind  *Kind
	inUse weak.Pointer[ViewsInUse]
}

// Encoding is how a view's values are encoded.
type Encoding struct {
	Codec       any    // nil for the default
	Fingerprint uint64 // the codec's name and the schema are a part of it
	Schema      string // that of WithSchema
	LocalOnly   bool
	Left        LeftFunc // nil: none is told of values that leave the local tier
}

// AdmitView returns the kind of the entries of a view of V of the namespace space, which has
// path, and the ViewsInUse that the view has to refer to for as long as it is used. It fails
// while there is a view of another shape.
func AdmitView[V any](v *Views, space any, path string, e Encoding) (*Kind, *ViewsInUse, error) {
	shape := shapeOf[V](e)
	v.mu.Lock()
	defer v.mu.Unlock()
	use := v.inUse.Value()
	if v.kind != nil && shape != v.shape {
		// guard: I2-refuse-mixed-views
		if use != nil {
			return nil, nil, mixedViews(path, v.shape, shape)
		}
		// guard: I2-new-kind-per-shape
		v.kind = nil
	}
	if v.kind == nil {
		v.shape, v.kind = shape, NewKind[V](space)
		v.kind.Shape, v.kind.NegativeKind.Shape = shape.encoded, shape.encoded
		if shape.tellsOfLeft {
			v.kind.Left = new(atomic.Pointer[LeftFunc]) // negative items have no value to tell of
		}
	}
	if e.Left != nil {
		v.kind.Left.Store(&e.Left)
	}
	if use == nil {
		use = &ViewsInUse{space}
		v.inUse = weak.Make(use)
	}
	return v.kind, use, nil
}

func mixedViews(path string, there, wanted viewShape) error {
	a, b := there.String(), wanted.String()
	if a == b {
		b += " (another type of the same name)"
	}
	return fmt.Errorf("views of one namespace share its entries, so they must agree in type, codec, WithSchema, WithLocalOnly and WithOnEvict: "+
		"one with %s is in use, this one has %s; give this one a namespace of its own, such as %q, "+
		"or drop every Cache of the other kind first", a, b, path+":other")
}
