package remotetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/invalidation"
)

// pause is for how long the battery has messages wait; changes that are recorded one after another are recorded within it,
// unless the machine is slow.
const pause = 100 * time.Millisecond

// longestPause is the longest that they wait; closing a store takes less, unless the machine is slow.
const longestPause = changelog.LongestPause

// messagesTo waits until the store has been sent a message up to the tick, and returns the messages after since.
func (s *store) messagesTo(t testing.TB, since, tick invalidation.Tick) (out []changelog.Message) {
	t.Helper()
	eventually(t, func() bool {
		out = slices.DeleteFunc(s.published(), func(m changelog.Message) bool { return m.Tick <= since })
		return len(out) > 0 && out[len(out)-1].Tick >= tick
	}, "a message up to %d", tick)
	return out
}

// withheld opens two stores that listen, plays what records changes while messages wait, and looks at the messages that both are
// sent of them. It begins anew if a message was due before all of them were recorded.
func withheld(t *testing.T, h Harness, play func(a, b *store) []changelog.Appended, look func(m changelog.Message, all []changelog.Appended)) {
	p := prefix()
	a, b := h.open(t, p).listening(t), h.open(t, p).listening(t)
	a.append(t, "s:first")
	for range 50 {
		h.Withhold(h.log(t, p), pause)
		all := play(a, b)
		first, last := all[0], all[len(all)-1]
		if n := len(a.messagesTo(t, first.Prev, last.Tick)); n > 1 {
			b.messagesTo(t, first.Prev, last.Tick)
			continue
		}
		for _, s := range []*store{a, b} {
			messages := s.messagesTo(t, first.Prev, last.Tick)
			require.Len(t, messages, 1)
			require.Equal(t, last.Tick, messages[0].Tick)
			require.True(t, messages[0].Several)
			look(messages[0], all)
		}
		return
	}
	t.Fatal("never were the changes recorded while messages waited")
}

