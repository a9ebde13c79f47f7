package invalidation

import "sync/atomic"

// Pins holds scopes for as long as its Tail lives: those that so many
// entries have in common that they need not be held for each.
type Pins struct {
	tail    *Tail
	scopes  []Scope
	current atomic.Pointer[Pinned]
}

// Pinned is the marks of a Standing, as many entries share them.
type Pinned struct {
	Marks      []*Mark
	generation uint64 // of the table that they are of
}

// PinForever returns a Standing of the scopes, of which there should be few.
func (t *Tail) PinForever(scopes []Scope) *Pins { return &Pins{tail: t, scopes: scopes} }

// Current returns the marks. They stay up to date until the table of marks is given
// up, which moves the epoch: an entry that was read in the present epoch and
// asks here afterwards has marks that are kept up as long as it may be served.
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
