package protobuf_test

import (
	"context"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tiercache/tiercache/tier"
	"github.com/tiercache/tiercache/tier/codec/protobuf"
)

// It is what tier looks for.
var _ interface {
	tier.Codec
	Name() string
	Schema(reflect.Type) string
	Size(v any) int64
} = protobuf.Codec{}

func views[V any](t *testing.T) (write, read *tier.Cache[V]) {
	s, err := tier.Open(t.Context(), tier.WithRemoteTimeout(10*time.Second))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	c, err := tier.New[V](s, "messages", tier.WithCodec(protobuf.Codec{}))
	require.NoError(t, err)
	return c, c
}

func document(n int) *structpb.Struct {
	s, err := structpb.NewStruct(map[string]any{"title": strings.Repeat("t", n), "tags": []any{"a", "b", true, 1.5, nil}, "more": map[string]any{"k": "v"}})
	if err != nil {
		panic(err)
	}
	return s
}

func TestAMessageComesBack(t *testing.T) {
	c, _ := views[*structpb.Struct](t)
	for i, want := range []*structpb.Struct{{}, document(0), document(5000)} {
		key := fmt.Sprint(i)
		require.NoError(t, c.Set(t.Context(), key, want))
		got, err := c.Get(t.Context(), key, func(context.Context, *tier.Entry) (*structpb.Struct, error) {
			return nil, fmt.Errorf("not stored")
		}, tier.NoLocal())
		require.NoError(t, err)
		require.True(t, proto.Equal(want, got), "%v", got)
	}
	require.ErrorContains(t, c.Set(t.Context(), "nil", nil), "nil message")
}

// Without the codec New says which to take.
func TestNewSaysThatMessagesNeedTheCodec(t *testing.T) {
	s, err := tier.Open(t.Context(), tier.WithRemoteTimeout(10*time.Second))
	require.NoError(t, err)
	defer s.Close()
	_, err = tier.New[*wrapperspb.StringValue](s, "messages")
	require.ErrorContains(t, err, "tier/codec/protobuf")
	c, err := tier.New[string](s, "text", tier.WithCodec(protobuf.Codec{}))
	require.NoError(t, err)
	require.ErrorContains(t, c.Set(t.Context(), "k", "v"), "no message")
}

func TestFieldsThatAreNotKnownAreKept(t *testing.T) {
	// What a later version of a message has written, with a field 100.
	m := &wrapperspb.StringValue{Value: "v"}
	m.ProtoReflect().SetUnknown([]byte{0xa2, 0x06, 0x01, 'x'})
	c := protobuf.Codec{}
	b, err := c.Marshal(m)
	require.NoError(t, err)
	var back *wrapperspb.StringValue
	require.NoError(t, c.Unmarshal(b, &back))
	require.True(t, proto.Equal(m, back))
	again, err := c.Marshal(back)
	require.NoError(t, err)
	require.Equal(t, b, again)
}

func TestWhatIsNoMessageIsAnError(t *testing.T) {
	c := protobuf.Codec{}
	var text string
	var value structpb.Struct
	var m *structpb.Struct
	require.Error(t, c.Unmarshal([]byte{}, &text))
	require.Error(t, c.Unmarshal([]byte{}, &value))
	require.Error(t, c.Unmarshal([]byte{}, nil))
	require.Error(t, c.Unmarshal([]byte{0xff, 0xff}, &m))
	require.Nil(t, m)
	_, err := c.Marshal("text")
	require.Error(t, err)
}

func TestTheSchemaIsTheNameOfTheMessage(t *testing.T) {
	c := protobuf.Codec{}
	require.Equal(t, "google.protobuf.Struct", c.Schema(reflect.TypeFor[*structpb.Struct]()))
	require.Empty(t, c.Schema(reflect.TypeFor[structpb.Struct]()))
	require.Empty(t, c.Schema(reflect.TypeFor[string]()))
	require.Empty(t, c.Schema(reflect.TypeFor[proto.Message]()))
}

var kept []proto.Message

// The size is within a factor of 2 of what is on the heap.
func TestTheSizeIsAboutWhatIsOnTheHeap(t *testing.T) {
	for name, make := range map[string]func(i int) proto.Message{
		"small":  func(i int) proto.Message { return wrapperspb.String(fmt.Sprint("value ", i)) },
		"number": func(i int) proto.Message { return durationpb.New(5) },
		"text":   func(i int) proto.Message { return wrapperspb.String(strings.Repeat("x", 3000)) },
		"bytes": func(i int) proto.Message {
			return &anypb.Any{TypeUrl: fmt.Sprint("type ", i), Value: []byte(strings.Repeat("y", 500))}
		},
		"maps": func(i int) proto.Message { return document(100) },
		"optional": func(i int) proto.Message {
			f := &descriptorpb.FileDescriptorProto{Name: proto.String(fmt.Sprint("file ", i)), Dependency: []string{"a/b.proto", "c/d.proto"}}
			for j := range 10 {
				f.MessageType = append(f.MessageType, &descriptorpb.DescriptorProto{Name: proto.String(fmt.Sprint("m", i, j)),
					Field: []*descriptorpb.FieldDescriptorProto{{Name: proto.String("field"), Number: proto.Int32(int32(j))}}})
			}
			return f
		},
	} {
		const n = 2000
		data, err := protobuf.Codec{}.Marshal(make(1))
		require.NoError(t, err)
		typ := reflect.TypeOf(make(1))
		var took, size float64
		for range 5 { // again, if something else was given back in between
			all := make_(n)
			kept = append(kept, all...) // with those before: if they were freed meanwhile, that would be counted too
			before := heap()
			for i := range n {
				p := reflect.New(typ)
				require.NoError(t, protobuf.Codec{}.Unmarshal(data, p.Interface()))
				all[i] = p.Elem().Interface().(proto.Message)
				kept[len(kept)-n+i] = all[i]
			}
			took = float64(heap()-before) / n
			size = float64(protobuf.Codec{}.Size(all[0]))
			t.Logf("%-10s %5d bytes encoded, %6.0f on the heap, %6.0f said", name, len(data), took, size)
			if size < 2*took && size > took/2 {
				break
			}
		}
		require.Less(t, size, 2*took, name)
		require.Greater(t, size, took/2, name)
	}
}

func make_(n int) []proto.Message { return make([]proto.Message, n) }

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A message may be read, and so marshalled, while it is sized and stored.
func TestAMessageCanBeReadWhileItIsStored(t *testing.T) {
	c, _ := views[*structpb.Struct](t)
	m := document(100)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range 50 {
				if i%2 == 0 {
					_ = m.String()
					_ = proto.Size(m)
					_, _ = proto.Marshal(m)
				} else if err := c.Set(t.Context(), "k", m); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}
