package changelog_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/invalidation"
)

func TestScopesOfDifferentKindsAndNamesAreDifferent(t *testing.T) {
	seen := make(map[Scope]string)
	for _, name := range []string{"", "x", "f", "i", "s:x", "#x", strings.Repeat("x", 64), strings.Repeat("x", 65), strings.Repeat("x", 66), strings.Repeat("x", 1<<20)} {
		for kind, s := range map[string]Scope{"source": invalidation.Source(name), "key": invalidation.Key(name), "namespace": invalidation.Namespace(name)} {
			require.NotContains(t, seen, s)
			seen[s] = kind + name
			require.LessOrEqual(t, len(s), 66, "it fits into a message")
			require.NotEqual(t, Scope("f"), s, "none is a member of the log's own")
			require.NotEqual(t, byte('i'), s[0])
		}
	}
	long := strings.Repeat("y", 100)
	require.Equal(t, invalidation.Source(long), invalidation.Source(long))
	// The hash of a long name can be spelt as a short one, in another form.
	hashed := string(invalidation.Source(long))
	require.NotEqual(t, invalidation.Source(long), invalidation.Source(hashed[2:]))
}

func TestANamespaceDependsOnAllAboveIt(t *testing.T) {
	require.Equal(t, []Scope{"n:a"}, invalidation.Namespaces("a"))
	require.Equal(t, []Scope{"n:a", "n:a:b", "n:a:b:c"}, invalidation.Namespaces("a:b:c"))
	long := strings.Repeat("x", 70)
	require.Equal(t, []Scope{"n:a", invalidation.Namespace("a:" + long)}, invalidation.Namespaces("a:"+long))
}

func TestNamesAreCheckedWithAReason(t *testing.T) {
	for _, good := range []string{"a", "a:b", "a b:c\n", "é:*", strings.Repeat("x", 512)} {
		require.NoError(t, invalidation.CheckNamespace(good))
	}
	for _, bad := range []string{"", ":", "a:", ":a", "a::b"} {
		require.ErrorContains(t, invalidation.CheckNamespace(bad), "empty segment")
	}
	require.ErrorContains(t, invalidation.CheckNamespace(strings.Repeat("x", 513)), "512")
	require.NoError(t, invalidation.CheckSource(strings.Repeat("x", 1<<20)))
	require.ErrorContains(t, invalidation.CheckSource(strings.Repeat("x", 1<<20+1)), "limit")
	require.ErrorContains(t, invalidation.CheckSource(""), "empty")
	require.True(t, AsOf{}.IsZero())
	require.Equal(t, "0000000000000007@42", AsOf{Incarnation: 7, Tick: 42}.String())
}

// What a user names is never taken for another kind of scope, for another name,
// or for one of the log's own members.
func FuzzScopes(f *testing.F) {
	for _, a := range []string{"", "a", "a:b", "f", "i0000000000000007", "s:a", "#", strings.Repeat("x", 64), strings.Repeat("x", 65), "\x00", "\xff{}"} {
		f.Add(a, "b")
		f.Add(a, a)
		f.Add(a, a+":")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		kinds := []func(string) Scope{invalidation.Source, invalidation.Key, invalidation.Namespace}
		for i, of := range kinds {
			s := of(a)
			require.LessOrEqual(t, len(s), 66)
			require.True(t, s[1] == ':' || s[1] == '#', "%q", s)
			require.NotContains(t, "fi", s[:1], "those are the log's own")
			require.Equal(t, a == b, s == of(b))
			for j, other := range kinds {
				require.True(t, i == j || s != other(b), "%q", s)
			}
		}
		if invalidation.CheckNamespace(a) != nil {
			return
		}
		above := invalidation.Namespaces(a)
		require.Len(t, above, strings.Count(a, ":")+1)
		require.Equal(t, invalidation.Namespace(a), above[len(above)-1])
		if below := a + ":" + b; invalidation.CheckNamespace(below) == nil {
			require.Equal(t, above, invalidation.Namespaces(below)[:len(above)])
		}
	})
}
