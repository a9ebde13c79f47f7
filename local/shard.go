package local

import (
	"math"
	"sync"
	"sync/atomic"
)

// shard is the part of the cache that one lock guards. Readers touch only index and uses.
type shard[V any] struct {
	index index[V] // searched by readers; changed under mu
	_     [64]byte
	reads readBuffer[V] // filled by readers; emptied under mu
	_     [64]byte

	clock     *clock
	oldestAge *atomic.Uint64 // the shard's part of clock.oldestAges; stored under mu
	total     *total

	// mu guards the fields below and the changes of index. Whenever it is free, order and index hold the same entries,
	// and total has counted them. Under it there is nothing slow, no other lock, and no callback.
	mu     sync.Mutex
	order  policy[V]
	stored uint64
	gone   [reasons]uint64
	_      [64]byte
}

// total counts the entries of all shards.
type total struct{ entries, bytes atomic.Int64 }

func (s *shard[V]) init(order policy[V], clock *clock, age *atomic.Uint64, total *total) {
	s.order, s.clock, s.oldestAge, s.total = order, clock, age, total
	s.index.init()
}

// use records that e was used, and now and then applies recorded uses.
func (s *shard[V]) use(e *Entry[V], now uint64) {
	waiting, ok := s.reads.add(e)
	if !ok && waiting < len(s.reads.ring) {
		s.clock.contended()
	}
	if ok && e.used.Load() < now {
		e.used.Store(now) // only if ok: a use that was forgotten must not keep the next from being recorded
	}
	if waiting >= useHigh && s.mu.TryLock() {
		s.takeLocked()
	}
}

func (s *shard[V]) takeLocked() {
	defer s.unlock()
	s.reads.take(useBatch, s.order.use)
}

// lock locks the shard and applies all recorded uses, for two reasons. The uses precede the caller's change, and so must
// their moves; applied later, they would put an entry in front of a newer one. And a use waiting in the ring would keep
// the value alive after its removal.
func (s *shard[V]) lock() {
	s.mu.Lock()
	locked := false
	defer func() {
		if !locked { // a panic: the caller's deferred unlock is not in place yet
			s.mu.Unlock()
		}
	}()
	s.reads.take(math.MaxInt, s.order.use)
	locked = true
}

// unlock updates the shard's age and unlocks it.
func (s *shard[V]) unlock() {
	defer s.mu.Unlock()
	age := s.order.oldestAge()
	if s.oldestAge.Load() != age {
		s.oldestAge.Store(age)
	}
}

// put stores e as the newest and returns the entry it replaced, if any.
func (s *shard[V]) put(e *Entry[V]) *Entry[V] {
	s.lock()
	defer s.unlock()
	e.used.Store(s.clock.advance(int(s.total.entries.Load())))
	s.stored++
	old := s.index.put(e)
	if old == nil {
		s.order.add(e)
		s.total.entries.Add(1)
		s.total.bytes.Add(e.cost)
		return nil
	}
	s.order.replace(old, e)
	s.gone[Replaced]++
	s.total.bytes.Add(e.cost - old.cost) // in one step: counting both could seem to exceed the bound, and evict others
	return old
}

// remove drops the entry of k, if that is only or only is nil, and returns it or nil.
func (s *shard[V]) remove(k Key, only *Entry[V], why Reason) *Entry[V] {
	s.lock()
	defer s.unlock()
	e := s.index.find(k)
	if e == nil || only != nil && e != only {
		return nil
	}
	s.dropLocked(e, why)
	s.compactLocked()
	return e
}

// evict drops the policy's victim and returns it, if that was used no later than age and the cache is still over its
// bounds.
func (s *shard[V]) evict(age uint64, over func() bool) *Entry[V] {
	s.lock()
	defer s.unlock()
	if !over() {
		return nil
	}
	e := s.order.victim(age)
	if e == nil {
		return nil
	}
	s.dropLocked(e, Evicted)
	s.compactLocked()
	return e
}

// clear drops all entries and returns them.
func (s *shard[V]) clear() []*Entry[V] {
	s.lock()
	defer s.unlock()
	all := s.order.all()
	for _, e := range all {
		s.dropLocked(e, Cleared)
	}
	s.compactLocked()
	return all
}

func (s *shard[V]) dropLocked(e *Entry[V], why Reason) {
	s.index.remove(e.key)
	if why == Evicted {
		s.order.evict(e)
	} else {
		s.order.remove(e)
	}
	s.gone[why]++
	s.total.entries.Add(-1)
	s.total.bytes.Add(-e.cost)
}

// compactLocked frees the memory of entries that have left.
func (s *shard[V]) compactLocked() {
	if s.order.compact() {
		s.index.rebuild()
	}
}

func (s *shard[V]) counts() (stored uint64, gone [reasons]uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stored, s.gone
}
