package remotetest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/invalidation"
)

var tracking = []test{
	{"OneInvalidationComesForEachReadKeyThatChanges", func(t *testing.T, h Harness) {
		s, other := h.pair(t)
		for name, change := range map[string]func(key string){
			"ForeignPut":    func(k string) { h.Put(k, "new") },
			"ForeignDelete": func(k string) { h.Delete(k) },
			"OthersWrite":   func(k string) { other.write(t, k, "new") },
			"OthersDelete":  func(k string) { other.delete(t, k) },
			"OthersDiscard": func(k string) {
				other.lease(t, backend.LeaseRequest{Key: k, Token: "t", Any: true})
				require.NoError(t, other.Discard(other.ctx, []string{k}, "t"))
			},
			"OwnWrite":  func(k string) { s.write(t, k, "new") },
			"OwnDelete": func(k string) { s.delete(t, k) },
		} {
			for how, read := range map[string]func(key string) error{
				"GetOne":  func(k string) error { _, err := s.GetOne(s.ctx, k); return err },
				"Several": func(k string) error { _, _, err := s.Get(s.ctx, []string{s.key("other"), k}, nil); return err },
				"WithDelta": func(k string) error {
					_, _, err := s.Get(s.ctx, []string{k}, &changelog.DeltaQuery{Limit: 1})
					return err
				},
				"Head": func(k string) error { _, _, err := s.GetHeads(s.ctx, []string{k}, nil, nil); return err },
				"HeadWithDelta": func(k string) error {
					_, _, err := s.GetHeads(s.ctx, []string{k}, []string{s.key("other")}, &changelog.DeltaQuery{Limit: 1})
					return err
				},
			} {
				k := s.key(name + how)
				h.Put(k, "old")
				require.NoError(t, read(k))
				s.hears(t, 0, k, name)
				change(k)
				s.hears(t, 1, k, name)
			}
		}
	}},

	{"WhatIsReadUntrackedAsWellIsNoticedAllTheSame", func(t *testing.T, h Harness) {
		s, other := h.pair(t)
		before := s.key("before")
		s.get(t, before)
		after := make([]string, 20) // what connects may ask for a key in between, but not each time
		for i := range after {
			after[i] = s.key(fmt.Sprint("after", i))
			_, err := s.GetUntracked(s.ctx, []string{s.key("other"), before, after[i]})
			require.NoError(t, err)
			s.get(t, after[i])
		}
		for _, k := range append(after, before) {
			other.write(t, k, "new")
			s.hears(t, 1, k)
		}
	}},

	{"ReadersOfTheLogGetNoInvalidationOfAChange", func(t *testing.T, h Harness) {
		s, other := h.pair(t)
		other.append(t, "s:x")
		s.delta(t)
		other.append(t, "s:x")
		s.delta(t)
		s.mu.Lock()
		defer s.mu.Unlock()
		require.Empty(t, s.invalidations, "the message tells of it")
	}},

	// A store that has read that there is nothing may be loading it.
	{"ADeleteOfWhatIsMissingIsToldOnce", func(t *testing.T, h Harness) {
		s, other := h.pair(t)
		for name, by := range map[string]*store{"others": other, "own": s} {
			k := s.key(name)
			s.get(t, k)
			s.delta(t)
			by.delete(t, k)
			s.hears(t, 1, k, name)
			require.False(t, s.get(t, k).Found())
		}
	}},

	{"AMissingKeyIsTrackedToo", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		require.False(t, s.get(t, s.key("none")).Found())
		h.Put(s.key("none"), "there")
		s.hears(t, 1, s.key("none"))
	}},

	{"InvalidationsGoToTheReadersOfTheKey", func(t *testing.T, h Harness) {
		p := prefix()
		a, b, c := h.open(t, p), h.open(t, p), h.open(t, p)
		k := a.key("k")
		a.get(t, k)
		b.get(t, k)
		b.get(t, k) // twice makes no second invalidation
		h.Put(k, "new")
		a.delta(t)
		b.delta(t)
		c.delta(t)
		require.Equal(t, []int{1, 1, 0}, []int{a.invalidationsOf(k), b.invalidationsOf(k), c.invalidationsOf(k)})
		h.Put(k, "newer")
		a.hears(t, 1, k, "an invalidation comes once")
		a.get(t, k)
		h.Put(k, "newest")
		a.hears(t, 2, k, "and again after another read")
	}},

	{"AnExpiredValueIsNoticed", func(t *testing.T, h Harness) {
		s, other := h.pair(t)
		k := s.key("k")
		for life := 20 * time.Millisecond; ; life *= 2 { // until it is read in time
			other.put(t, backend.Write{Key: k, Envelope: []byte("v"), Expires: in(life)})
			if s.get(t, k).Found() {
				break
			}
		}
		eventually(t, func() bool {
			other.get(t, k) // an expired value goes when a store asks for it, at the latest
			return s.invalidationsOf(k) > 0
		}, "the invalidation of an expiry")
	}},

	{"LeasesAreNoticedUnderNamesOfTheirOwn", func(t *testing.T, h Harness) {
		s, other := h.pair(t)
		k := s.key("k")
		other.lease(t, backend.LeaseRequest{Key: k, Token: "other"})
		require.False(t, s.lease(t, backend.LeaseRequest{Key: k, Token: "mine"}).Acquired)
		require.NoError(t, other.Release(s.ctx, []string{k}, "other"))
		s.delta(t)
		s.mu.Lock()
		defer s.mu.Unlock()
		require.Len(t, s.invalidations, 1, "a store that waits for a lease is told when it goes, and nothing else")
		for name, n := range s.invalidations {
			of, ok := backend.LeaseOf(name)
			require.True(t, ok)
			require.Equal(t, k, of)
			require.Equal(t, 1, n)
		}
		_, ok := backend.LeaseOf(k)
		require.False(t, ok)
	}},

	{"AWaiterIsToldOfTheFill", func(t *testing.T, h Harness) {
		s, other := h.pair(t)
		k := s.key("k")
		other.lease(t, backend.LeaseRequest{Key: k, Token: "other"})
		require.False(t, s.lease(t, backend.LeaseRequest{Key: k, Token: "mine"}).Acquired)
		require.True(t, other.writeWith(t, k, "other", "v").Stored)
		s.delta(t)
		s.mu.Lock()
		defer s.mu.Unlock()
		require.NotEmpty(t, s.invalidations)
	}},

	{"FlushingTheServerIsALoss", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		s.write(t, s.key("k"), "v")
		before := s.lostAll()
		h.Flush()
		s.delta(t)
		require.Greater(t, s.lostAll(), before)
		require.False(t, s.get(t, s.key("k")).Found())
	}},

	// A read or delta that is sent after another's change was acknowledged returns
	// after the invalidation of that change was told: thousands of tries with two
	// connections, and reads of all kinds as the barrier.
	{"InvalidationsComeBeforeLaterAnswers", func(t *testing.T, h Harness) {
		s, other := h.pair(t)
		s.append(t, "s:x")
		const rounds = 3000
		for i := range rounds {
			name := fmt.Sprint("k", i%7)
			k, elsewhere := s.key(name), s.beside(name)
			s.get(t, k)
			before := s.invalidationsOf(k)
			switch i % 3 {
			case 0:
				other.write(t, k, fmt.Sprint(i))
			case 1:
				h.Put(k, fmt.Sprint(i))
			default:
				h.Put(k, fmt.Sprint(i))
				h.Delete(k)
			}
			switch i % 4 {
			case 0:
				s.delta(t)
			case 1:
				s.get(t, elsewhere)
			case 2:
				_, _, err := s.Get(s.ctx, []string{elsewhere}, &changelog.DeltaQuery{Limit: 1})
				require.NoError(t, err)
			default:
				_, _, err := s.Get(s.ctx, []string{elsewhere, k}, nil)
				require.NoError(t, err)
			}
			require.Equal(t, before+1, s.invalidationsOf(k), "round %d", i)
		}
	}},

	{"EventsAreToldOneAtATime", func(t *testing.T, h Harness) {
		p := prefix()
		s, other := h.open(t, p).listening(t), h.open(t, p)
		var all sync.WaitGroup
		for i := range 2000 {
			k := s.key(fmt.Sprint(i % 5))
			s.get(t, k)
			all.Go(func() { h.Put(k, fmt.Sprint(i)) })
			all.Go(func() {
				if _, err := other.Append(other.ctx, changelog.Change{Scopes: []invalidation.Scope{"s:x"}, Retention: time.Hour}); err != nil {
					t.Error(err)
				}
			})
			all.Wait()
		}
		require.False(t, s.overlapped.Load())
	}},

	{"WithoutTrackingThereAreMessagesAndNoInvalidations", func(t *testing.T, h Harness) {
		p := prefix()
		s := h.open(t, p, func(o *backend.Options) { o.NoTracking = true }).listening(t)
		other := h.open(t, p, func(o *backend.Options) { o.NoTracking = true })
		k := s.key("k")
		s.get(t, k)
		h.Put(k, "new")
		w := s.write(t, k, "newer")
		require.True(t, w.Stored)
		s.hears(t, 0, k)
		a := other.append(t, "s:x")
		s.messagesTo(t, a.Prev, a.Tick)
		require.Equal(t, a.Tick, s.delta(t).Tick)
	}},
}
