package values

import (
	"bytes"
	"encoding/json"
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
		Type
		value func(it *record.Item) any
	}{
		{codecFor[[]byte](f), func(it *record.Item) any { return *record.ValueIn[[]byte](it) }},
		{codecFor[string](f), func(it *record.Item) any { return *record.ValueIn[string](it) }},
		{codecFor[page](f), func(it *record.Item) any { return *record.ValueIn[page](it) }},
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, ty := range all {
			it := ty.Empty()
			var err error
			alloctest.Within(t, alloctest.Slack+64*len(b), func() { err = ty.Decode(b, it) })
			if err != nil {
				continue
			}
			stored, err := ty.Encode(it)
			require.NoError(t, err)
			again := ty.Empty()
			require.NoError(t, ty.Decode(stored, again))
			require.Equal(t, ty.value(it), ty.value(again))
			size, whole := ty.Size(it, len(stored))
			require.Positive(t, size)
			require.True(t, whole)
		}
	})
}

func codecFor[V any](t testing.TB) Type {
	enc, err := EncodingOf[V](&config.Cache{})
	require.NoError(t, err)
	size, err := SizingOf[V](&config.Cache{}, true)
	require.NoError(t, err)
	return New[V](record.NewKind[V](&struct{ name string }{}), enc, size)
}

// A long string is not copied out of what was read, and a short one is: it would
// keep an envelope alive that is longer than itself.
func TestALongStringIsAViewOfWhatWasRead(t *testing.T) {
	text := codecFor[string](t)
	for n, views := range map[int]bool{0: false, 1: false, ViewFrom - 1: false, ViewFrom: true, 1 << 16: true} {
		b := bytes.Repeat([]byte("x"), n)
		it := text.Empty()
		require.NoError(t, text.Decode(b, it))
		s := *record.ValueIn[string](it)
		require.Equal(t, string(b), s)
		require.Equal(t, views, n > 0 && unsafe.StringData(s) == unsafe.SliceData(b), n)
	}
	require.True(t, text.Views)
	require.False(t, codecFor[[]byte](t).Views, "a caller that is given bytes may write to them")
}

// An error may be logged, so it has the part of the value that is wrong and not what that holds.
func TestAnErrorDoesNotHaveWhatTheValueHolds(t *testing.T) {
	ty := codecFor[struct{ N json.Number }](t)
	it := ty.Empty()
	record.ValueIn[struct{ N json.Number }](it).N = "secret"
	_, err := ty.Encode(it)
	require.ErrorContains(t, err, ".N is a json.Number that is not a number")
	require.NotContains(t, err.Error(), "secret")
}
