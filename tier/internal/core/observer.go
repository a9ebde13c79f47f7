package core

import (
	"time"

	"github.com/tiercache/tiercache/internal/recovery"
	"github.com/tiercache/tiercache/tier/internal/inspect"
)

// EventKind is an EventKind of package tier.
type EventKind uint8

const (
	EventLoad EventKind = iota
	EventFill
	EventWrite
	EventInvalidate
	EventRemote
	EventBadEntry
)

// Event is an Event of package tier.
type Event struct {
	Kind       EventKind
	Namespace  string
	Took       time.Duration
	Err        error
	Background bool
}

// observeLater is observe in another goroutine, for what happens before a caller is answered: the observer may read the
// very key, and would wait for the goroutine that waits for it.
func (s *Store) observeLater(e Event) {
	if s.Config.Observer != nil {
		// guard: observer-runs-aside
		s.events.Add(func() { s.observe(e) })
	}
}

func (s *Store) observe(e Event) {
	if e.Kind <= EventInvalidate && e.Err == nil {
		s.Watch.Took(inspect.KindLoad+inspect.Kind(e.Kind), e.Took)
	}
	if s.Config.Observer == nil {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			// guard: observer-panic-is-not-logged
			s.Config.Logger.Error("tiercache: the observer panicked", "panic", recovery.Describe(p))
		}
	}()
	s.Config.Observer(e)
}
