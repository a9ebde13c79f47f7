package main

import (
	"encoding/binary"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/zeebo/xxh3"

	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/envelope"
	"github.com/tiercache/tiercache/invalidation"
)

func TestNamesAreTakenApartAsTheyArePutTogether(t *testing.T) {
	for _, namespace := range []string{"docs", "docs:technical", "träge", "a%b{c}:*", "x!"} {
		name := entryName("p.1", namespace, "a key!")
		got, lease, ok := parseName("p.1", name)
		assert.True(t, ok, name)
		assert.False(t, lease, name)
		assert.Equal(t, namespace, got)
		got, lease, ok = parseName("p.1", name+leaseSuffix)
		assert.True(t, ok && lease, name)
		assert.Equal(t, namespace, got)
	}
	for _, name := range []string{"", "p:d:", "p:d:x", "p:d::{a}", "q:d:x:{a}", "p:{p}:log", "p:d:%z:{a}", "p:d:%2:{a}", "p:d:x:{a"} {
		_, _, ok := parseName("p", name)
		assert.False(t, ok, name)
	}
}

func TestNamespacesAreOrderedAsTheLibraryOrdersThem(t *testing.T) {
	for _, name := range []string{"a", "docs:technical", strings.Repeat("a:", 200) + "b"} {
		var got []invalidation.Scope
		for _, path := range above(name) {
			got = append(got, invalidation.Namespace(path))
		}
		assert.Equal(t, invalidation.Namespaces(name), got)
	}
}

// No byte of an entry can be damaged without explain saying so.
func TestADamagedEntryIsToldFromOneOfAnotherFormat(t *testing.T) {
	head := envelope.Head{Expires: time.UnixMilli(1796002500127), Nonce: 7, AsOf: invalidation.AsOf{Incarnation: 5, Tick: 1796002500127825}, Shape: 9}
	raw, err := envelope.EncodeWithin(&envelope.Entry{Head: head, Fresh: time.Minute, Life: time.Hour, Cost: 4096, LoadTook: 1500 * time.Microsecond, Validator: `"etag"`,
		Namespace: "träge", Key: "k", Sources: []string{"s"}, Payload: []byte(strings.Repeat("compressible ", 100))}, 100, longestString)
	require.NoError(t, err)
	got, err := decodeEntry(string(raw))
	require.NoError(t, err)
	assert.Equal(t, "k", got.Key)
	for i := range raw {
		broken := slices.Clone(raw)
		broken[i] ^= 0x55
		_, err := decodeEntry(string(broken))
		assert.ErrorContains(t, err, "damaged: ", "byte %d", i)
	}
	raw[21] = 9
	binary.BigEndian.PutUint32(raw[47:], uint32(xxh3.Hash(raw[:47])))
	_, err = decodeEntry(string(raw))
	assert.ErrorContains(t, err, "another format: ")
}

func TestMessagesAreReadAsTheLibraryReadsThem(t *testing.T) {
	many := make([]invalidation.Scope, 2000)
	for i := range many {
		many[i] = invalidation.Source("s")
	}
	for _, scopes := range [][]invalidation.Scope{nil, {invalidation.Source("doc-1"), invalidation.Namespace(strings.Repeat("n", 100)), invalidation.Key("k")}, many} {
		for _, all := range []bool{false, true} {
			raw := "00000000000000ff 41 42 " + string(changelog.Body(scopes, all))
			want, err := changelog.ParseMessage(raw)
			require.NoError(t, err)
			got, ok := parseMessage(raw)
			require.True(t, ok)
			assert.Equal(t, want.Incarnation, got.incarnation)
			assert.EqualValues(t, want.Prev, got.prev)
			assert.EqualValues(t, want.Tick, got.tick)
			assert.Equal(t, !want.Partial, got.whole)
			n := len(want.Scopes)
			if all {
				n++
			}
			assert.Len(t, got.changes, n)
		}
	}
	got, ok := parseMessage("00000000000000ff 41 42 " + string(changelog.Body([]invalidation.Scope{invalidation.Source("doc-1")}, true)))
	require.True(t, ok)
	assert.Equal(t, []change{{Time: time.UnixMicro(42).UTC(), Tick: 42, Kind: "everything"}, {Time: time.UnixMicro(42).UTC(), Tick: 42, Kind: "source", Name: "doc-1"}}, got.changes)
	for _, bad := range []string{"", "x", "ff 1 2 ", "ff 2 1 \x00", "zz 1 2 \x00", "ff 1 2 \x00\xff\xff\xff"} {
		_, ok := parseMessage(bad)
		assert.False(t, ok, "%q", bad)
	}
	got, ok = parseMessage("00000000000000ff 41 42 \x04")
	assert.True(t, ok && !got.whole, "a flag of a later format has the log read")
}

// Each kind of member that docs/format.md has is known: doctor calls a log with others damaged.
func TestEachMemberOfTheLogThatThePageHasIsKnown(t *testing.T) {
	b, err := os.ReadFile("../../docs/format.md")
	require.NoError(t, err)
	_, table, ok := strings.Cut(string(b), "**Members with the score -1**")
	require.True(t, ok)
	table, _, _ = strings.Cut(table, "**A tick**")
	examples := map[string][]string{
		"i": {"i00000000000000ff"}, "k": {"k00000000000000ff@7"}, "l": {"l2:1"}, "m": {"m1796002500127825:1796002500200000"},
		"o": {"ot:604800000@1796030445000000", "ou:1@2"}, "r": {"r027129764c530111c8058879011d5c238983a164"}, "v": {"v:docs", "v*"}, "z": {"zn5c", "z1k@1796002500127825"},
	}
	seen := 0
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w)").FindAllStringSubmatch(table, -1) {
		seen++
		require.NotEmpty(t, examples[row[1]], "docs/format.md has a member %s…", row[1])
		for _, member := range examples[row[1]] {
			log := &changeLog{}
			log.member(member)
			assert.Empty(t, log.Foreign)
		}
	}
	assert.Equal(t, len(examples), seen)
	for _, member := range []string{"", "x", "i1", "m", "m1", "z", "z!", "z1@x", "l1", "ot:1"} {
		log := &changeLog{}
		log.member(member)
		assert.NotEmpty(t, log.Foreign, "%q", member)
	}
}
