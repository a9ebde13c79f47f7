package tier

import (
	"time"

	"github.com/tiercache/tiercache/internal/recovery"
	"github.com/tiercache/tiercache/internal/unawaited"
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
	// Background: no caller waited for it. It was done to renew a value, or by a loader that did.
	Background bool
}

// inBackground reports whether no caller waits for the run.
func (l *loadRun) inBackground() bool { return l.Values != nil && unawaited.Is(l.Values) } // there are none before it begins

// fillEvent is that of a value that was loaded.
func (l *loadRun) fillEvent(took time.Duration, err error) Event {
	return Event{Kind: EventFill, Namespace: l.ns.Path, Took: took, Err: err, Background: l.inBackground()}
}

// observeLater is observe in another goroutine, for what happens before a caller is answered: the observer may read the
// very key, and would wait for the goroutine that waits for it.
func (s *Store) observeLater(e Event) {
	if s.cfg.observer != nil {
		// guard: observer-runs-aside
		s.events.Add(func() { s.observe(e) })
	}
}

func (s *Store) observe(e Event) {
	if e.Kind <= EventInvalidate && e.Err == nil {
		s.watch.Took(inspect.KindLoad+inspect.Kind(e.Kind), e.Took)
	}
	if s.cfg.observer == nil {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			// guard: observer-panic-is-not-logged
			s.cfg.Logger.Error("tiercache: the observer panicked", "panic", recovery.Describe(p))
		}
	}()
	s.cfg.observer(e)
}
