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
	// state is a mood and a number that moves with each change of mood, so that
	// two doubts can be told apart. Each request loads it once before and once
	// after; nothing else is shared while the server answers.
	state atomic.Uint64
	// current is the absence while the mood is away. It is set before state.
	current  atomic.Pointer[absence]
	openings atomic.Int64

	mu sync.Mutex // held while state changes; nothing is called under it

	// probe asks whether what it is for answers, and tells it so.
	probe func(ctx context.Context)

	// opened and closed are told of each edge.
	opened, closed func(*absence)
}

// standing is a state of a breaker, as a request found it.
type standing uint64

const (
	answering = iota // the latest request that ended was answered
	doubted          // one was not, and none has been answered since
	away             // nor was one that was sent after that
	moods     = 4
)

func (s standing) mood() uint64 { return uint64(s) % moods }

// becomes is the next standing, in another mood.
func (s standing) becomes(mood uint64) standing {
	return (s/moods+1)*moods + standing(mood)
}

// absence is one time for which a server is away, and the error of whatever is
// refused meanwhile.
type absence struct {
	since time.Time
	cause error
	of    *breaker
	over  chan struct{}
}

func (a *absence) Error() string {
	return fmt.Sprintf("not asked, since it is away since %s: %v", a.since.Format(time.TimeOnly), a.cause)
}

// lasts reports whether the server has not answered since.
func (a *absence) lasts() bool {
	select {
	case <-a.over:
		return false
	default:
		return true
	}
}

// standing is handed back to unanswered by the request that is sent now.
func (b *breaker) standing() standing { return standing(b.state.Load()) }

// admit returns an error, a *absence, if nothing is to be sent.
func (b *breaker) admit() (standing, error) {
	s := b.standing()
	// guard: I8-open-breaker-refuses
	if s.mood() == away {
		if a := b.current.Load(); a != nil { // else it has just ended
			return s, a
		}
	}
	return s, nil
}

// answered is told of each answer that came in time.
func (b *breaker) answered() {
	// guard: I8-answer-closes-breaker
	if b.standing().mood() != answering {
		b.close()
	}
}

func (b *breaker) close() {
	b.mu.Lock()
	s := b.standing()
	var ended *absence
	if s.mood() != answering {
		ended = b.current.Swap(nil)
		b.state.Store(uint64(s.becomes(answering)))
		if ended != nil {
			close(ended.over)
		}
	}
	b.mu.Unlock()
	if ended != nil {
		b.closed(ended)
	}
}

// unanswered is told of each request that was given up; sent is how it stood
// when that was sent.
func (b *breaker) unanswered(sent standing, cause error) {
	b.mu.Lock()
	s := b.standing()
	var begun *absence
	switch {
	case s.mood() == answering:
		b.state.Store(uint64(s.becomes(doubted)))
	// guard: I8-concurrent-failures-count-once
	case s.mood() == doubted && sent == s:
		begun = &absence{since: time.Now(), cause: cause, of: b, over: make(chan struct{})}
		b.openings.Add(1)
		b.current.Store(begun)
		b.state.Store(uint64(s.becomes(away)))
	}
	b.mu.Unlock()
	if begun != nil {
		b.opened(begun)
	}
}
