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

func TestAMessageSaysWhenEachOfSeveralChangesWas(t *testing.T) {
	changes := []changelog.ScopeTick{{Scope: "s:x", Tick: 41}, {Scope: "n:y", Tick: 44}, {Scope: "s:\x00 \n", Tick: 50}}
	raw := fmt.Sprintf("%s 40 50 %s", changelog.FormatIncarnation(7), changelog.BodyOfSeveral(changes, 43, 50))
	m, err := changelog.ParseMessage(raw)
	require.NoError(t, err)
	require.Equal(t, changelog.Message{Incarnation: 7, Prev: 40, Tick: 50, Several: true, Changes: changes, Floor: 43}, m)
	m, err = changelog.ParseMessage(raw + "\x00\x01\x03abc")
	require.NoError(t, err, "a part of a later version, to be skipped")
	require.Equal(t, changes, m.Changes)
	_, err = changelog.ParseMessage(raw + "\x00\x02\x03abc")
	require.Error(t, err, "a part of a later version, which has the log read")
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
	"0000000000000007 41 42 \x08", // a flag of a later version
	"0000000000000007 41 42 \x05", // everything, and several changes: those say it themselves
	"0000000000000007 40 42 \x04\x03s:x", "0000000000000007 40 42 \x04\x03s:x\x00", "0000000000000007 40 42 \x04\x03s:x\x01",
	"0000000000000007 40 42 \x04\x03s:x\x012", "0000000000000007 40 42 \x04\x03s:x\x02-1", "0000000000000007 40 42 \x04\x03s:x\x01x",
	"0000000000000007 40 42 \x04\x03x:x\x010", "0000000000000007 40 42 \x04\x05|3:ab\x010",
	"0000000000000007 40 42 \x04" + strings.Repeat("\x03s:x\x010", 1025),
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
	f.Add("0000000000000007 40 42 \x04\x03s:x\x011\x01f\x010\x03n:y\x010")
	f.Add("0000000000000007 40 42 \x06")
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
		for _, c := range m.Changes {
			require.NotEmpty(t, c.Scope)
			total += len(c.Scope)
			require.Greater(t, c.Tick, m.Prev)
			require.LessOrEqual(t, c.Tick, m.Tick)
		}
		require.True(t, m.Floor == 0 || m.Floor > m.Prev && m.Floor <= m.Tick)
		require.LessOrEqual(t, len(m.Changes), 1024)
		require.LessOrEqual(t, total, len(raw))
		require.LessOrEqual(t, len(m.Scopes), 1024)
		require.Greater(t, m.Tick, m.Prev)
		require.GreaterOrEqual(t, m.Prev, Tick(0))
		require.NotEqual(t, invalidation.Never, m.Tick)
		require.NotZero(t, m.Incarnation)
		if m.Partial {
			return
		}
		body := changelog.Body(m.Scopes, m.All)
		if m.Several {
			body = changelog.BodyOfSeveral(m.Changes, m.Floor, m.Tick)
		}
		again, err := changelog.ParseMessage(fmt.Sprintf("%s %d %d %s", changelog.FormatIncarnation(m.Incarnation), m.Prev, m.Tick, body))
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
