// Package search looks at every state of a model that can be reached, nearest
// first, until one violates what the model promises.
//
// A state is a struct of bytes (int8, uint8, bool, and arrays and structs of
// them): it has no padding, is compared as it lies in memory, and is remembered
// by a 128-bit hash of it, of which two states are not going to have the same.
package search

import (
	"fmt"
	"reflect"
	"strings"
	"unsafe"

	"github.com/zeebo/xxh3"
)

// Step receives one state that can follow, with what led there: the process or
// place where it happened, which may be empty, and the event.
type Step[S any] func(where, event string, next S)

// Steps are the steps from one state, each of which leads to a copy of it.
type Steps[S any] struct {
	from *S
	to   Step[S]
}

// From returns the steps from a state, which step receives.
func From[S any](s *S, step Step[S]) Steps[S] { return Steps[S]{s, step} }

// Take takes a step to a copy that f has changed.
func (x Steps[S]) Take(where, event string, f func(s *S)) {
	next := *x.from
	f(&next)
	x.to(where, event, next)
}

// Within is Take of what may happen left times more, which is a field of the state: in
// the copy it is one less. If none is left nothing happens.
func (x Steps[S]) Within(left *int8, where, event string, f func(s *S)) {
	if *left <= 0 {
		return
	}
	*left--
	next := *x.from
	*left++ // the state itself stays as it is
	f(&next)
	x.to(where, event, next)
}

// Model is what is searched. Its functions may not keep or change the state that
// they are given, and Next reports the same states in the same order each time.
type Model[S any] struct {
	Start []S
	Next  func(s *S, step Step[S])
	// Violation names the promise that the state breaks, or is empty. Nothing
	// follows such a state.
	Violation func(s *S) string
}

// Result is what a search found.
type Result struct {
	States    int    // that were looked at
	Violation string // the nearest one, or empty
	Schedule  []string
	Complete  bool // every state that can be reached was looked at, and none violates
}

func (r Result) String() string {
	if r.Violation == "" {
		return fmt.Sprintf("%d states, no violation (complete: %t)", r.States, r.Complete)
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%s (%d states), after\n", r.Violation, r.States)
	for i, event := range r.Schedule {
		fmt.Fprintf(&out, "  %2d  %s\n", i+1, event)
	}
	return out.String()
}

// origin is how a state was reached first: by which step of which state.
type origin struct{ from, step int32 }

// Run searches m. It gives up once it has looked at more than most states.
func Run[S any](m Model[S], most int) Result {
	if t := reflect.TypeFor[S](); !isBytes(t) {
		panic(fmt.Sprintf("search: a state of type %v is not made of bytes alone", t))
	}
	seen := make(map[xxh3.Uint128]struct{})
	var origins []origin
	var here, next []S
	violating := -1
	add := func(s *S, o origin) {
		key := xxh3.Hash128(unsafe.Slice((*byte)(unsafe.Pointer(s)), unsafe.Sizeof(*s)))
		if _, known := seen[key]; known {
			return
		}
		seen[key] = struct{}{}
		origins = append(origins, o)
		next = append(next, *s)
		if m.Violation(s) != "" {
			violating = len(origins) - 1
		}
	}
	for i := range m.Start {
		if violating < 0 {
			add(&m.Start[i], origin{-1, int32(i)})
		}
	}
	for first := 0; len(next) > 0 && violating < 0; {
		if len(origins) > most {
			return Result{States: len(origins)}
		}
		begin := len(origins)
		here, next = next, here[:0]
		for i := range here {
			step := int32(0)
			m.Next(&here[i], func(_, _ string, s S) {
				if violating < 0 {
					add(&s, origin{int32(first + i), step})
				}
				step++
			})
			if violating >= 0 {
				break
			}
		}
		first = begin
	}
	if violating < 0 {
		return Result{States: len(origins), Complete: true}
	}
	r := Result{States: len(origins), Violation: m.Violation(&next[len(next)-1])}
	r.Schedule = m.schedule(origins, violating)
	return r
}

// schedule goes the way to a state once more, for what happened on it.
func (m *Model[S]) schedule(origins []origin, at int) []string {
	var way []origin
	for ; at >= 0; at = int(origins[at].from) {
		way = append(way, origins[at])
	}
	s := m.Start[way[len(way)-1].step]
	var events []string
	for i := len(way) - 2; i >= 0; i-- {
		before, step := s, int32(0)
		m.Next(&before, func(where, event string, next S) {
			if step == way[i].step {
				if where != "" {
					event = where + ": " + event
				}
				events = append(events, event)
				s = next
			}
			step++
		})
	}
	return events
}

// isBytes reports whether values of t are bytes without anything between them.
func isBytes(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Bool, reflect.Int8, reflect.Uint8:
		return true
	case reflect.Array:
		return isBytes(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if !isBytes(t.Field(i).Type) {
				return false
			}
		}
		return true
	}
	return false
}
