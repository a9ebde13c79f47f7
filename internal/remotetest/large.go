package remotetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/backend"
)

// sizes are about those at which a value is read, or stored, in another way.
var sizes = []int{64<<10 - 1, 64 << 10, 64<<10 + 1, 320 << 10, 576 << 10, 576<<10 + 1, 2<<20 + 3}

// long is a value of n bytes that differs from others of its length from its head to its end.
func long(name string, n int) string {
	return strings.Repeat(fmt.Sprintf("%s of %d bytes, and no other; ", name, n), n/len(name)+1)[:n]
}

var large = []test{
	{"ALargeValueComesBackAsItWasWritten", func(t *testing.T, h Harness) {
		s, other := h.open(t, prefix()), h.open(t, prefix())
		for _, n := range sizes {
			k := s.key(fmt.Sprint(n))
			require.True(t, s.write(t, k, long("a", n)).Stored)
			for _, reader := range []*store{s, other} {
				require.True(t, reader.get(t, k).Envelope() == long("a", n), n)
			}
			require.True(t, s.write(t, k, long("b", n)).Stored, "in place of another")
			require.True(t, s.get(t, k).Envelope() == long("b", n), n)
		}
		require.Len(t, h.Keys(s.prefix+":d:"), len(sizes), "nothing else is left")
	}},

	{"LargeOnesAmongManyComeBack", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		var keys, values []string
		for i, n := range []int{10, 300, 511, 512, 513, 2000, 70_000, 700_000, 5, 1 << 20} {
			keys, values = append(keys, s.key(fmt.Sprint(i))), append(values, long("v", n))
			s.write(t, keys[i], values[i])
		}
		for i := range 200 { // of each less is read then
			keys, values = append(keys, s.key(fmt.Sprint("small", i))), append(values, long("w", 100+5*i))
			if i%3 == 0 {
				values[len(values)-1] = ""
				continue
			}
			s.write(t, keys[len(keys)-1], values[len(values)-1])
		}
		for _, n := range []int{2, 10, len(keys)} {
			items, _, err := s.Get(s.ctx, keys[:n], nil)
			require.NoError(t, err)
			untracked, err := s.GetUntracked(s.ctx, keys[:n])
			require.NoError(t, err)
			for i := range n {
				for _, it := range []backend.Item{items[i], untracked[i]} {
					require.NoError(t, it.Err)
					require.Equal(t, values[i] != "", it.Found(), i)
					require.True(t, it.Envelope() == values[i], i)
				}
			}
		}
	}},

	{"ALargeValueIsFilledByItsLeaseAlone", func(t *testing.T, h Harness) {
		s, other := h.open(t, prefix()), h.open(t, prefix())
		k := s.key("a")
		require.True(t, s.lease(t, backend.LeaseRequest{Key: k, Token: "mine"}).Acquired)
		require.False(t, other.writeWith(t, k, "other", long("other", 300<<10)).Stored)
		require.False(t, s.get(t, k).Found())
		require.True(t, s.writeWith(t, k, "mine", long("mine", 300<<10)).Stored)
		require.False(t, s.writeWith(t, k, "mine", long("again", 300<<10)).Stored, "it has ended the lease")
		l := other.lease(t, backend.LeaseRequest{Key: k, Token: "other"})
		require.True(t, l.Item.Envelope() == long("mine", 300<<10), "it comes in place of a lease")
		l = other.lease(t, backend.LeaseRequest{Key: k, Token: "other", Seen: "another version"})
		require.True(t, l.Item.Envelope() == long("mine", 300<<10))
		eventually(t, func() bool { return len(h.Keys(s.prefix+":d:")) <= 2 }, "what was not stored is gone: %v", h.Keys(s.prefix+":d:"))
	}},

	{"ALargeWriteThatComesTooLateIsRefused", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		k := s.key("a")
		s.write(t, k, "old")
		w := s.put(t, backend.Write{Key: k, Envelope: []byte(long("late", 300<<10)), Expires: in(time.Hour),
			Window: backend.Window{Before: time.Now().Add(-time.Second)}})
		require.Equal(t, backend.Written{}, w)
		require.Equal(t, "old", s.get(t, k).Envelope())
		eventually(t, func() bool { return len(h.Keys(s.prefix+":d:")) == 1 }, "what was sent ahead is gone")
	}},

	{"ALargeValueExpires", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		k := s.key("a")
		s.write(t, k, "old")
		w := s.put(t, backend.Write{Key: k, Envelope: []byte(long("over", 300<<10)), Expires: in(-time.Second)})
		require.Equal(t, backend.Written{Expired: true}, w)
		require.False(t, s.get(t, k).Found())
	}},

	{"WhatIsStagedChangesNothingUntilItIsWritten", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		k := s.key("a")
		s.write(t, k, "old")
		s.get(t, k)
		s.delta(t)
		before := s.invalidationsOf(k)
		w := backend.Write{Key: k, Envelope: []byte(long("new", 300<<10)), Expires: in(time.Hour)}
		require.NoError(t, s.Stage(s.ctx, &w))
		s.hears(t, before, k)
		require.Equal(t, "old", s.get(t, k).Envelope())
		w.Window = backend.Window{Before: time.Now().Add(time.Minute)}
		require.True(t, s.put(t, w).Stored)
		require.True(t, s.get(t, k).Envelope() == long("new", 300<<10))
	}},

	{"LargeAndSmallAreWrittenTogether", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		var writes []backend.Write
		for i, n := range []int{10, 100 << 10, 20, 1 << 20} {
			writes = append(writes, backend.Write{Key: s.key(fmt.Sprint(i)), Envelope: []byte(long("v", n)), Expires: in(time.Hour)})
		}
		for range 2 { // either way
			done, err := s.Write(s.ctx, writes)
			require.NoError(t, err)
			for i, w := range writes {
				require.True(t, done[i].Stored)
				require.True(t, s.get(t, w.Key).Envelope() == string(w.Envelope))
				writes[i].Staged = ""
			}
		}
	}},
}
