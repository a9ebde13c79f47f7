package sizeof

import (
	"math"
	"reflect"
	"runtime/metrics"
	"sort"
	"sync"
)

// classes are the sizes, in ascending order, in which the allocator hands out objects up to 32 KiB. The runtime does
// not export them, but it counts allocations in a histogram with one bucket for each.
var classes = sync.OnceValue(func() []int {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs-by-size:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindFloat64Histogram {
		return nil // renamed: go on without rounding
	}
	var sizes []int
	for _, bound := range sample[0].Value.Float64Histogram().Buckets {
		if size := bound - 1; size >= 8 && !math.IsInf(bound, 1) {
			sizes = append(sizes, int(size)) // each bucket starts one above the class before it
		}
	}
	return sizes
})

// word is the size of a pointer.
const word = 4 << (^uintptr(0) >> 63)

// Properties of Go's allocator.
const (
	pageSize    = 8192
	headerFrom  = 8*word*word + 1 // from this size on, objects with pointers have a header with their layout
	headerSize  = 8
	tinyBelow   = 16 // pointer-free objects share a block of this size
	largestSize = 32 << 10
	chanHeader  = 12 * word
)

// class returns the heap bytes of an object of n bytes.
func class(n int, pointers bool) int64 {
	if n <= 0 {
		return 0
	}
	if !pointers && n < tinyBelow {
		return tiny(n)
	}
	if pointers && n >= headerFrom && n+headerSize <= largestSize {
		n += headerSize
	}
	sizes := classes()
	if i := sort.SearchInts(sizes, n); i < len(sizes) {
		return int64(sizes[i])
	}
	return int64((n + pageSize - 1) / pageSize * pageSize)
}

// tiny returns the part of a shared block that an object of n bytes takes: a block holds as many as fit.
func tiny(n int) int64 {
	return int64(tinyBelow / (tinyBelow / n))
}

// classOf returns the heap bytes of an array of n values of type t.
func classOf(t reflect.Type, n int) int64 {
	return class(int(t.Size())*n, hasPointers(t)) // no overflow: the array exists
}

var pointers sync.Map // of reflect.Type to bool, for structs

// hasPointers reports whether values of type t hold pointers, and so can refer to other objects.
func hasPointers(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array:
		return t.Len() > 0 && hasPointers(t.Elem())
	case reflect.Struct:
		if known, ok := pointers.Load(t); ok {
			return known.(bool)
		}
		has := false
		for i := range t.NumField() {
			has = has || hasPointers(t.Field(i).Type)
		}
		pointers.Store(t, has)
		return has
	case reflect.String, reflect.Slice, reflect.Map, reflect.Pointer, reflect.Interface, reflect.Chan, reflect.Func,
		reflect.UnsafePointer:
		return true
	}
	return false
}

// pointerShaped reports whether an interface holds a value of type t directly.
func pointerShaped(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Chan, reflect.Func, reflect.UnsafePointer:
		return true
	case reflect.Struct:
		return t.NumField() == 1 && pointerShaped(t.Field(0).Type)
	case reflect.Array:
		return t.Len() == 1 && pointerShaped(t.Elem())
	}
	return false
}
