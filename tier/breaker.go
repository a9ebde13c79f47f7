package tier

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// breaker keeps requests from a server that does not answer, so that only the
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
type breaker struct {
	// state is a state and a number that moves with each change of state, so that
	// two doubts can be told apart. Each request loads it once before and once
	// after; nothing else is shared while the server answers.
	state atomic.Uint64
	// current is the outage while the state is away. It is set before state.
	current  atomic.Pointer[outage]
	openings atomic.Int64

	mu sync.Mutex // held while state changes; nothing is called under it

	// probe asks whether what it is for answers, and tells it so.
	probe func(ctx context.Context)

	// onOpen and closed are told of each edge.
	onOpen, onClose func(*outage)
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

// becomes is the next standing, in another state.
func (s breakerState) becomes(mood uint64) breakerState {
	return (s/numBreakerStates+1)*numBreakerStates + breakerState(mood)
}

// outage is one time for which a server is away, and the error of whatever is
// refused meanwhile.
type outage struct {
	since time.Time
	cause error
	of    *breaker
	over  chan struct{}
}

func (a *outage) Error() string {
	return fmt.Sprintf("not asked, since it is away since %s: %v", a.since.Format(time.TimeOnly), a.cause)
}

// lasts reports whether the server has not answered since.
func (a *outage) lasts() bool {
	select {
	case <-a.over:
		return false
	default:
		return true
	}
}

// loadState is handed back to unanswered by the request that is sent now.
func (b *breaker) loadState() breakerState { return breakerState(b.state.Load()) }

// admit returns an error, a *outage, if nothing is to be sent.
func (b *breaker) admit() (breakerState, error) {
	s := b.loadState()
	// guard: I8-open-breaker-refuses
	if s.state() == stateOpen {
		if a := b.current.Load(); a != nil { // else it has just ended
			return s, a
		}
	}
	return s, nil
}

// answered is told of each answer that came in time.
func (b *breaker) answered() {
	// guard: I8-answer-closes-breaker
	if b.loadState().state() != stateClosed {
		b.close()
	}
}

func (b *breaker) close() {
	b.mu.Lock()
	s := b.loadState()
	var ended *outage
	if s.state() != stateClosed {
		ended = b.current.Swap(nil)
		b.state.Store(uint64(s.becomes(stateClosed)))
		if ended != nil {
			close(ended.over)
		}
	}
	b.mu.Unlock()
	if ended != nil {
		b.onClose(ended)
	}
}

// unanswered is told of each request that was given up; sent is how it stood
// when that was sent.
func (b *breaker) unanswered(sent breakerState, cause error) {
	b.mu.Lock()
	s := b.loadState()
	var begun *outage
	switch {
	case s.state() == stateClosed:
		b.state.Store(uint64(s.becomes(stateSuspect)))
	// guard: I8-concurrent-failures-count-once
	case s.state() == stateSuspect && sent == s:
		begun = &outage{since: time.Now(), cause: cause, of: b, over: make(chan struct{})}
		b.openings.Add(1)
		b.current.Store(begun)
		b.state.Store(uint64(s.becomes(stateOpen)))
	}
	b.mu.Unlock()
	if begun != nil {
		b.onOpen(begun)
	}
}
