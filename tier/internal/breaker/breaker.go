// Package breaker keeps requests from a server that does not answer: [Conn] is a connection
// that refuses them while the server is away.
package breaker

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Breaker keeps requests from a server that does not answer, so that only the
// first reads of an outage wait for it.
//
// It opens when a request was given up that had been sent after another was given up,
// with no answer to any request in between. So it takes a silence of about two remote
// timeouts, however many requests are under way: a command that blocks the server for a
// shorter time does not open it, however many requests it delays. Any timely answer
// closes it, also one to an earlier request. While it is open nothing is sent except the
// store's probes, which no caller waits for: with callers as probes (as the half-open
// state of most breakers has it) some reads would still wait for the timeout.
type Breaker struct {
	// state is a breakerState: a state, and a number that moves with each change, so that
	// two times of being suspect can be told apart. Each request loads it once before and
	// once after; nothing else is shared while the server answers.
	state atomic.Uint64
	// Current is the outage while the breaker is open. It is set before state.
	Current  atomic.Pointer[Outage]
	openings atomic.Int64 // all
	outages  atomic.Int64 // those that were not brief

	mu sync.Mutex // held while state changes; nothing is called under it

	// Probe asks the server, and records in the breaker whether it answered.
	Probe func(ctx context.Context)

	// Server is the address of a cluster's server of whose keys the breaker is; else empty.
	Server string

	// onOpen and onClose are called when the breaker opens and closes.
	onOpen, onClose func(*Outage)
}

// breakerState is a state of a breaker, as a request found it.
type breakerState uint64

const (
	stateClosed      = iota // the latest request that ended was answered
	stateSuspect            // one was not, and none has been answered since
	stateOpen               // another, sent after that one was given up, was not answered either
	numBreakerStates = 4
)

func (s breakerState) state() uint64 { return uint64(s) % numBreakerStates }

// becomes returns the next breakerState, with another state.
func (s breakerState) becomes(state uint64) breakerState {
	return (s/numBreakerStates+1)*numBreakerStates + breakerState(state)
}

// Outage is one time for which a server is away, and the error of requests that are
// refused meanwhile.
type Outage struct {
	Since time.Time
	Cause error
	Of    *Breaker
	Over  chan struct{}
	// NotAsked counts requests that were refused meanwhile: reads that went to their
	// loaders, and writes.
	NotAsked atomic.Int64
	told     atomic.Bool
}

// Brief is for how long a server may be away before that is more than a stall: a slow script, a pause of the
// machine, a connection made again. Requests are refused meanwhile all the same.
const Brief = time.Second

// Tell counts the outage, if it is no longer brief. It reports whether it has done so now.
func (a *Outage) Tell() bool {
	// guard: stall-is-no-outage
	if time.Since(a.Since) < Brief || !a.told.CompareAndSwap(false, true) {
		return false
	}
	a.Of.outages.Add(1)
	return true
}

// Told reports whether the outage was counted.
func (a *Outage) Told() bool { return a.told.Load() }

func (a *Outage) Error() string {
	return fmt.Sprintf("not asked, since it is away since %s: %v", a.Since.Format(time.TimeOnly), a.Cause)
}

// Lasts reports whether the server has not answered since.
func (a *Outage) Lasts() bool {
	select {
	case <-a.Over:
		return false
	default:
		return true
	}
}

// loadState returns the state that a request, sent now, hands to unanswered later.
func (b *Breaker) loadState() breakerState { return breakerState(b.state.Load()) }

// admit returns an error, an *Outage, if nothing is to be sent.
func (b *Breaker) admit() (breakerState, error) {
	s := b.loadState()
	// guard: I8-open-breaker-refuses
	if s.state() == stateOpen {
		if a := b.Current.Load(); a != nil { // else it has just ended
			a.NotAsked.Add(1)
			return s, a
		}
	}
	return s, nil
}

// answered records an answer that came in time.
func (b *Breaker) answered() {
	// guard: I8-answer-closes-breaker
	if b.loadState().state() != stateClosed {
		b.close()
	}
}

func (b *Breaker) close() {
	b.mu.Lock()
	s := b.loadState()
	var ended *Outage
	if s.state() != stateClosed {
		ended = b.Current.Swap(nil)
		b.state.Store(uint64(s.becomes(stateClosed)))
		if ended != nil {
			close(ended.Over)
		}
	}
	b.mu.Unlock()
	if ended != nil {
		b.onClose(ended)
	}
}

// unanswered records a request that was given up; sent is the state when it was sent.
func (b *Breaker) unanswered(sent breakerState, cause error) {
	b.mu.Lock()
	s := b.loadState()
	var begun *Outage
	switch {
	case s.state() == stateClosed:
		b.state.Store(uint64(s.becomes(stateSuspect)))
	// guard: I8-concurrent-failures-count-once
	case s.state() == stateSuspect && sent == s:
		begun = &Outage{Since: time.Now(), Cause: cause, Of: b, Over: make(chan struct{})}
		b.openings.Add(1)
		b.Current.Store(begun)
		b.state.Store(uint64(s.becomes(stateOpen)))
	}
	b.mu.Unlock()
	if begun != nil {
		b.onOpen(begun)
	}
}
