package tier

import (
	"time"
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

// Event is what WithObserver's function is told. It holds no values, and no keys but where Err, which is the error that
// the call returns, names the one of several that is at fault.
type Event struct {
	Kind      EventKind
	Namespace string // empty for invalidations
	Took      time.Duration
	Err       error // nil if it went well
	// Background: no caller waited for it. It was done to renew a value, or by a loader that did.
	Background bool
}
