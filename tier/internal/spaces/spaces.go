// Package spaces has the namespaces of a store by their paths.
package spaces

import (
	"maps"
	"slices"

	"github.com/tiercache/tiercache/internal/shrink"
)

// Most is how many namespaces are listed one by one.
const Most = 200

// Table has namespaces. Its owner guards it. The zero Table is empty.
type Table[T any] struct {
	spaces map[string]*T
	listed map[string]*T // some of them, at most Most
	peak   shrink.Peak   // of spaces
}

// Get returns the namespace of a path, which create returns if there is none.
func (t *Table[T]) Get(path string, create func() *T) *T {
	if space := t.spaces[path]; space != nil {
		return space
	}
	if t.spaces == nil {
		t.spaces, t.listed = make(map[string]*T), make(map[string]*T)
	}
	space := create()
	t.spaces[path] = space
	if len(t.listed) < Most {
		t.listed[path] = space
	}
	return space
}

// Find returns the namespace of a path, or nil.
func (t *Table[T]) Find(path string) *T { return t.spaces[path] }

// Remove forgets the namespace of a path.
func (t *Table[T]) Remove(path string) {
	delete(t.spaces, path)
	t.spaces = shrink.AfterDelete(t.spaces, &t.peak)
	if _, listed := t.listed[path]; !listed {
		return
	}
	delete(t.listed, path)
	if len(t.spaces) == len(t.listed) {
		return
	}
	for other, space := range t.spaces { // which is short: most of them are not listed, or nearly all are and they are few
		if _, listed := t.listed[other]; !listed {
			t.listed[other] = space
			return
		}
	}
}

// Len returns how many there are.
func (t *Table[T]) Len() int { return len(t.spaces) }

// All returns all namespaces, in any order.
func (t *Table[T]) All() []*T { return slices.Collect(maps.Values(t.spaces)) }

// Listed returns at most Most of the namespaces: all, if there are no more. One that is listed stays so as long as it is there.
func (t *Table[T]) Listed() []*T { return slices.Collect(maps.Values(t.listed)) }
