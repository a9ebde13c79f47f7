// Package embedded is a shared tier in this process. Package remote gives it to users as
// a backend and no more; tests reach what it holds: see [Remote.Keys] and what follows it.
package embedded

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/tiercache/tiercache/internal/backend"
)

// defaultBytes bounds a [Remote] for which no other bound is given.
const defaultBytes = 256 << 20

// Remote is a shared tier in this process: the default without a server, and
// the double of one in tests. Connections to one Remote behave towards each other
// as processes on one server do, order of invalidations and replies included. It
// holds encoded bytes and drops the least recently used when they exceed its
// bound, as a server under maxmemory does; the change log is never dropped.
type Remote struct {
	maxBytes int64

	// mu guards all below. Events are queued under it and delivered without it.
	mu      sync.Mutex
	items   *simplelru.LRU[string, stored]
	bytes   int64
	logs    map[string]*changeLog
	tracked map[string]map[*conn]struct{} // by key: the connections that read it since its latest change
	conns   map[*conn]struct{}
	nextID  int64
	weight  int      // see Weigh
	evicted []string // filled by the LRU's callback, emptied after each step
}

type stored struct {
	raw     string
	expires time.Time // zero: never
}

// overhead is what an item costs in addition to its key and value.
const overhead = 160

// maxTracked bounds the table of tracked keys, like the server's
// tracking-table-max-keys.
const maxTracked = 1_000_000

// New returns an empty shared tier that holds at most maxBytes of keys
// and values; 0 means 256 MiB. It needs no closing.
func New(maxBytes int64) *Remote {
	if maxBytes <= 0 {
		maxBytes = defaultBytes
	}
	e := &Remote{
		maxBytes: maxBytes,
		logs:     make(map[string]*changeLog),
		tracked:  make(map[string]map[*conn]struct{}),
		conns:    make(map[*conn]struct{}),
		weight:   1,
	}
	// The count is bounded by bytes; the LRU's own bound is never reached.
	e.items, _ = simplelru.NewLRU(math.MaxInt, func(k string, s stored) {
		e.bytes -= itemBytes(k, s)
		e.evicted = append(e.evicted, k)
	})
	return e
}

func itemBytes(k string, s stored) int64 { return int64(len(k)+len(s.raw)) + overhead }

// String implements [backend.Backend].
func (e *Remote) String() string { return "embedded, in this process" }

// Connect implements [backend.Backend]. It fails if connections of the other kind, with
// tracking or without, are open to the prefix.
func (e *Remote) Connect(_ context.Context, o backend.Options) (backend.Conn, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for c := range e.conns {
		// guard: I2-one-mode-embedded
		if c.o.Prefix == o.Prefix && c.o.NoTracking != o.NoTracking {
			return nil, backend.OtherModeError(o, "", time.Time{})
		}
	}
	e.nextID++
	c := &conn{remote: e, o: o, id: e.nextID, wake: make(chan struct{}, 1), done: make(chan struct{})}
	e.conns[c] = struct{}{}
	go c.deliver()
	return c, nil
}

// getLocked returns the live value of k.
func (e *Remote) getLocked(k string) (string, bool) {
	s, ok := e.items.Get(k)
	if ok && !s.expires.IsZero() && !time.Now().Before(s.expires) {
		e.removeLocked(k)
		return "", false
	}
	return s.raw, ok
}

// setLocked stores a value and sends its invalidations.
func (e *Remote) setLocked(k string, s stored) {
	if old, ok := e.items.Peek(k); ok {
		e.bytes -= itemBytes(k, old)
	}
	e.items.Add(k, s)
	e.bytes += itemBytes(k, s)
	e.invalidateLocked(k)
	for e.bytes > e.maxBytes && e.items.Len() > 1 {
		e.items.RemoveOldest()
	}
	e.flushEvictedLocked()
}

// removeLocked reports whether there was something to remove.
func (e *Remote) removeLocked(k string) bool {
	ok := e.items.Remove(k)
	e.flushEvictedLocked()
	return ok
}

func (e *Remote) flushEvictedLocked() {
	for _, k := range e.evicted {
		e.invalidateLocked(k)
	}
	e.evicted = nil
}

// invalidateLocked sends one invalidation to each connection that tracks k, and ends the
// tracking.
func (e *Remote) invalidateLocked(k string) {
	for c := range e.tracked[k] {
		c.queueLocked(func() { c.o.Events.Changed([]string{k}) })
	}
	delete(e.tracked, k)
}

func (e *Remote) trackLocked(k string, c *conn) {
	if c.o.NoTracking {
		return
	}
	if e.tracked[k] == nil {
		for other := range e.tracked {
			if len(e.tracked) < maxTracked {
				break
			}
			e.invalidateLocked(other)
		}
		e.tracked[k] = make(map[*conn]struct{}, 1)
	}
	e.tracked[k][c] = struct{}{}
}

// untrackLocked ends all tracking of c.
func (e *Remote) untrackLocked(c *conn) {
	for k, readers := range e.tracked {
		if delete(readers, c); len(readers) == 0 {
			delete(e.tracked, k)
		}
	}
}
