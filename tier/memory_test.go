package tier_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// The strategy "LRU": whatever the server does when its memory is full, the
// change log included, reads stay right and nothing fails.
func TestReadsStayRightUnderEveryMaxmemoryPolicy(t *testing.T) {
	for _, policy := range []string{"noeviction", "allkeys-lru", "allkeys-lfu", "allkeys-random",
		"volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"} {
		t.Run(policy, func(t *testing.T) {
			srv := valkeytest.Start(t, valkeytest.Config("maxmemory", "6mb"), valkeytest.Config("maxmemory-policy", policy))
			var seen events
			open := func() *tier.Store {
				s, err := tier.Open(t.Context(), tier.WithValkey(srv.URL()), tier.WithRemoteTimeout(10*time.Second),
					tier.WithMaxStaleness(10*time.Second), tier.WithLocalEntries(50), tier.WithObserver(seen.observe))
				require.NoError(t, err)
				t.Cleanup(func() { s.Close() })
				return s
			}
			sa, sb := open(), open()
			a, b := view[string](t, sa, "docs"), view[string](t, sb, "docs")
			padding := strings.Repeat("x", 80<<10)
			var version [4]atomic.Int64 // of each document
			read := func(c *tier.Cache[string], i int, options ...tier.CallOption) {
				doc := i % len(version)
				r := find(t, c, fmt.Sprint(i), func(_ context.Context, e *tier.Entry) (string, error) {
					e.DependsOn(fmt.Sprint("doc", doc))
					return fmt.Sprintf("%d %d %s", i, version[doc].Load(), padding), nil
				}, options...)
				require.True(t, strings.HasPrefix(r.Value, fmt.Sprintf("%d %d x", i, version[doc].Load())), "%d: %.20s", i, r.Value)
			}
			for round := range 2 {
				for i := range 100 { // 8 MB
					read(a, i)
				}
				for i := range 100 {
					read(b, i, tier.Fresh())
				}
				version[round].Add(1)
				_, err := sa.InvalidateSource(t.Context(), fmt.Sprint("doc", round))
				require.NoError(t, err, "a change needs no room")
			}
			for i := range 100 {
				read(a, i)
			}
			st := sa.Stats()
			h := sa.Health(t.Context())
			assert.Equal(t, policy, h.Policy)
			assert.Equal(t, int64(6<<20), h.MaxMemory)
			assert.Equal(t, policy != "noeviction", h.Healthy, "%v", h.Refused)
			if policy == "noeviction" {
				assert.ErrorIs(t, h.Refused["storing a large loaded value"], remote.ErrFull, "%v", h.Refused)
				assert.Positive(t, st.Full, "%+v", st.Counts)
				full := 0
				for _, e := range seen.of(tier.EventFill) {
					if e.Err != nil {
						assert.ErrorIs(t, e.Err, remote.ErrFull)
						full++
					}
				}
				assert.Positive(t, full)
			} else {
				assert.Zero(t, st.Full)
				assert.Zero(t, st.RemoteErrors)
			}
			warned := strings.Join(h.Warnings, "\n")
			if strings.HasPrefix(policy, "volatile-") {
				assert.Empty(t, warned)
			} else {
				assert.Contains(t, warned, "maxmemory-policy "+policy)
			}
		})
	}
}

func TestASetThatTheServerHasNoRoomForLeavesNoOlderValue(t *testing.T) {
	srv := valkeytest.Start(t, valkeytest.Config("maxmemory-policy", "noeviction"))
	for name, options := range tracking {
		t.Run(name, func(t *testing.T) {
			srv.Do(t, "CONFIG", "SET", "maxmemory", "0")
			s, err := tier.Open(t.Context(), append(options, tier.WithValkey(srv.URL()), tier.WithPrefix(valkeytest.Prefix(t)), tier.WithRemoteTimeout(10*time.Second))...)
			require.NoError(t, err)
			defer s.Close()
			c := view[string](t, s, "docs")
			require.NoError(t, c.Set(t.Context(), "k", "old"))
			require.NoError(t, c.Set(t.Context(), "j", "old"))
			srv.Do(t, "CONFIG", "SET", "maxmemory", "1")
			err = c.Set(t.Context(), "k", "new")
			assert.ErrorIs(t, err, remote.ErrFull)
			assert.NotErrorIs(t, err, tier.ErrUnavailable)
			_, ok, err := c.Peek(t.Context(), "k")
			require.NoError(t, err)
			assert.False(t, ok)
			assert.Equal(t, "new", find(t, c, "k", is("new")).Value)
			v, err := c.Refresh(t.Context(), "j", is("new"))
			require.NoError(t, err)
			assert.Equal(t, "new", v)
			assert.Equal(t, "newest", find(t, c, "j", is("newest")).Value, "nor does a refresh")
			require.NoError(t, c.Delete(t.Context(), "k"))
			srv.Do(t, "CONFIG", "SET", "maxmemory", "0")
			require.NoError(t, c.Set(t.Context(), "k", "stored"))
			assert.Equal(t, "stored", find(t, c, "k", unneeded).Value)
		})
	}
}

