package invalidation

import "sync/atomic"

// Standing holds scopes for as long as its Tail lives: those that so many
// entries have in common that they need not be held for each.
type Standing struct {
	tail   *Tail
	scopes []Scope
	held   atomic.Pointer[Held]
}

// Held is the marks of a Standing, as many entries share them.
type Held struct {
	Marks      []*Mark
	generation uint64 // of the table that they are of
}

// Stand returns a Standing of the scopes, of which there should be few.
func (t *Tail) Stand(scopes []Scope) *Standing { return &Standing{tail: t, scopes: scopes} }

// Held returns the marks. They stay up to date until the table of marks is given
// up, which moves the epoch: an entry that was read in the present epoch and
// asks here afterwards has marks that are kept up as long as it may be served.
func (s *Standing) Held() *Held {
	if h := s.held.Load(); h != nil && h.generation == s.tail.generation.Load() {
		return h
	}
	return s.hold()
}

func (s *Standing) hold() *Held {
	t := s.tail
	t.mu.Lock()
	defer t.mu.Unlock()
	h := &Held{Marks: make([]*Mark, len(s.scopes)), generation: t.generation.Load()}
	if old := s.held.Load(); old != nil && old.generation == h.generation {
		return old
	}
	for i, scope := range s.scopes {
		h.Marks[i] = t.mu.known.hold(scope)
	}
	s.held.Store(h)
	return h
}