var paces = []test{
	// Nothing follows that would tell of them: the process whose change waits first has it told.
	{"ChangesThatWaitAreToldByOneMessage", func(t *testing.T, h Harness) {
		withheld(t, h, func(a, b *store) []changelog.Appended {
			return []changelog.Appended{a.append(t, "s:x", "s:again"), b.append(t, "s:y"), a.append(t, "s:again", "n:\x00\r\n")}
		}, func(m changelog.Message, all []changelog.Appended) {
			require.Equal(t, all[0].Incarnation, m.Incarnation)
			require.LessOrEqual(t, m.Prev, all[0].Prev)
			require.False(t, m.Partial)
			require.Zero(t, m.Floor)
			var changes []string
			for _, c := range m.Changes {
				if c.Tick > all[0].Prev {
					changes = append(changes, fmt.Sprint(c.Scope, c.Tick))
				}
			}
			require.ElementsMatch(t, []string{fmt.Sprint("s:x", all[0].Tick), fmt.Sprint("s:y", all[1].Tick), fmt.Sprint("s:again", all[2].Tick),
				fmt.Sprint("n:\x00\r\n", all[2].Tick)}, changes, "each at its own position")
		})
	}},

	{"AChangeOfEverythingThatWaitsIsTold", func(t *testing.T, h Harness) {
		withheld(t, h, func(a, b *store) []changelog.Appended {
			return []changelog.Appended{a.append(t, "s:x"), b.appendWith(t, changelog.Change{All: true}), a.append(t, "s:y")}
		}, func(m changelog.Message, all []changelog.Appended) {
			require.Equal(t, all[1].Tick, m.Floor)
			require.Contains(t, m.Changes, changelog.ScopeTick{Scope: "s:y", Tick: all[2].Tick})
		})
	}},

	{"WhatIsTooLongForAMessageThatWaitsIsTold", func(t *testing.T, h Harness) {
		for _, scopes := range [][]invalidation.Scope{numbered(1025), {invalidation.Scope("~2:" + strings.Repeat("x", 125))}} {
			withheld(t, h, func(a, b *store) []changelog.Appended {
				return []changelog.Appended{a.append(t, scopes...), b.append(t, "s:y")}
			}, func(m changelog.Message, all []changelog.Appended) {
				require.True(t, m.Partial)
				require.Empty(t, m.Changes)
			})
		}
	}},

	{"AStoreThatClosesHasToldWhatWaits", func(t *testing.T, h Harness) {
		p := prefix()
		gone, b := h.open(t, p), h.open(t, p).listening(t)
		gone.append(t, "s:first")
		h.Withhold(h.log(t, p), longestPause)
		x := gone.append(t, "s:x")
		require.NoError(t, gone.Close())
		m := b.messagesTo(t, x.Prev, x.Tick)
		require.Len(t, m, 1, "and no other process has it told")
		require.Equal(t, x.Tick, m[0].Tick)
	}},

	{"TheNextChangeTellsOfThoseThatWait", func(t *testing.T, h Harness) {
		if h.PutMember == nil {
			t.Skip("no process ends without closing")
		}
		p := prefix()
		a, b := h.open(t, p).listening(t), h.open(t, p).listening(t)
		log := h.log(t, p)
		first := a.append(t, "s:first")
		b.messagesTo(t, first.Prev, first.Tick)
		h.Withhold(log, pause)
		x := first.Tick + 1
		h.PutMember(log, float64(x), "s:x") // of a process that has ended since
		var all []changelog.Appended
		eventually(t, func() bool {
			all = append(all, a.append(t, "s:y"))
			return slices.ContainsFunc(b.published(), func(m changelog.Message) bool { return m.Tick >= x })
		}, "a message that tells of it")
		require.Equal(t, x, all[0].Prev)
		m := b.messagesTo(t, first.Tick, x)[0]
		require.True(t, m.Several)
		require.LessOrEqual(t, m.Prev, first.Tick)
		require.Contains(t, m.Changes, changelog.ScopeTick{Scope: "s:x", Tick: x})
	}},

	{"NoMessageWaitsForAClockThatWasSetBack", func(t *testing.T, h Harness) {
		p := prefix()
		a := h.open(t, p).listening(t)
		a.append(t, "s:first")
		h.Withhold(h.log(t, p), time.Hour)
		x := a.append(t, "s:x")
		require.Len(t, a.messagesTo(t, x.Prev, x.Tick), 1)
		y := a.append(t, "s:y")
		m := a.messagesTo(t, y.Prev, y.Tick)
		require.Equal(t, changelog.Message{Incarnation: y.Incarnation, Prev: x.Tick, Tick: y.Tick, Scopes: []invalidation.Scope{"s:y"}}, m[0])
	}},

	{"ManyChangesTakeFewMessages", func(t *testing.T, h Harness) {
		p := prefix()
		a, b := h.open(t, p).listening(t), h.open(t, p).listening(t)
		since, log := b.append(t, "s:first"), h.log(t, p)
		const changes = 400
		want := make(map[invalidation.Scope]invalidation.Tick)
		var last invalidation.Tick
		for i := range changes {
			if i%40 == 0 { // some wait, some do not
				h.Withhold(log, 2*time.Millisecond)
			}
			s := invalidation.Scope(fmt.Sprintf("s:%d", i%50))
			last = a.append(t, s).Tick
			want[s] = last
		}
		messages := b.messagesTo(t, since.Tick, last)
		// A process that follows them has all of them.
		got, at := make(map[invalidation.Scope]invalidation.Tick), since.Tick
		for _, m := range messages {
			require.LessOrEqual(t, m.Prev, at)
			for _, c := range m.Changes {
				got[c.Scope] = max(got[c.Scope], c.Tick)
			}
			for _, s := range m.Scopes {
				got[s] = m.Tick
			}
			at = m.Tick
		}
		delete(got, "s:first")
		require.Equal(t, want, got)
		require.Equal(t, last, at)
		t.Logf("%d messages of %d changes", len(messages), changes)
	}},

	{"AChangeIsAnsweredWithWhatItsCallerHasMissed", func(t *testing.T, h Harness) {
		a, b := h.pair(t)
		first := a.append(t, "s:first")
		known := invalidation.AsOf{Incarnation: first.Incarnation, Tick: first.Tick}
		own := b.appendWith(t, changelog.Change{Scopes: []invalidation.Scope{"s:own"}, Known: known})
		require.Empty(t, own.Missed, "nothing came between")
		x := a.append(t, "s:x")
		own = b.appendWith(t, changelog.Change{Scopes: []invalidation.Scope{"s:own"}, Known: known})
		m, err := changelog.ParseMessage(own.Missed)
		require.NoError(t, err)
		require.Equal(t, changelog.Message{Incarnation: first.Incarnation, Prev: first.Tick, Tick: own.Tick, Several: true,
			Changes: []changelog.ScopeTick{{Scope: "s:x", Tick: x.Tick}, {Scope: "s:own", Tick: own.Tick}}}, m)
		a.append(t, "s:x")
		known.Incarnation++
		require.Empty(t, b.appendWith(t, changelog.Change{Scopes: []invalidation.Scope{"s:own"}, Known: known}).Missed, "it is no position of this log")
		require.Empty(t, b.append(t, "s:own").Missed)
	}},
}