func TestAChangeNeedsNoRoom(t *testing.T) {
	srv := valkeytest.Start(t, valkeytest.Config("maxmemory-policy", "noeviction"))
	for name, options := range tracking {
		t.Run(name, func(t *testing.T) {
			srv.Do(t, "CONFIG", "SET", "maxmemory", "0")
			prefix := valkeytest.Prefix(t)
			open := func() *tier.Store {
				s, err := tier.Open(t.Context(), append(options, tier.WithValkey(srv.URL()), tier.WithPrefix(prefix), tier.WithRemoteTimeout(10*time.Second))...)
				require.NoError(t, err)
				t.Cleanup(func() { s.Close() })
				return s
			}
			sa, sb := open(), open()
			a, b := view[string](t, sa, "docs"), view[string](t, sb, "docs")
			find(t, a, "k", is("old", "doc"))
			find(t, a, "j", is("old"))
			filled(t, sa, 2)
			find(t, b, "k", unneeded)
			find(t, b, "j", unneeded)
			srv.Do(t, "CONFIG", "SET", "maxmemory", "1")
			_, err := sa.InvalidateSource(t.Context(), "doc")
			require.NoError(t, err)
			require.NoError(t, a.Delete(t.Context(), "j"))
			require.NoError(t, sb.Sync(t.Context()))
			for _, key := range []string{"k", "j"} {
				assert.Equal(t, "new", find(t, b, key, is("new")).Value)
				assert.Equal(t, "new", find(t, a, key, is("new")).Value)
			}
			assert.Equal(t, int64(2), sb.Stats().Full)
			h := sa.Health(t.Context())
			assert.False(t, h.Healthy)
			assert.NoError(t, h.RemoteErr)
			assert.NotContains(t, h.Refused, "recording a change")
			assert.NotContains(t, h.Refused, "deleting an entry")
		})
	}
}

func TestTheEmbeddedRemoteDropsTheLeastRecentlyUsed(t *testing.T) {
	hub := remote.NewEmbedded(100 << 10)
	s, err := tier.Open(t.Context(), tier.WithRemote(hub), tier.WithRemoteTimeout(10*time.Second))
	require.NoError(t, err)
	defer s.Close()
	c := view[string](t, s, "docs", tier.WithRemoteOnly())
	for i := range 100 {
		require.NoError(t, c.Set(t.Context(), fmt.Sprint(i), strings.Repeat("x", 4<<10)))
		_, ok, err := c.Peek(t.Context(), "0") // used, and so kept
		require.NoError(t, err)
		assert.True(t, ok)
	}
	_, ok, err := c.Peek(t.Context(), "1")
	require.NoError(t, err)
	assert.False(t, ok)
	h := s.Health(t.Context())
	assert.LessOrEqual(t, h.UsedMemory, h.MaxMemory)
	assert.ErrorIs(t, c.Set(t.Context(), "huge", strings.Repeat("x", 200<<10)), remote.ErrFull)
	assert.Len(t, find(t, c, "huge", is(strings.Repeat("x", 200<<10))).Value, 200<<10)
	eventually(t, "counted", func() bool { return s.Stats().Full == 2 })
}

// What a long string keeps alive beside itself when it was read, its envelope,
// counts.
func TestTheEnvelopeOfALongStringCounts(t *testing.T) {
	hub := remote.NewEmbedded(0)
	of := func(read bool) int64 {
		s, err := tier.Open(t.Context(), tier.WithRemote(hub), tier.WithRemoteTimeout(10*time.Second))
		require.NoError(t, err)
		defer s.Close()
		c := view[string](t, s, "docs")
		if !read {
			require.NoError(t, c.Set(t.Context(), "k", strings.Repeat("x", 4096), tier.WithSources("a", "b")))
		}
		origin := find(t, c, "k", unneeded).Origin
		require.Equal(t, read, origin == tier.Remote)
		return s.Stats().LocalBytes
	}
	written := of(false)
	require.InDelta(t, written+100, of(true), 50)
}
