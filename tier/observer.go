package tier

import (
	"time"

	"github.com/tiercache/tiercache/internal/recovery"
	"github.com/tiercache/tiercache/tier/internal/inspect"
)

// EventKind says what an [Event] reports.
type EventKind uint8

// The kinds of events.
const (
	EventLoad       EventKind = iota // a loader ran for a key
	EventFill                        // a loaded value was stored remotely, or was not
	EventWrite                       // Set or Delete
	EventInvalidate                  // an invalidation was recorded, or was not
	EventRemote                      // a request to the remote tier failed
	EventBadEntry                    // a stored entry could not be used
)

func (k EventKind) String() string {
	return [...]string{"load", "fill", "write", "invalidate", "remote error", "bad entry", "?"}[min(k, EventBadEntry+1)]
}

// Event is what WithObserver's function is told. It holds no keys or values.
type Event struct {
	Kind      EventKind
	Namespace string // empty for invalidations
	Took      time.Duration
	Err       error // nil if it went well
}

func (s *Store) observe(kind EventKind, ns *namespace, took time.Duration, err error) {
	if kind <= EventInvalidate && err == nil {
		s.watch.Took(inspect.KindLoad+inspect.Kind(kind), took)
	}
	if s.cfg.observer == nil {
		return
	}
	e := Event{Kind: kind, Took: took, Err: err}
	if ns != nil {
		e.Namespace = ns.Path
	}
	defer func() {
		if p := recover(); p != nil {
			// guard: observer-panic-is-not-logged
			s.cfg.Logger.Error("tiercache: the observer panicked", "panic", recovery.Describe(p))
		}
	}()
	s.cfg.observer(e)
}
