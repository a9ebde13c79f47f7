package tier

import (
	"bytes"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/alloctest"
	"github.com/tiercache/tiercache/tier/internal/config"
	"github.com/tiercache/tiercache/tier/internal/record"
)

// page is decoded by the default codec, encoding/json.
type page struct {
	Title string
	Links []string
	Rank  map[string]float64
	Next  *page
}

// The bytes that codecs are given were checked by their sum, and may have been written by
// a hostile program all the same: codecs return a value or an error, allocate in
// proportion, and their values can be stored again.
func FuzzCodecs(f *testing.F) {
	for _, s := range []string{"", "\x00", "\x01", "\x02", "\x01bytes", "null", `""`, "{}", `{"Title":"t","Links":["a",""],"Rank":{"x":1},"Next":{"Next":null}}`,
		`{"Rank":{"x":1e400}}`, `[`, `{"Next":{"Next":{"Next":`, "\"\\ud800\"", "\xff"} {
		f.Add([]byte(s))
	}
	f.Add(bytes.Repeat([]byte(`{"Next":`), 20_000)) // encoding/json goes 10,000 deep
	f.Add(append(append([]byte(`{"Links":[`), bytes.Repeat([]byte(`"",`), 1000)...), `""]}`...))
	all := []struct {
		typed
		value func(it *record.Item) any
	}{
		{codecFor[[]byte](f), func(it *record.Item) any { return *record.ValueIn[[]byte](it) }},
		{codecFor[string](f), func(it *record.Item) any { return *record.ValueIn[string](it) }},
		{codecFor[page](f), func(it *record.Item) any { return *record.ValueIn[page](it) }},
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, ty := range all {
			it := ty.empty()
			var err error
			alloctest.Within(t, alloctest.Slack+64*len(b), func() { err = ty.decode(b, it) })
			if err != nil {
				continue
			}
			stored, err := ty.encode(it)
			require.NoError(t, err)
			again := ty.empty()
			require.NoError(t, ty.decode(stored, again))
			require.Equal(t, ty.value(it), ty.value(again))
			size, whole := ty.size(it, len(stored))
			require.Positive(t, size)
			require.True(t, whole)
		}
	})
}

func codecFor[V any](t testing.TB) typed {
	enc, err := encodingOf[V](&config.Cache{})
	require.NoError(t, err)
	size, err := sizingOf[V](&config.Cache{}, true)
	require.NoError(t, err)
	return newTyped[V](record.NewKind[V](&namespace{}), enc, size)
}

// A long string is not copied out of what was read, and a short one is: it would
// keep an envelope alive that is longer than itself.
func TestALongStringIsAViewOfWhatWasRead(t *testing.T) {
	text := codecFor[string](t)
	for n, views := range map[int]bool{0: false, 1: false, viewFrom - 1: false, viewFrom: true, 1 << 16: true} {
		b := bytes.Repeat([]byte("x"), n)
		it := text.empty()
		require.NoError(t, text.decode(b, it))
		s := *record.ValueIn[string](it)
		require.Equal(t, string(b), s)
		require.Equal(t, views, n > 0 && unsafe.StringData(s) == unsafe.SliceData(b), n)
	}
	require.True(t, text.views)
	require.False(t, codecFor[[]byte](t).views, "a caller that is given bytes may write to them")
}

// Guard: the values of items are found by their place, so another type's would be read as
// if it were one of ours.
func TestAValueOfAnotherTypeIsNotGivenOut(t *testing.T) {
	ns := &namespace{}
	c := &Cache[string]{core{ns: ns, typed: newTyped[string](record.NewKind[string](ns), &encoding{}, sizing{})}}
	require.Equal(t, "v", c.valueOf(record.NewItemOf(c.kind, "v")))
	require.Panics(t, func() { c.valueOf(record.NewItemOf(record.NewKind[[]byte](ns), []byte("v"))) })
	require.Panics(t, func() { c.valueOf(record.NewItemOf(c.kind.NegativeKind, "")) })
}
