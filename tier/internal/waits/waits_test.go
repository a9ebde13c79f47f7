package waits

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/mono"
)

func key(name string) Key { return Key{Name: name, Space: "docs", Key: "the key " + name} }

func TestANoteIsReadAsItWasWritten(t *testing.T) {
	n := Note{By: "token", For: Key{"p:d:docs:{x}", "docs", "a\x00b"}}
	got, ok := Parse(n.Encode())
	require.True(t, ok)
	require.Equal(t, n, got)
	n.For.Key = strings.Repeat("k", 1000)
	got, ok = Parse(n.Encode())
	require.True(t, ok)
	require.Len(t, got.For.Key, mostNamed)
	for _, bad := range []string{"", "token", "w2\x00a\x00b\x00c\x00d", "w1\x00a\x00b\x00c", "w1\x00a\x00b\x00line\nbreak\x00d", n.Encode() + strings.Repeat("k", mostBytes)} {
		_, ok := Parse(bad)
		require.False(t, ok, "%q", bad)
	}
}

// follow follows notes from a key to x.
func follow(t *testing.T, notes map[string]string, from string) string {
	t.Helper()
	way, err := Follow(t.Context(), from, func(name string) bool { return name == "x" }, func(_ context.Context, name string) (string, error) {
		to, ok := notes[strings.TrimSuffix(name, "&")]
		if !ok {
			return "another program's", nil
		}
		return Note{By: "token", For: key(to)}.Encode(), nil
	})
	require.NoError(t, err)
	if way == nil {
		return ""
	}
	return Describe(key(from), way)
}

func TestNotesAreFollowedToAKeyThatIsLoadedHere(t *testing.T) {
	require.Empty(t, follow(t, nil, "y"))
	require.Equal(t, `it waits for docs "the key y", which another process loads, which waits for docs "the key x"`, follow(t, map[string]string{"y": "x"}, "y"))
	require.Contains(t, follow(t, map[string]string{"y": "z", "z": "x"}, "y"), `which waits for docs "the key z", which waits for docs "the key x"`)
	require.Empty(t, follow(t, map[string]string{"y": "z", "z": "y"}, "y"), "a cycle of others")
	_, err := Follow(t.Context(), "y", nil, func(context.Context, string) (string, error) { return "", errors.New("away") })
	require.Error(t, err)
}

func TestACycleIsOneThatLastsLongerThanANote(t *testing.T) {
	var l Looks
	a, b := []Note{{By: "1", For: key("x")}}, []Note{{By: "2", For: key("x")}}
	at := func(s int) mono.Time { return mono.Time(time.Duration(s) * time.Second) }
	require.False(t, l.Confirmed(a, at(0), 2*time.Second))
	require.False(t, l.Confirmed(a, at(2), 2*time.Second), "it may not have been renewed")
	require.False(t, l.Confirmed(b, at(3), 2*time.Second), "another wait")
	require.False(t, l.Confirmed(nil, at(4), 2*time.Second))
	require.False(t, l.Confirmed(nil, at(7), 2*time.Second))
	require.False(t, l.Confirmed(b, at(8), 2*time.Second), "there was none between")
	require.True(t, l.Confirmed(b, at(11), 2*time.Second))
}

// FuzzParse: what is stored is not trusted.
func FuzzParse(f *testing.F) {
	f.Add(Note{By: "token", For: key("x")}.Encode())
	f.Fuzz(func(t *testing.T, token string) {
		n, ok := Parse(token)
		if !ok {
			return
		}
		if text := Describe(n.For, []Note{n}); strings.ContainsAny(text, "\n\r") {
			t.Fatalf("%q", text)
		}
		if again, ok := Parse(n.Encode()); !ok || again.By != n.By || again.For.Name != n.For.Name {
			t.Fatalf("%q", n)
		}
	})
}
