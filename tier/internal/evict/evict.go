// Package evict tells users of values that have left the local tier.
package evict

import (
	"log/slog"
	"sync"

	"github.com/tiercache/tiercache/internal/recovery"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier/internal/record"
)

// Queue calls the users' functions, one after another, in a goroutine of its own, which ends when there is nothing to tell.
// That a value leaves is noticed under locks, and by goroutines that are not to wait.
//
// It has no bound: each value is to be told of, and what is in it has left the bounds of the local tier.
type Queue struct {
	Logger *slog.Logger // for what the functions panic with

	mu      sync.Mutex // guards the rest
	waiting []left
	ended   chan struct{} // is closed when the goroutine ends; nil while there is none
}

// left is an item that has left the local tier, and why.
type left struct {
	it  *record.Item
	why local.Reason
}

// Add has the function of the item's kind called. It may be called under any lock.
func (q *Queue) Add(it *record.Item, why local.Reason) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, left{it, why})
	if q.ended == nil {
		q.ended = make(chan struct{})
		go q.run()
	}
}

// Wait returns when all that was added has been told, and nothing is being told.
func (q *Queue) Wait() {
	for {
		q.mu.Lock()
		ended := q.ended
		q.mu.Unlock()
		if ended == nil {
			return
		}
		<-ended
	}
}

func (q *Queue) run() {
	returned := false
	defer func() {
		// guard: evictions-go-on-after-goexit
		if !returned { // a function has ended this goroutine
			go q.run()
		}
	}()
	for {
		l, ok := q.next()
		if !ok {
			returned = true
			return
		}
		q.tell(l)
	}
}

// next returns the next to tell of. If there is none, the goroutine is to end.
func (q *Queue) next() (l left, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		close(q.ended)
		q.ended, q.waiting = nil, nil
		return left{}, false
	}
	l = q.waiting[0]
	q.waiting[0] = left{} // what has been told of is kept alive no longer
	q.waiting = q.waiting[1:]
	return l, true
}

func (q *Queue) tell(l left) {
	defer func() {
		if p := recover(); p != nil {
			q.Logger.Error("tiercache: the function of WithOnEvict panicked", "panic", recovery.Describe(p))
		}
	}()
	(*l.it.Left.Load())(l.it, l.why)
}
