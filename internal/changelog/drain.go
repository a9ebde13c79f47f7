package changelog

import (
	"context"
	"time"
)

// drainEvery is how often Drain looks. A heartbeat is asked for each time, which has a pace of its own (see backOff).
const drainEvery = 10 * time.Millisecond

// Drain returns once no change is left that is to be sent again, or when ctx ends, with what is left then.
func (t *Tail) Drain(ctx context.Context) (scopes int, all bool) {
	for {
		h := t.Health()
		// guard: drain-waits-for-changes
		if h.Undelivered == 0 && !h.UndeliveredAll {
			return 0, false
		}
		t.Wake()
		select {
		case <-time.After(drainEvery):
		case <-ctx.Done():
			return h.Undelivered, h.UndeliveredAll
		case <-t.ctx.Done():
			return h.Undelivered, h.UndeliveredAll
		}
	}
}
