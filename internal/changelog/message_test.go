package changelog_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/alloctest"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/invalidation"
)

func message(scopes []Scope, all bool) string {
	return fmt.Sprintf("%s 41 42 %s", changelog.FormatIncarnation(7), changelog.Body(scopes, all))
}

func TestAMessageSaysWhatTheChangeWas(t *testing.T) {
	many := make([]Scope, 1025)
	for i := range many {
		many[i] = invalidation.Source(strings.Repeat("x", i%100+1))
	}
	for name, x := range map[string]struct {
		scopes []Scope
		all    bool
	}{
		"one": {[]Scope{"s:x"}, false}, "all": {nil, true}, "both": {[]Scope{"s: \n\x00", "n:a:b"}, true},
		"most": {many[:1024], false}, "none": {nil, false},
	} {
		m, err := changelog.ParseMessage(message(x.scopes, x.all))
		require.NoError(t, err, name)
		require.Equal(t, changelog.Message{Incarnation: 7, Prev: 41, Tick: 42, All: x.all, Scopes: x.scopes}, m, name)
	}
	m, err := changelog.ParseMessage(message(many, true))
	require.NoError(t, err)
	require.Equal(t, changelog.Message{Incarnation: 7, Prev: 41, Tick: 42, All: true, Partial: true}, m)
}

var damagedMessages = []string{
	"", " ", "x", "0000000000000007 41 42", "0000000000000007 41 42 ", "0000000000000007  42 \x00",
	"7 41 42 \x00", "0000000000000000 41 42 \x00", "000000000000000g 41 42 \x00", "-000000000000007 41 42 \x00",
	"0000000000000007 42 42 \x00", "0000000000000007 43 42 \x00", "0000000000000007 -1 42 \x00",
	"0000000000000007 41 9223372036854775807 \x00", "0000000000000007 41 9223372036854775808 \x00",
	"0000000000000007 41 42 \x00\x00", "0000000000000007 41 42 \x00\x05s:x", "0000000000000007 41 42 \x00\x80",
	"0000000000000007 41 42 \x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01s:x",
	"0000000000000007 41 42 \x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
	"0000000000000007 41 42 \x00" + "C" + strings.Repeat("x", 67),
	"0000000000000007 41 42 \x00" + strings.Repeat("\x01s", 1025),
}

func TestADamagedMessageIsAnError(t *testing.T) {
	for _, raw := range damagedMessages {
		_, err := changelog.ParseMessage(raw)
		require.Error(t, err, "%q", raw)
	}
	whole := message([]Scope{"s:one", "s:two"}, false)
	for i := range len(whole) - 1 {
		m, err := changelog.ParseMessage(whole[:i+1])
		if err == nil {
			require.Less(t, len(m.Scopes), 2, "cut at %d", i)
		}
	}
}

func FuzzParseMessage(f *testing.F) {
	for _, raw := range damagedMessages {
		f.Add(raw)
	}
	f.Add(message([]Scope{"s:x", "n:a:b"}, true))
	f.Add(message(make([]Scope, 2000), false))
	f.Fuzz(func(t *testing.T, raw string) {
		var m changelog.Message
		var err error
		alloctest.Within(t, alloctest.Slack, func() { m, err = changelog.ParseMessage(raw) })
		if err != nil {
			return
		}
		total := 0
		for _, s := range m.Scopes {
			require.NotEmpty(t, s)
			total += len(s)
		}
		require.LessOrEqual(t, total, len(raw))
		require.LessOrEqual(t, len(m.Scopes), 1024)
		require.Greater(t, m.Tick, m.Prev)
		require.GreaterOrEqual(t, m.Prev, Tick(0))
		require.NotEqual(t, invalidation.Never, m.Tick)
		require.NotZero(t, m.Incarnation)
		if m.Partial {
			return
		}
		again, err := changelog.ParseMessage(fmt.Sprintf("%s %d %d %s", changelog.FormatIncarnation(m.Incarnation),
			m.Prev, m.Tick, changelog.Body(m.Scopes, m.All)))
		require.NoError(t, err)
		require.Equal(t, m, again)
	})
}

func TestIncarnationsRoundTrip(t *testing.T) {
	for _, inc := range []uint64{1, 7, 1 << 63, 1<<64 - 1} {
		got, err := changelog.ParseIncarnation(changelog.FormatIncarnation(inc))
		require.NoError(t, err)
		require.Equal(t, inc, got)
	}
	for _, bad := range []string{"", "0", "0000000000000000", "00000000000000001", "000000000000000x", "+000000000000001"} {
		_, err := changelog.ParseIncarnation(bad)
		require.Error(t, err, bad)
	}
}
