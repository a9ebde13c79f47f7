package inflight

import "sync/atomic"

// Event happens once. It makes a channel only when a goroutine waits for it, since for
// most calls none does. The zero event is ready for use.
type Event struct{ state atomic.Pointer[chan struct{}] }

// past is the state of every event that has happened.
var past = func() *chan struct{} {
	ch := make(chan struct{})
	close(ch)
	return &ch
}()

// happen is called once.
func (e *Event) happen() {
	if ch := e.state.Swap(past); ch != nil {
		close(*ch)
	}
}

func (e *Event) happened() bool { return e.state.Load() == past }

// Wait returns a channel that is closed once the event has happened.
func (e *Event) Wait() <-chan struct{} {
	ch := e.state.Load()
	if ch == nil {
		mine := make(chan struct{})
		if e.state.CompareAndSwap(nil, &mine) {
			return mine
		}
		ch = e.state.Load()
	}
	return *ch
}
