package sizeof

import (
	"reflect"
	"slices"
	"unsafe"
)

// Limits of one call.
const (
	maxVisits = 100_000   // values that can hold pointers; others are sized without being visited
	maxChain  = 2_000_000 // as many more of what is no element among others, of which the rest cannot be estimated: lists, trees
	maxDepth  = 200       // nesting followed on the stack; deeper values are queued
)

// Of returns the heap bytes that v keeps alive, v itself included: the object that a pointer points to, a slice's header
// and array, a struct with all objects it refers to. An object that is found twice is counted once. Of(nil) is 0. It is
// [Sizer.Of] of v's type.
func Of(v any) int64 {
	if v == nil {
		return 0
	}
	size, guess := For(reflect.TypeOf(v)).Of(v)
	return size + guess
}

// Of returns the heap bytes that v, which is not nil, keeps alive, itself included. v is a V or a pointer to one. If not
// all of it may be read (see planOf), guess is a guess for the rest: 64 bytes for each reference that is not followed.
// Otherwise it is 0.
//
// The work is bounded. After about 100,000 visited values, the rest of a slice or map is estimated from the visited
// part. Chains of pointers, as lists and trees have them, are followed for 2,000,000 more; the rest of them is left out, and is a guess.
// Of never panics.
func (s *Sizer) Of(v any) (size, guess int64) {
	w := walk{s: s, left: maxVisits}
	size = w.boxed(reflect.ValueOf(v))
	for len(w.queue) > 0 && w.left > -maxChain {
		last := len(w.queue) - 1
		next := w.queue[last]
		w.queue = w.queue[:last]
		size += w.referred(next)
	}
	if w.guess > 0 {
		// guard: sizeof-in-use
		w.guess = max(w.guess, s.inUse)
	}
	return size, w.guess
}

// Refers reports whether a value of type t can keep other objects alive.
func Refers(t reflect.Type) bool { return hasPointers(t) }

// Type returns the heap bytes of a T itself, without the objects it refers to.
func Type[T any]() int64 { return classOf(reflect.TypeFor[T](), 1) }

// object identifies a counted object. The type is a part of it because a struct and its first field share an address.
type object struct {
	at unsafe.Pointer
	t  reflect.Type
}

type walk struct {
	s     *Sizer
	left  int // visits
	depth int
	guess int64     // for what was not read
	few   [8]object // the first objects found; most values have no more
	met   int       // the length of few
	seen  map[object]struct{}
	ends  map[uintptr]int64 // the arrays of slices: what they count, by the address where they end
	queue []reflect.Value   // to be followed from depth 0
}

// first reports whether the object has not been found before.
func (w *walk) first(at unsafe.Pointer, t reflect.Type) bool {
	o := object{at, t}
	if slices.Contains(w.few[:w.met], o) {
		return false
	}
	if w.met < len(w.few) {
		w.few[w.met] = o
		w.met++
		return true
	}
	if _, ok := w.seen[o]; ok {
		return false
	}
	if w.seen == nil {
		w.seen = make(map[object]struct{})
	}
	w.seen[o] = struct{}{}
	return true
}

// boxed sizes a value in an interface, which holds pointers as they are and anything else by a pointer to a copy.
func (w *walk) boxed(v reflect.Value) int64 {
	if pointerShaped(v.Type()) {
		return w.referred(v)
	}
	return classOf(v.Type(), 1) + w.referred(v)
}

