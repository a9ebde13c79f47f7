// Package sweep takes entries out of the local tier that will never be served again, so that their memory is given back.
//
// Reads take out what they meet, and the bounds of the local tier what is used least. That leaves the expired entries of
// a cache that is not full and not read any more. A timer for each entry, or a wheel of them, would have to follow every
// replacement of an entry. A sweep follows none: it looks at all entries now and then.
package sweep

import (
	"context"
	"time"

	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier/internal/record"
)

const (
	// Every is the least time between two sweeps.
	Every = 15 * time.Second
	// share of one processor that sweeps take at most: one in so many parts. Of a million entries one takes
	// some hundred milliseconds.
	share = 100
)

// Sweeper sweeps the local tier of a store.
type Sweeper struct {
	Local *local.Cache[record.Item]
	View  func() *changelog.View
	Gone  func(it *record.Item, now mono.Time, v *changelog.View) bool

	// Of the latest sweep.
	swept  bool
	stored uint64    // local.Stats.Stored before it
	seq    uint64    // View.Seq before it
	next   mono.Time // when the first of those that stayed expires
}

// Run sweeps until ctx ends. again runs one sweep, and recovers from its panic.
func (s *Sweeper) Run(ctx context.Context, again func(sweep func())) {
	timer := time.NewTimer(Every)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		begun := mono.Now()
		again(func() { s.Sweep() })
		timer.Reset(max(Every, share*mono.Now().Sub(begun)))
	}
}

// Sweep looks at all entries, unless none can have gone since it did so before. It returns how many it took out.
func (s *Sweeper) Sweep() (gone int) {
	now, v, stored := mono.Now(), s.View(), s.Local.Stats().Stored
	// guard: nothing-to-sweep
	if s.swept && stored == s.stored && v.Seq == s.seq && now < s.next {
		return 0
	}
	next := mono.Time(1<<63 - 1)
	for e := range s.Local.All() {
		it := &e.Value
		if !s.Gone(it, now, v) {
			next = min(next, it.Meta().Expires)
			continue
		}
		// guard: sweep-takes-out-what-it-saw
		if s.Local.RemoveEntry(e) {
			gone++
		}
	}
	s.swept, s.stored, s.seq, s.next = true, stored, v.Seq, next
	return gone
}
