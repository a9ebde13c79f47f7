package envelope

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/stretchr/testify/require"
	"github.com/zeebo/xxh3"

	"github.com/tiercache/tiercache/internal/alloctest"
	"github.com/tiercache/tiercache/invalidation"
)

func entries() map[string]Entry {
	many := make([]string, MaxSources)
	for i := range many {
		many[i] = "d"
	}
	full := Entry{
		Nonce: 1<<64 - 1, AsOf: invalidation.AsOf{Incarnation: 7, Tick: 42}, Shape: 9,
		Fresh: time.Minute, Life: time.Hour, Namespace: "a:b", Key: "k\x00\xff", Sources: []string{"one", "", "two"},
		Payload: bytes.Repeat([]byte("payload "), 100),
	}
	negative := full
	negative.Negative, negative.Payload = true, nil
	sources := full
	sources.Sources = many
	return map[string]Entry{"zero": {}, "full": full, "negative": negative, "sources": sources, "long": {Key: strings.Repeat("k", 1<<20)}}
}

func same(t *testing.T, want, got Entry) {
	t.Helper()
	require.Equal(t, len(want.Payload), len(got.Payload))
	require.True(t, bytes.Equal(want.Payload, got.Payload))
	want.Payload, got.Payload = nil, nil
	if len(want.Sources) == 0 {
		want.Sources = nil
	}
	require.Equal(t, want, got)
}

func TestAnEntryComesBackAsItWasEncoded(t *testing.T) {
	for name, e := range entries() {
		for _, compress := range []int{0, 1, 100, 1 << 20} {
			raw, err := Encode(&e, compress)
			require.NoError(t, err, name)
			got, err := Decode(string(raw))
			require.NoError(t, err, name)
			same(t, e, got)
			require.Equal(t, e.Nonce, binary.BigEndian.Uint64(raw), "the nonce comes first")
		}
	}
}

func TestCompressionIsUsedOnlyWhereItHelps(t *testing.T) {
	e := entries()["full"]
	plain, _ := Encode(&e, 0)
	small, _ := Encode(&e, 1)
	require.Less(t, len(small), len(plain))
	above, _ := Encode(&e, len(e.Payload)+1)
	require.Equal(t, plain, above)
	e.Payload = []byte("x")
	plain, _ = Encode(&e, 0)
	same1, _ := Encode(&e, 1)
	require.Equal(t, plain, same1)
}

func TestWhatIsTooLargeIsNotEncoded(t *testing.T) {
	_, err := Encode(&Entry{Payload: make([]byte, MaxPayload+1)}, 0)
	require.ErrorContains(t, err, "limit")
	_, err = Encode(&Entry{Sources: make([]string, MaxSources+1)}, 0)
	require.ErrorContains(t, err, "limit")
}

func TestEveryDamageIsFound(t *testing.T) {
	e := entries()["full"]
	for _, compress := range []int{0, 1} {
		raw, err := Encode(&e, compress)
		require.NoError(t, err)
		for i := range raw {
			_, err := Decode(string(raw[:i]))
			require.ErrorIs(t, err, ErrDamaged, "cut at %d", i)
			bad := bytes.Clone(raw)
			bad[i] ^= 0x20
			_, err = Decode(string(bad))
			require.ErrorIs(t, err, ErrDamaged, "changed at %d", i)
		}
		_, err = Decode(string(raw) + "x")
		require.ErrorIs(t, err, ErrDamaged)
	}
}

// sealed is body with a correct sum, as somebody hostile would write it.
func sealed(body []byte) string {
	return string(binary.BigEndian.AppendUint64(bytes.Clone(body), xxh3.Hash(body)))
}

func head(flags byte, rest ...byte) []byte {
	b := make([]byte, headLen, headLen+len(rest))
	b[8], b[9] = version, flags
	return append(b, rest...)
}

