package envelope

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
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
		Head:  Head{Expires: time.UnixMilli(1_700_000_000_123), Nonce: 1<<64 - 1, AsOf: invalidation.AsOf{Incarnation: 7, Tick: 42}, Shape: 9},
		Fresh: time.Minute, Life: time.Hour, Namespace: "a:b", Key: "k\x00\xff", Sources: []string{"one", "", "two"},
		Payload: bytes.Repeat([]byte("payload "), 100),
	}
	negative := full
	negative.Negative, negative.Payload = true, nil
	sources := full
	sources.Sources = many
	cost, validator, took, fields := full, full, full, full
	cost.Cost, validator.Validator, took.LoadTook = 1<<40, `W/"67ab43"`, 1234567*time.Microsecond
	fields.Cost, fields.Validator, fields.LoadTook = math.MaxInt64, strings.Repeat("v", MaxValidator), century
	zero := Entry{Head: Head{Expires: time.UnixMilli(1)}}
	long := zero
	long.Key = strings.Repeat("k", 1<<20)
	return map[string]Entry{
		"zero": zero, "full": full, "negative": negative, "sources": sources, "long": long,
		"cost": cost, "validator": validator, "load time": took, "all fields": fields,
	}
}

func same(t *testing.T, want, got Entry) {
	t.Helper()
	require.Equal(t, len(want.Payload), len(got.Payload))
	require.True(t, bytes.Equal(want.Payload, got.Payload))
	want.Payload, got.Payload = nil, nil
	want.compressed, got.compressed = false, false
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
			head, err := DecodeHead(string(raw[:HeadLen]))
			require.NoError(t, err, name)
			require.Equal(t, got.Head, head, "it says the same without the value")
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

func TestWhatCannotBeReadIsNotEncoded(t *testing.T) {
	for name, e := range map[string]Entry{
		"encoded value":  {Payload: make([]byte, MaxPayload+1)},
		"sources":        {Sources: make([]string, MaxSources+1)},
		"validator":      {Validator: strings.Repeat("v", MaxValidator+1)},
		"cost -1":        {Cost: -1},
		"a load took -1": {LoadTook: -1},
		"a load took":    {LoadTook: century + 1},
	} {
		_, err := Encode(&e, 0)
		require.ErrorContains(t, err, name)
	}
}

// The expiry is 13 digits whatever the time is: what is read is the nearest that
// can be written, and what is over stays over.
func TestTheExpiryHasRoomForEveryTime(t *testing.T) {
	for _, at := range []time.Time{{}, time.UnixMilli(-1), time.UnixMilli(1), time.UnixMilli(999_999_999_999), time.UnixMilli(1e13 - 1), time.UnixMilli(1e13), time.UnixMilli(math.MaxInt64)} {
		raw, err := Encode(&Entry{Head: Head{Expires: at}}, 0)
		require.NoError(t, err)
		got, err := Decode(string(raw))
		require.NoError(t, err)
		require.Equal(t, min(max(at.UnixMilli(), 1), 1e13-1), got.Expires.UnixMilli())
	}
}

// An entry of today is at most eight bytes longer than one of version 1.
func TestAnEntryGrewByItsCheckAlone(t *testing.T) {
	for name, e := range entries() {
		if e.Cost != 0 || e.Validator != "" || e.LoadTook != 0 {
			continue
		}
		raw, err := Encode(&e, 0)
		require.NoError(t, err)
		require.LessOrEqual(t, len(raw)-len(encodeV1(&e, 0)), 8, name)
	}
}

func TestEveryDamageIsFound(t *testing.T) {
	e := entries()["full"]
	e.Cost, e.Validator, e.LoadTook = 1000, "v", time.Second
	for _, compress := range []int{0, 1} {
		raw, err := Encode(&e, compress)
		require.NoError(t, err)
		for i := range HeadLen {
			bad := bytes.Clone(raw)
			bad[i] ^= 0x20
			_, err := DecodeHead(string(bad[:HeadLen]))
			require.ErrorIs(t, err, ErrDamaged, "changed at %d", i)
		}
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

// sealed is body with a correct check and sum, as a hostile program would write it.
func sealed(body []byte) string {
	b := bytes.Clone(body)
	if len(b) >= HeadLen {
		binary.BigEndian.PutUint32(b[checkAt:], uint32(xxh3.Hash(b[:checkAt])))
	}
	return string(binary.BigEndian.AppendUint64(b, xxh3.Hash(b[min(len(b), nonceAt):])))
}

// head begins an entry of today that is still to be sealed.
func head(flags byte, rest ...byte) []byte { return headOf(version, flags, rest...) }

func headOf(version, flags byte, rest ...byte) []byte {
	b := make([]byte, HeadLen, HeadLen+len(rest))
	copy(b, "1700000000123")
	b[versionAt], b[flagsAt] = version, flags
	return append(b, rest...)
}

// stamped is a head that has something else in place of its expiry.
func stamped(expiry string) []byte {
	b := head(0, 0, 0, 0, 0, 0, 0)
	copy(b, expiry)
	return b
}

// withFields is an entry whose optional fields are these bytes.
func withFields(count byte, fields ...byte) []byte {
	return append(head(0, append([]byte{0, 0, count}, fields...)...), 0, 0, 0)
}

var endless = []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}

func hostile() map[string][]byte {
	bomb := binary.AppendUvarint(head(flagCompressed, 0, 0, 0, 0, 0, 0), MaxPayload+1)
	long := binary.AppendUvarint([]byte{tagValidator}, MaxValidator+1)
	return map[string][]byte{
		"nothing":            {},
		"cut in its head":    head(0)[:HeadLen-1],
		"empty":              head(0),
		"no digits":          stamped("17000000001x3"),
		"a sign":             stamped("-700000000123"),
		"no time":            stamped("0000000000000"),
		"endless number":     head(0, append([]byte{0xff}, endless...)...),
		"long life":          head(0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0),
		"no fields":          head(0, 0, 0),
		"long namespace":     head(0, 0, 0, 0, 5, 'a'),
		"longest namespace":  head(0, append([]byte{0, 0, 0}, endless...)...),
		"too many sources":   append(binary.AppendUvarint(head(0, 0, 0, 0, 0, 0), MaxSources+1), make([]byte, MaxSources+1)...),
		"missing sources":    head(0, 0, 0, 0, 0, 0, 3, 0, 0),
		"bomb":               bomb,
		"huge bomb":          binary.AppendUvarint(head(flagCompressed, 0, 0, 0, 0, 0, 0), 1<<32-1),
		"nothing compressed": head(flagCompressed, 0, 0, 0, 0, 0, 0),
		"not compressed":     head(flagCompressed, 0, 0, 0, 0, 0, 0, 5, 0xff, 0xff),

		"fewer fields than said":     withFields(255),
		"a field cut short":          withFields(1, 9, 200),
		"a field of endless length":  withFields(1, append([]byte{9}, endless...)...),
		"a field without a length":   head(0, 0, 0, 1, 9),
		"a field without a number":   withFields(1, 0, 0),
		"one without, to understand": withFields(1, mustUnderstand, 0),
		"a field twice":              withFields(2, tagCost, 1, 1, tagCost, 1, 2),
		"an unknown field twice":     withFields(2, 9, 0, 9, 0),
		"a field in both manners":    withFields(2, tagCost, 1, 1, tagCost|mustUnderstand, 1, 1),
		"fields out of order":        withFields(2, tagValidator, 1, 'v', tagCost, 1, 1),
		"no cost":                    withFields(1, tagCost, 0),
		"a cost of zero":             withFields(1, tagCost, 1, 0),
		"a cost and more":            withFields(1, tagCost, 2, 1, 1),
		"a negative cost":            withFields(1, append([]byte{tagCost, 10}, endless...)...),
		"an endless cost":            withFields(1, append([]byte{tagCost, 11, 0xff}, endless...)...),
		"no validator":               withFields(1, tagValidator, 0),
		"a long validator":           withFields(1, append(long, make([]byte, MaxValidator+1)...)...),
		"a load of no time":          withFields(1, tagLoadTook, 1, 0),
		"a load of centuries":        withFields(1, append([]byte{tagLoadTook, 10}, endless...)...),
	}
}

func TestWhatIsHostileIsRefusedThoughItsSumIsRight(t *testing.T) {
	_, err := Decode(sealed(head(0, 0, 0, 0, 0, 0, 0)))
	require.NoError(t, err, "the smallest there is")
	for name, body := range hostile() {
		_, err := Decode(sealed(body))
		require.ErrorIs(t, err, ErrDamaged, name)
		require.NotErrorIs(t, err, ErrFormat, name)
	}
}

// What another version wrote is no damage, and is never read as if it were of
// this one: whatever follows its head.
func TestWhatIsOfAnotherFormatSaysSo(t *testing.T) {
	full := entries()["full"]
	for name, raw := range map[string]string{
		"version 1":                   string(encodeV1(&full, 0)),
		"version 1, compressed":       string(encodeV1(&full, 1)),
		"version 3":                   sealed(headOf(3, 0, 0, 0, 0, 0, 0, 0)),
		"version 3, another sum":      sealed(headOf(3, 0)) + "and more",
		"version 3, no more":          sealed(headOf(3, 0))[:HeadLen],
		"version 3, no digits":        sealed(append([]byte("another stamp"), headOf(3, 0)[nonceAt:]...)),
		"version 255":                 sealed(headOf(255, 255)),
		"an unknown flag":             sealed(head(4, 0, 0, 0, 0, 0, 0)),
		"the highest flag":            sealed(head(0x80, 0, 0, 0, 0, 0, 0)),
		"a field to understand":       sealed(withFields(1, mustUnderstand|9, 1, 'x')),
		"another after known ones":    sealed(withFields(3, tagCost, 1, 1, 7, 0, mustUnderstand|127, 0)),
		"a known one to understand":   sealed(withFields(1, mustUnderstand|tagCost, 1, 1)),
		"one that is nothing but tag": sealed(withFields(1, mustUnderstand|9, 0)),
	} {
		_, err := Decode(raw)
		require.ErrorIs(t, err, ErrFormat, name)
		require.NotErrorIs(t, err, ErrDamaged, name)
	}
	old := encodeV1(&full, 0)
	old[len(old)-20]++
	_, err := Decode(string(old))
	require.ErrorIs(t, err, ErrDamaged, "of version 1, and damaged")
}

func TestAFieldThatIsNotKnownIsSkipped(t *testing.T) {
	e, err := Decode(sealed(append(head(0, 0, 0, 4, tagCost, 1, 5, 9, 3, 'n', 'e', 'w', 10, 0, 127, 1, 0xff), 0, 1, 'k', 0, 'p')))
	require.NoError(t, err)
	require.Equal(t, []any{int64(5), "k", "p"}, []any{e.Cost, e.Key, string(e.Payload)})
	var all []byte
	for n := byte(1); n <= 127; n++ {
		if n > tagLoadTook {
			all = append(all, n, 1, n)
		}
	}
	_, err = Decode(sealed(withFields(127-tagLoadTook, all...)))
	require.NoError(t, err)
}

// A process of the release before reads nothing of what is written today, with
// or without fields, and says why.
func TestAProcessOfVersion1MissesWhatIsWrittenToday(t *testing.T) {
	for name, e := range entries() {
		for _, compress := range []int{0, 1} {
			_, err := decodeV1(string(encodeV1(&e, compress)))
			require.NoError(t, err, name)
			raw, err := Encode(&e, compress)
			require.NoError(t, err)
			_, err = decodeV1(string(raw))
			require.ErrorContains(t, err, "version 2", name)
		}
	}
}

func TestAStatedCostIsBoundedByTheEncodedLength(t *testing.T) {
	for _, c := range []struct{ cost, encoded, want int64 }{
		{1, 1000, 1000}, {1000, 1000, 1000}, {1001, 1000, 1001},
		{68_096, 1000, 68_096}, {68_097, 1000, 68_096}, {math.MaxInt64, 1000, 68_096}, {5000, 0, 4096},
	} {
		require.Equal(t, c.want, StatedCost(c.cost, c.encoded), "%+v", c)
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
			f.Add(encodeV1(&e, 64))
		}
	}
	for _, raw := range readCorpus(f) {
		f.Add([]byte(raw[:max(0, len(raw)-sumLen)]))
	}
	for _, body := range hostile() {
		if len(body) < 1<<12 {
			f.Add(body)
		}
	}
	f.Add(append(head(flagCompressed, 0, 0, 0, 0, 0, 0), s2.Encode(nil, make([]byte, 1<<20))...))
	f.Add(withFields(4, tagCost, 1, 5, 9, 3, 'n', 'e', 'w', 10, 0, mustUnderstand|11, 1, 0xff))
	f.Fuzz(func(t *testing.T, body []byte) {
		_, _ = Decode(string(body)) // its sum is wrong, mostly
		raw := sealed(body)
		var e Entry
		var err error
		alloctest.Within(t, limit(raw), func() { e, err = Decode(raw) })
		if head, herr := DecodeHead(raw); herr == nil {
			if err == nil {
				require.Equal(t, head, e.Head)
			}
		} else {
			require.Error(t, err)
		}
		if err != nil {
			require.NotEqual(t, errors.Is(err, ErrDamaged), errors.Is(err, ErrFormat), "%v", err)
			return
		}
		require.LessOrEqual(t, len(e.Sources), MaxSources)
		require.LessOrEqual(t, len(e.Payload), max(len(body), MaxPayload))
		require.LessOrEqual(t, len(e.Validator), MaxValidator)
		for _, n := range []int64{int64(e.Life), int64(e.Fresh), e.Cost, int64(e.LoadTook), e.Expires.UnixMilli() - 1} {
			require.GreaterOrEqual(t, n, int64(0))
		}
		same(t, e, reread(t, e, 0))
		_, err = decodeV1(raw)
		require.Error(t, err, "version 1 would believe it")
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
		alloctest.Within(t, MaxPayload+alloctest.Slack, func() { out, err = decompress(b, MaxPayload) })
		if err != nil {
			require.ErrorIs(t, err, ErrDamaged)
		} else {
			claim, _ := binary.Uvarint(b)
			require.Equal(t, claim, uint64(len(out)))
			require.LessOrEqual(t, len(out), MaxPayload)
		}
		e := Entry{Head: Head{Expires: time.UnixMilli(1)}, Payload: b}
		same(t, e, reread(t, e, 1))
	})
}
