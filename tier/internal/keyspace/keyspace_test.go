package keyspace

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/invalidation"
)

// Whatever namespace and key are, the name of their entry leads back to the
// hash, cannot choose a slot or be a pattern, and is another namespace's never.
func FuzzRemoteNames(f *testing.F) {
	for _, path := range []string{"a", "a:b", "{x}", "a b", "%", "%3a", "*?[x]", "\x00\r\n", "\xff", "é", "log", "d"} {
		for _, key := range []string{"k", "", "{k}", "k!", "a:k", "\x00", strings.Repeat("k", 4096)} {
			f.Add(path, key, "b", "k")
			f.Add(path, key, path+":k", key)
		}
	}
	f.Fuzz(func(t *testing.T, path, key, path2, key2 string) {
		if invalidation.CheckNamespace(path) != nil || invalidation.CheckNamespace(path2) != nil {
			return
		}
		ns := New("prefix", path)
		h := ns.Hash(key)
		name := ns.RemoteName(h)
		for _, lease := range []bool{false, true} {
			full := name + map[bool]string{true: "!"}[lease]
			got, isLease, ok := Parse(full)
			require.True(t, ok)
			require.Equal(t, lease, isLease)
			require.Equal(t, h, got)
		}
		head, tail, _ := strings.Cut(name, "{")
		require.NotContains(t, tail, "{")
		require.Equal(t, len(tail)-1, strings.IndexByte(tail, '}'))
		require.True(t, strings.HasPrefix(head, "prefix:d:"))
		require.Empty(t, strings.Trim(head, letters+"-_.%:"), "%q", head)
		back, err := url.PathUnescape(head)
		require.NoError(t, err)
		require.Equal(t, "prefix:d:"+path+":", back, "nothing of the path is lost")
		require.LessOrEqual(t, len(name), len("prefix:d::{}")+3*len(path)+hashText)

		other := New("prefix", path2)
		if path != path2 || key != key2 {
			require.NotEqual(t, name, other.RemoteName(other.Hash(key2)))
		}
	})
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// What the server tells of may be anything.
func FuzzParseRemoteName(f *testing.F) {
	ns := New("prefix", "a:b")
	name := ns.RemoteName(ns.Hash("k"))
	for _, s := range []string{"", "!", "{}", "}", "prefix:{prefix}:log", name, name + "!", name + "!!", name[1:], name[:len(name)-1], strings.Repeat("{", 30)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, lease, ok := Parse(s)
		if !ok {
			return
		}
		again, _, _ := Parse((&Space{}).RemoteName(h))
		require.Equal(t, h, again)
		require.Equal(t, lease, strings.HasSuffix(s, "!"))
	})
}

// What stands beside an entry is of its key, and so is the lease of that.
func TestANameBesideAnotherIsOfTheSameKey(t *testing.T) {
	n := New("app", "docs:a~b")
	h := n.Hash("key")
	seen := map[string]bool{n.RemoteName(h): true}
	for _, shape := range []uint64{0, 1, 1<<64 - 1, 0x3efbefbefbefbefb} {
		name := n.BesideName(h, shape)
		require.False(t, seen[name])
		seen[name] = true
		require.True(t, strings.HasPrefix(name, n.RemoteName(h)+"~"))
		for suffix, isLease := range map[string]bool{"": false, "!": true} {
			got, lease, ok := Parse(name + suffix)
			require.True(t, ok)
			require.Equal(t, h, got)
			require.Equal(t, isLease, lease)
		}
	}
	for _, bad := range []string{"~AAAAAAAAAAA", n.RemoteName(h) + "~short", n.RemoteName(h) + "~AAAAAAAAAAA~AAAAAAAAAAA"} {
		_, _, ok := Parse(bad)
		require.False(t, ok, bad)
	}
}
