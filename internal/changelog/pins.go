package changelog

import (
	"sync/atomic"

	"github.com/tiercache/tiercache/invalidation"
)

// Pins keeps scopes pinned until it is released: scopes that so many entries
// have in common that they need not be pinned for each.
type Pins struct {
	tail    *Tail
	scopes  []invalidation.Scope
	current atomic.Pointer[Pinned]
}

// Pinned are the marks of Pins, which many entries share.
type Pinned struct {
	Marks      []*Mark
	generation uint64 // of their table
}

// PinForever returns Pins of the scopes, of which there should be few.
func (t *Tail) PinForever(scopes []invalidation.Scope) *Pins { return &Pins{tail: t, scopes: scopes} }

// Release unpins the scopes, which nothing refers to any more. Current must not be called after it.
func (s *Pins) Release() {
	if h := s.current.Swap(nil); h != nil {
		s.tail.Release(h.Marks)
	}
}

// Current returns the marks. They stay up to date until the table of marks is
// discarded, which moves the epoch. So the marks of an entry that was read in the
// present epoch, taken after that, stay up to date as long as the entry may be served.
func (s *Pins) Current() *Pinned {
	if h := s.current.Load(); h != nil && h.generation == s.tail.generation.Load() {
		return h
	}
	return s.pin()
}

func (s *Pins) pin() *Pinned {
	t := s.tail
	t.mu.Lock()
	defer t.mu.Unlock()
	h := &Pinned{Marks: make([]*Mark, len(s.scopes)), generation: t.generation.Load()}
	if old := s.current.Load(); old != nil && old.generation == h.generation {
		return old
	}
	for i, scope := range s.scopes {
		h.Marks[i] = t.mu.known.pin(scope)
	}
	s.current.Store(h)
	return h
}
