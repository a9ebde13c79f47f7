// Package moment tells benchmarks when a push reached its receiver: it tells the
// goroutine that has sent it. That goroutine sleeps until then: one that spins keeps the
// runtime from looking at the network, and measures that.
package moment

import "time"

// Moment hands the time at which something happened to the goroutine that waits for it.
type Moment struct{ at chan time.Time }

// New returns a Moment that has not happened.
func New() *Moment { return &Moment{make(chan time.Time, 1)} }

// Now is called when it happens; a time that was not fetched is replaced.
func (m *Moment) Now() {
	now := time.Now()
	for {
		select {
		case m.at <- now:
			return
		default:
			m.Forget()
		}
	}
}

// Forget drops a time that was not fetched.
func (m *Moment) Forget() {
	select {
	case <-m.at:
	default:
	}
}

// Wait returns when it has happened. After a lost push it
// returns the present, half a second later.
func (m *Moment) Wait() time.Time {
	select {
	case t := <-m.at:
		return t
	case <-time.After(500 * time.Millisecond):
		return time.Now()
	}
}