// referred sizes the objects that v refers to, without the words of v itself: those are part of the object that holds v.
func (w *walk) referred(v reflect.Value) int64 {
	t := v.Type()
	var p *plan
	if t.Kind() == reflect.Struct {
		p = w.s.planOf(t)
	}
	if p == nil && !w.s.refers(t) || p != nil && !p.refers() {
		return 0
	}
	// guard: sizeof-chain
	if w.left <= -maxChain {
		w.guess = max(w.guess, unreadBytes)
		return 0
	}
	if w.depth >= maxDepth {
		w.queue = append(w.queue, v)
		return 0
	}
	w.left--
	w.depth++
	defer func() { w.depth-- }()
	switch t.Kind() {
	case reflect.String:
		return w.text(v.String())
	case reflect.Pointer:
		if v.IsNil() || !w.first(v.UnsafePointer(), t) {
			return 0
		}
		return classOf(t.Elem(), 1) + w.referred(v.Elem())
	case reflect.Interface:
		if v.IsNil() {
			return 0
		}
		return w.boxed(v.Elem())
	case reflect.Slice:
		if v.Cap() == 0 || !w.first(v.UnsafePointer(), t) {
			return 0
		}
		// The elements beyond the length are kept alive, too, but another slice may have them, to be appended to.
		// guard: sizeof-beyond-length
		return w.array(v) + w.elements(v)
	case reflect.Chan:
		if v.IsNil() {
			return 0
		}
		w.guess += class(chanHeader+int(t.Elem().Size())*v.Cap(), true)
		return 0
	case reflect.Array:
		return w.elements(v)
	case reflect.Map:
		if v.IsNil() || !w.first(v.UnsafePointer(), t) {
			return 0
		}
		return mapSize(t, v.Len()) + w.mapped(v)
	case reflect.Struct:
		return w.fields(v, p)
	}
	w.guess += unreadBytes // func, unsafe.Pointer
	return 0
}

// text sizes the bytes of s. Those of one-byte strings are part of the runtime.
func (w *walk) text(s string) int64 {
	if len(s) <= 1 || !w.first(unsafe.Pointer(unsafe.StringData(s)), nil) {
		return 0
	}
	return class(len(s), false)
}

// array sizes the array of a slice. Slices of one array end where it ends, unless their capacity was limited, and only the
// longest of them counts: each of the parts of a certificate, or of a message, is a slice that goes on to its end.
func (w *walk) array(v reflect.Value) int64 {
	elem := v.Type().Elem()
	size := classOf(elem, v.Cap())
	if size == 0 {
		return 0
	}
	end := v.Pointer() + elem.Size()*uintptr(v.Cap())
	// guard: sizeof-slices-of-one-array
	counted := w.ends[end]
	if size <= counted {
		return 0
	}
	if w.ends == nil {
		w.ends = make(map[uintptr]int64)
	}
	w.ends[end] = size
	return size - counted
}

func (w *walk) fields(v reflect.Value, p *plan) (sum int64) {
	if p.guess > 0 {
		w.guess += p.guess
		return 0
	}
	for _, i := range p.fields {
		sum += w.referred(v.Field(i))
	}
	return sum
}

func (w *walk) elements(v reflect.Value) (sum int64) {
	if !w.s.refers(v.Type().Elem()) {
		return 0
	}
	n := v.Len()
	for i := range n {
		// One element has no others that it could be estimated from: it is a part of a chain.
		if w.left <= 0 && n > 1 {
			return extrapolate(sum, i, n)
		}
		sum += w.referred(v.Index(i))
	}
	return sum
}

func (w *walk) mapped(v reflect.Value) (sum int64) {
	key, elem := v.Type().Key(), v.Type().Elem()
	sum = int64(v.Len()) * (indirect(key) + indirect(elem))
	if !w.s.refers(key) && !w.s.refers(elem) {
		return sum
	}
	found, done := int64(0), 0
	for iter := v.MapRange(); iter.Next(); done++ {
		if w.left <= 0 && v.Len() > 1 {
			return sum + extrapolate(found, done, v.Len())
		}
		found += w.referred(iter.Key()) + w.referred(iter.Value())
	}
	return sum + found
}

// extrapolate estimates the sum for n elements from the sum for the first done of them.
func extrapolate(sum int64, done, n int) int64 {
	if done == 0 {
		return 0
	}
	return int64(float64(sum) / float64(done) * float64(n))
}
