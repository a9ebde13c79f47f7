package local

import "sync/atomic"

// A Get applies uses itself only when useHigh of them wait in the ring, and then at most useBatch. That is some 200 ns of
// work where the entries are in the processor's caches, and more than a microsecond where writers have evicted them from
// there. But where there are writers, the ring seldom fills, because each writer applies all uses; so hits stay short.
const (
	useRoom = 128
	// guard: uses-drained-by-writers
	useHigh  = useRoom * 7 / 8
	useBatch = 4
)

// readBuffer holds recorded uses until a goroutine with the shard's lock applies them, oldest first. It is lossy: a use
// that is added at the same instant as another, or finds the ring full because the lock is held for long, is forgotten.
// A forgotten use costs a little accuracy; waiting would cost every reader.
//
// The shards are the stripes: a use goes to the ring of its key's shard. A hot key does not fill its ring, since the
// clock keeps it from being recorded again soon.
type readBuffer[V any] struct {
	tail atomic.Uint32 // next to claim, by any reader
	head atomic.Uint32 // next to take; changed only under the shard's lock
	ring [useRoom]atomic.Pointer[Entry[V]]
}

// add records a use of e, unless the ring is full or another reader is just adding. It reports whether it did and how
// many are waiting.
func (u *readBuffer[V]) add(e *Entry[V]) (waiting int, ok bool) {
	tail := u.tail.Load()
	waiting = int(tail - u.head.Load())
	if waiting >= len(u.ring) || !u.tail.CompareAndSwap(tail, tail+1) {
		return waiting, false
	}
	u.ring[tail%uint32(len(u.ring))].Store(e)
	return waiting + 1, true
}

// take applies up to n uses, oldest first. The shard's lock must be held.
//
//	reader                        holder of the lock
//	claims slot 5
//	                              takes slot 4, finds 5 claimed but empty, stops
//	stores into slot 5
//	                              (next time) takes slot 5
//
// Stopping there keeps the order. Skipping 5 would leave its entry in the ring until the ring has gone round once.
func (u *readBuffer[V]) take(n int, apply func(*Entry[V])) {
	first, tail := u.head.Load(), u.tail.Load()
	head := first
	for ; head != tail && n > 0; n-- {
		e := u.ring[head%uint32(len(u.ring))].Swap(nil) // nil: the ring must not keep a removed value alive
		if e == nil {
			break
		}
		apply(e)
		head++
	}
	if head != first {
		u.head.Store(head)
	}
}