func hostile() map[string][]byte {
	bomb := binary.AppendUvarint(head(flagCompressed, 0, 0, 0, 0, 0), MaxPayload+1)
	return map[string][]byte{
		"empty":              head(0),
		"other version":      append([]byte{0, 0, 0, 0, 0, 0, 0, 0, 2}, head(0, 0, 0, 0, 0, 0)[9:]...),
		"endless number":     head(0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
		"long life":          head(0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0),
		"long namespace":     head(0, 0, 0, 5, 'a'),
		"longest namespace":  head(0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01),
		"too many sources":   append(binary.AppendUvarint(head(0, 0, 0, 0, 0), MaxSources+1), make([]byte, MaxSources+1)...),
		"missing sources":    head(0, 0, 0, 0, 0, 3, 0, 0),
		"bomb":               bomb,
		"huge bomb":          binary.AppendUvarint(head(flagCompressed, 0, 0, 0, 0, 0), 1<<32-1),
		"nothing compressed": head(flagCompressed, 0, 0, 0, 0, 0),
		"not compressed":     head(flagCompressed, 0, 0, 0, 0, 0, 5, 0xff, 0xff),
	}
}

func TestWhatIsHostileIsRefusedThoughItsSumIsRight(t *testing.T) {
	_, err := Decode(sealed(head(0, 0, 0, 0, 0, 0)))
	require.NoError(t, err, "the smallest there is")
	for name, body := range hostile() {
		_, err := Decode(sealed(body))
		require.ErrorIs(t, err, ErrDamaged, name)
	}
}

func TestABombIsRefusedBeforeAnythingIsAllocated(t *testing.T) {
	for name, body := range hostile() {
		if raw := sealed(body); strings.HasSuffix(name, "bomb") {
			alloctest.Within(t, alloctest.Slack, func() { _, err := Decode(raw); require.Error(t, err) })
		}
	}
}

// limit is what reading an envelope may allocate: the decompressed value, and
// the list of sources.
func limit(raw string) int { return MaxPayload + len(raw) + alloctest.Slack }

func FuzzDecode(f *testing.F) {
	for _, e := range entries() {
		if raw, err := Encode(&e, 64); err == nil && len(raw) < 1<<16 {
			f.Add(raw[:len(raw)-sumLen])
		}
	}
	for _, body := range hostile() {
		if len(body) < 1<<12 {
			f.Add(body)
		}
	}
	f.Add(append(head(flagCompressed, 0, 0, 0, 0, 0), s2.Encode(nil, make([]byte, 1<<20))...))
	f.Fuzz(func(t *testing.T, body []byte) {
		_, _ = Decode(string(body)) // its sum is wrong, mostly
		raw := sealed(body)
		var e Entry
		var err error
		alloctest.Within(t, limit(raw), func() { e, err = Decode(raw) })
		if err != nil {
			require.ErrorIs(t, err, ErrDamaged)
			return
		}
		require.LessOrEqual(t, len(e.Sources), MaxSources)
		require.LessOrEqual(t, len(e.Payload), max(len(body), MaxPayload))
		require.GreaterOrEqual(t, e.Life, time.Duration(0))
		require.GreaterOrEqual(t, e.Fresh, time.Duration(0))
		same(t, e, reread(t, e, 0))
	})
}

func reread(t *testing.T, e Entry, compress int) Entry {
	t.Helper()
	raw, err := Encode(&e, compress)
	require.NoError(t, err)
	again, err := Decode(string(raw))
	require.NoError(t, err)
	return again
}

// What claims to be compressed is decompressed within the limit and to the
// claimed size, or refused; and what is compressed here comes back.
func FuzzDecompress(f *testing.F) {
	for _, size := range []int{0, 1, 100, 1 << 16, 1 << 20} {
		f.Add(s2.Encode(nil, bytes.Repeat([]byte("a value "), size)[:size]))
	}
	for _, claim := range []uint64{0, 1, MaxPayload, MaxPayload + 1, 1<<32 - 1, 1<<64 - 1} {
		f.Add(binary.AppendUvarint(nil, claim))
		f.Add(append(binary.AppendUvarint(nil, claim), 0xfc, 0xff, 0xff, 0xff))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var out []byte
		var err error
		alloctest.Within(t, MaxPayload+alloctest.Slack, func() { out, err = decompress(b) })
		if err != nil {
			require.ErrorIs(t, err, ErrDamaged)
		} else {
			claim, _ := binary.Uvarint(b)
			require.Equal(t, claim, uint64(len(out)))
			require.LessOrEqual(t, len(out), MaxPayload)
		}
		e := Entry{Payload: b}
		same(t, e, reread(t, e, 1))
	})
}
