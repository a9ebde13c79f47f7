package background

import "sync"

// Queue calls functions one after another, in their order, in a goroutine of a group.
type Queue struct {
	group *Group

	mu struct {
		sync.Mutex // guards what follows
		waiting    []func()
		running    bool // a goroutine calls them
	}
}

// mostWaiting bounds the functions that wait.
const mostWaiting = 10_000

// NewQueue returns a queue of a group. Functions may be added while the group is open.
func (g *Group) NewQueue() *Queue { return &Queue{group: g} }

// Add has f called. It returns at once, and reports whether f will be called: not beyond 10,000 that wait, nor when the
// group is closing.
func (q *Queue) Add(f func()) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	// guard: bounded-queue
	if len(q.mu.waiting) >= mostWaiting {
		return false
	}
	q.mu.waiting = append(q.mu.waiting, f)
	if !q.mu.running && !q.group.Spawn(q.run) {
		q.mu.waiting = nil
		return false
	}
	q.mu.running = true
	return true
}

func (q *Queue) run() {
	returned := false
	defer func() {
		// guard: queue-goes-on-after-goexit
		if !returned { // the function has ended this goroutine, or panicked
			q.mu.Lock()
			defer q.mu.Unlock()
			q.mu.running = len(q.mu.waiting) > 0 && q.group.Spawn(q.run)
		}
	}()
	for {
		f := q.next()
		if f == nil {
			returned = true
			return
		}
		f()
	}
}

// next returns the next function, or nil.
func (q *Queue) next() (f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.mu.waiting) == 0 {
		q.mu.running, q.mu.waiting = false, nil
		return nil
	}
	f = q.mu.waiting[0]
	q.mu.waiting[0] = nil
	q.mu.waiting = q.mu.waiting[1:]
	return f
}
