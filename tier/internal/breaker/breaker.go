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
// It opens when a request was given up that had been sent after another was
// given up, with no answer to anything in between. So it takes a silence of
// about two remote timeouts, however many requests are under way: one command
// that holds the server up for less delays as many as it likes. Any timely
// answer closes it, also one to a request from before. While it is open nothing
// is sent but the probes of [Store.probe], which no caller waits for: with
// callers for probes (as the half-open state of most breakers has it) some reads
// would still pay the timeout.
type Breaker struct {
	// state is a state and a number that moves with each change of state, so that
	// two doubts can be told apart. Each request loads it once before and once
	// after; nothing else is shared while the server answers.
	state atomic.Uint64
	// Current is the outage while the state is away. It is set before state.
	Current  atomic.Pointer[Outage]
	openings atomic.Int64

	mu sync.Mutex // held while state changes; nothing is called under it

	// Probe asks whether what it is for answers, and tells it so.
	Probe func(ctx context.Context)

	// onOpen and closed are told of each edge.
	onOpen, onClose func(*Outage)
}

// breakerState is a state of a breaker, as a request found it.
type breakerState uint64

const (
	stateClosed      = iota // the latest request that ended was answered
	stateSuspect            // one was not, and none has been answered since
	stateOpen               // nor was one that was sent after that
	numBreakerStates = 4
)

func (s breakerState) state() uint64 { return uint64(s) % numBreakerStates }

// becomes is the next state, in another state.
func (s breakerState) becomes(state uint64) breakerState {
	return (s/numBreakerStates+1)*numBreakerStates + breakerState(state)
}

// Outage is one time for which a server is away, and the error of whatever is
// refused meanwhile.
type Outage struct {
	Since time.Time
	Cause error
	Of    *Breaker
	Over  chan struct{}
}

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

// loadState is handed back to unanswered by the request that is sent now.
func (b *Breaker) loadState() breakerState { return breakerState(b.state.Load()) }

// admit returns an error, a *outage, if nothing is to be sent.
func (b *Breaker) admit() (breakerState, error) {
	s := b.loadState()
	// guard: I8-open-breaker-refuses
	if s.state() == stateOpen {
		if a := b.Current.Load(); a != nil { // else it has just ended
			return s, a
		}
	}
	return s, nil
}

// answered is told of each answer that came in time.
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

// unanswered is told of each request that was given up; sent is how it stood
// when that was sent.
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
