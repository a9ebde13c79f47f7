package remotetest

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/invalidation"
)

var reads = []test{
	{"AMissingKeyIsTheZeroItem", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		it := s.get(t, s.key("none"))
		require.Equal(t, backend.Item{}, it)
		require.False(t, it.Found())
		require.Empty(t, it.Seen())
	}},

	{"AValueComesBackAsItWasWritten", func(t *testing.T, h Harness) {
		s, other := h.open(t, prefix()), h.open(t, prefix())
		for name, envelope := range map[string]string{
			"text": "hello", "binary": "\x00\r\n\xff$5\r\n", "empty": "", "digits": "0000000000001",
			"huge": strings.Repeat("0123456789abcdef", 3<<16), "nul": strings.Repeat("\x00", 100),
		} {
			require.True(t, s.put(t, backend.Write{Key: s.key(name), Envelope: []byte(envelope), Expires: in(time.Hour)}).Stored, name)
			for _, reader := range []*store{s, other} {
				it := reader.get(t, s.key(name))
				require.Equal(t, envelope != "", it.Found(), name) // an empty value is none
				require.True(t, it.Envelope() == envelope, name)
			}
		}
	}},

	{"ManyKeysAreReadInTheirOrder", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		a, b, none := s.key("a"), s.key("b"), s.key("none")
		s.write(t, a, "A")
		s.write(t, b, "B")
		items, d, err := s.Get(s.ctx, []string{b, none, a, b}, nil)
		require.NoError(t, err)
		require.Zero(t, d)
		require.Len(t, items, 4)
		require.Equal(t, "B", items[0].Envelope())
		require.False(t, items[1].Found())
		require.Equal(t, "A", items[2].Envelope())
		require.Equal(t, "B", items[3].Envelope())
		items, _, err = s.Get(s.ctx, nil, nil)
		require.NoError(t, err)
		require.Empty(t, items)
	}},

	{"HeadsAreReadWithEntries", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		long, short, none := s.key("long"), s.key("short"), s.key("none")
		text := strings.Repeat("0123456789", 20<<10)
		s.write(t, long, text)
		s.write(t, short, "S")
		head, whole, little := backend.Item{Raw: text[:backend.HeadsLen], Present: true}, backend.Item{Raw: text, Present: true}, backend.Item{Raw: "S", Present: true}
		for _, x := range []struct {
			heads, keys []string
			answer      []backend.Item
		}{
			{[]string{long}, nil, []backend.Item{head}},
			{[]string{none}, nil, []backend.Item{{}}},
			{[]string{long, none, short}, []string{short}, []backend.Item{head, {}, little, little}},
			{[]string{short, long}, []string{none, long, short}, []backend.Item{little, head, {}, whole, little}},
		} {
			items, _, err := s.GetHeads(s.ctx, x.heads, x.keys, nil)
			require.NoError(t, err)
			require.Equal(t, x.answer, items)
			items, d, err := s.GetHeads(s.ctx, x.heads, x.keys, &changelog.DeltaQuery{Limit: 1})
			require.NoError(t, err)
			require.Equal(t, x.answer, items)
			require.NotZero(t, d.ServerTime)
		}
	}},

	{"ManyAreReadUntracked", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		a, b, none, other := s.key("a"), s.key("b"), s.key("none"), s.key("other")
		s.write(t, a, "A")
		s.write(t, b, strings.Repeat("long", 1000))
		if h.PutList != nil {
			h.PutList(other)
		}
		for _, keys := range [][]string{{a, b, none, a}, {none}, {b, a}, {other, a}} {
			items, err := s.GetUntracked(s.ctx, keys)
			require.NoError(t, err)
			require.Len(t, items, len(keys))
			for i, item := range items {
				expected := backend.Item{}
				if keys[i] != other { // which alone is found
					expected = s.get(t, keys[i])
				}
				require.Equal(t, expected, item)
			}
		}
	}},

	{"AReadCanBringTheDelta", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		first := s.append(t, "s:one")
		second := s.append(t, "s:two")
		s.write(t, s.key("a"), "A")
		items, d, err := s.Get(s.ctx, []string{s.key("a"), s.key("none")},
			&changelog.DeltaQuery{Since: first.Tick, Limit: 10, Scopes: []invalidation.Scope{"s:one", "s:never"}})
		require.NoError(t, err)
		require.Equal(t, "A", items[0].Envelope())
		require.False(t, items[1].Found())
		require.Equal(t, second.Tick, d.Tick)
		require.Equal(t, []changelog.ScopeTick{{Scope: "s:two", Tick: second.Tick}}, d.Changes)
		require.Equal(t, []invalidation.Tick{first.Tick, 0}, d.Known)
		require.NotZero(t, d.Connection)
	}},

	{"WhatAStrangerPutThereIsReadWithoutHarm", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		k := s.key("a")
		for _, raw := range []string{"", "1", "-1", "short", "000000000000", "0000000000000", "000000000000x", "-000000000001rest", strings.Repeat("x", backend.SeenLen)} {
			h.Put(k, raw)
			it := s.get(t, k)
			require.Equal(t, raw != "", it.Found(), raw)
			require.Equal(t, raw, it.Envelope(), raw)
			require.Equal(t, raw, it.Seen(), raw)
		}
	}},

	{"AValueOfAnotherTypeIsFoundAndEmpty", func(t *testing.T, h Harness) {
		if h.PutList == nil {
			t.Skip("this backend holds strings only")
		}
		s := h.open(t, prefix())
		h.PutList(s.key("a"))
		s.write(t, s.key("b"), "B")
		one := s.get(t, s.key("a"))
		require.True(t, one.Found())
		require.Empty(t, one.Envelope())
		items, _, err := s.Get(s.ctx, []string{s.key("a"), s.key("b")}, nil)
		require.NoError(t, err)
		require.False(t, items[0].Found(), "among others it is missing")
		require.Equal(t, "B", items[1].Envelope())
		require.True(t, s.write(t, s.key("a"), "A").Stored, "a write replaces it")
		require.Equal(t, "A", s.get(t, s.key("a")).Envelope())
	}},

	{"AValueIsThereUntilItExpires", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		s.append(t, "s:x")
		clock := func() time.Time { return s.delta(t).ServerTime }
		brief := clock().Add(100 * time.Millisecond)
		written, err := s.Write(s.ctx, []backend.Write{
			{Key: s.key("long"), Envelope: []byte("v"), Expires: brief.Add(time.Hour)},
			{Key: s.key("brief"), Envelope: []byte("v"), Expires: brief},
			{Key: s.key("past"), Envelope: []byte("v"), Expires: brief.Add(-time.Hour)},
		})
		require.NoError(t, err)
		for _, w := range written {
			require.NoError(t, w.Err)
		}
		require.False(t, s.get(t, s.key("past")).Found())
		eventually(t, func() bool { return !s.get(t, s.key("brief")).Found() }, "the value expires")
		require.GreaterOrEqual(t, clock().UnixMilli(), brief.UnixMilli(), "it was gone before its time: %+v", written)
		require.True(t, s.get(t, s.key("long")).Found())
	}},

	{"StoresOfDifferentPrefixesShareNothing", func(t *testing.T, h Harness) {
		a, b := h.open(t, prefix()), h.open(t, prefix())
		a.listening(t)
		b.listening(t)
		b.get(t, b.key("k"))
		before, messages := b.delta(t), len(b.published())
		a.write(t, a.key("k"), "A")
		a.append(t, "s:a")
		a.delete(t, a.key("other"))
		require.False(t, b.get(t, b.key("k")).Found())
		require.Zero(t, b.invalidationsOf(b.key("k")))
		after := b.delta(t, "s:a")
		require.Equal(t, before.Tick, after.Tick)
		require.Equal(t, before.Incarnation, after.Incarnation)
		require.Equal(t, []invalidation.Tick{0}, after.Known)
		require.NotEqual(t, a.delta(t).Incarnation, after.Incarnation)
		mine := b.append(t, "s:b")
		eventually(t, func() bool { return len(b.published()) > messages }, "b hears itself")
		require.Equal(t, mine.Tick, b.published()[messages].Tick, "and nothing before that")
	}},
}
