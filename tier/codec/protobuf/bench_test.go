package protobuf_test

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/tier"
	"github.com/tiercache/tiercache/tier/codec/protobuf"
)

// BenchmarkRemoteHit reads small messages, and a string as long as each, from the remote tier.
func BenchmarkRemoteHit(b *testing.B) {
	b.Run("valkey", func(b *testing.B) { allHits(b, tier.WithValkey(valkeytest.Start(b).URL())) })
	b.Run("in-process", func(b *testing.B) { allHits(b) })
}

func allHits(b *testing.B, o ...tier.Option) {
	s, err := tier.Open(b.Context(), o...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	hits(b, s, "string-10", strings.Repeat("s", 10))
	hits(b, s, "message-10", durationpb.New(123456789012), tier.WithCodec(protobuf.Codec{}))
	hits(b, s, "string-50", strings.Repeat("s", 50))
	hits(b, s, "message-50", wrapperspb.String(strings.Repeat("s", 48)), tier.WithCodec(protobuf.Codec{}))
}

func hits[V any](b *testing.B, s *tier.Store, name string, v V, options ...tier.CacheOption) {
	b.Run(name, func(b *testing.B) {
		c, err := tier.New[V](s, name, options...)
		if err != nil {
			b.Fatal(err)
		}
		if err := c.Set(b.Context(), "k", v); err != nil {
			b.Fatal(err)
		}
		if m, ok := any(v).(proto.Message); ok {
			b.ReportMetric(float64(proto.Size(m)), "encoded-B")
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Get(b.Context(), "k", func(context.Context, *tier.Entry) (v V, err error) {
				b.Error("loaded")
				return v, nil
			}, tier.NoLocal()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
