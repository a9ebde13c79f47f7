package envelope

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/invalidation"
)

func benchmarked(payload int, sources ...string) *Entry {
	return &Entry{
		Head:  Head{Expires: time.UnixMilli(1_700_000_000_123), Nonce: 1<<64 - 1, AsOf: invalidation.AsOf{Incarnation: 7, Tick: 42}, Shape: 9},
		Fresh: time.Minute, Life: time.Hour, Namespace: "docs:technical", Key: "a key of usual length", Sources: sources,
		Payload: bytes.Repeat([]byte("x"), payload),
	}
}

var sizes = []int{0, 100, 1000, 10_000}

// BenchmarkDecode is what each remote hit takes, beside that of version 1.
func BenchmarkDecode(b *testing.B) {
	for _, n := range sizes {
		e := benchmarked(n)
		raw, err := Encode(e, 0)
		require.NoError(b, err)
		old, now := string(encodeV1(e, 0)), string(raw)
		b.Run(fmt.Sprintf("v1/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = decodeV1(old)
			}
		})
		b.Run(fmt.Sprintf("v2/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = Decode(now)
			}
		})
	}
}

// BenchmarkEncode is what each fill and each Set takes, beside that of version 1.
func BenchmarkEncode(b *testing.B) {
	for _, n := range sizes {
		e := benchmarked(n)
		b.Run(fmt.Sprintf("v1/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = encodeV1(e, 0)
			}
		})
		b.Run(fmt.Sprintf("v2/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = Encode(e, 0)
			}
		})
	}
}

// A remote hit decodes without a piece of memory of its own, unless there are
// sources or the value is compressed.
func TestDecodingAllocatesNothing(t *testing.T) {
	e := benchmarked(1000)
	e.Cost, e.Validator, e.LoadTook = 1000, "v", time.Second
	raw, err := Encode(e, 0)
	require.NoError(t, err)
	text := string(raw)
	require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = Decode(text) }))
}
