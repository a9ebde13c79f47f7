// Package spaces has the namespaces of a store, each for as long as something refers to it: a view, a load, or an entry of
// the local tier. A service with a namespace for each tenant would otherwise keep all that it has ever had.
package spaces

import (
	"maps"
	"runtime"
	"slices"
	"sync"
	"weak"
)

// Most is how many namespaces are listed one by one.
const Most = 200

// Table has the namespaces by their paths. The zero Table is empty.
type Table[T any] struct {
	mu     sync.Mutex // guards what follows
	spaces map[string]weak.Pointer[T]
	listed map[string]weak.Pointer[T] // some of them, at most Most
}

// Get returns the namespace of a path. If there is none it calls create, under the lock, and release when nothing refers to the
// namespace any more, in a goroutine of the runtime: release must be quick, and not refer to it.
func (t *Table[T]) Get(path string, create func() (space *T, release func())) *T {
	t.mu.Lock()
	defer t.mu.Unlock()
	if space := t.spaces[path].Value(); space != nil {
		return space
	}
	if t.spaces == nil {
		t.spaces, t.listed = make(map[string]weak.Pointer[T]), make(map[string]weak.Pointer[T])
	}
	space, release := create()
	p := weak.Make(space)
	t.spaces[path] = p
	if _, again := t.listed[path]; again || len(t.listed) < Most {
		t.listed[path] = p
	}
	runtime.AddCleanup(space, func(p weak.Pointer[T]) {
		t.remove(path, p)
		release()
	}, p)
	return space
}

// Find returns the namespace of a path, or nil.
func (t *Table[T]) Find(path string) *T {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.spaces[path].Value()
}

// remove forgets a namespace that is gone, unless there is another of its path already.
func (t *Table[T]) remove(path string, p weak.Pointer[T]) {
	t.mu.Lock()
	defer t.mu.Unlock()
	// guard: namespace-of-same-path
	if t.spaces[path] != p {
		return
	}
	delete(t.spaces, path)
	if _, listed := t.listed[path]; !listed {
		return
	}
	delete(t.listed, path)
	for other, q := range t.spaces { // which is short: most of them are not listed, or all are
		if len(t.spaces) <= len(t.listed) {
			return
		}
		if _, listed := t.listed[other]; !listed {
			t.listed[other] = q
			return
		}
	}
}

// Len returns how many there are.
func (t *Table[T]) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.spaces)
}

// All returns all namespaces, in the order of their paths.
func (t *Table[T]) All() []*T {
	t.mu.Lock()
	defer t.mu.Unlock()
	return values(t.spaces)
}

// Listed returns at most Most of the namespaces: all, if there are no more. One that is listed stays so as long as it is there.
func (t *Table[T]) Listed() []*T {
	t.mu.Lock()
	defer t.mu.Unlock()
	return values(t.listed)
}

func values[T any](spaces map[string]weak.Pointer[T]) []*T {
	all := make([]*T, 0, len(spaces))
	for _, path := range slices.Sorted(maps.Keys(spaces)) {
		if space := spaces[path].Value(); space != nil {
			all = append(all, space)
		}
	}
	return all
}
