// Package protobuf stores protobuf messages:
//
//	users, err := tier.New[*userpb.User](store, "users", tier.WithCodec(protobuf.Codec{}))
//
// Values are pointers to generated messages. Which Go code was generated for a message, and by which version, does not matter to
// what is stored: entries are those of the message's full name, and fields that a version of a program does not know are kept.
package protobuf

import (
	"errors"
	"fmt"
	"reflect"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Codec is the codec of messages, for tier.WithCodec. The zero Codec is ready for use.
type Codec struct{}

// Marshal returns the wire format of v, a message. A nil message is an error, since the wire format has none: a loader that
// finds nothing returns tier.ErrNotFound.
func (Codec) Marshal(v any) ([]byte, error) {
	m, err := messageOf(v)
	if err != nil {
		return nil, err
	}
	// Maps in the order of their keys, so that equal messages have equal bytes.
	return proto.MarshalOptions{Deterministic: true}.Marshal(m)
}

// Unmarshal sets what v, a pointer to a nil message, points to.
func (Codec) Unmarshal(data []byte, v any) error {
	p := reflect.ValueOf(v)
	if p.Kind() != reflect.Pointer || p.IsNil() || p.Elem().Kind() != reflect.Pointer {
		return fmt.Errorf("protobuf: values are pointers to messages, not %T", v)
	}
	m, ok := reflect.New(p.Elem().Type().Elem()).Interface().(proto.Message)
	if !ok {
		return fmt.Errorf("protobuf: %v is no message", p.Elem().Type())
	}
	if err := proto.Unmarshal(data, m); err != nil {
		return fmt.Errorf("protobuf: %w", err)
	}
	p.Elem().Set(reflect.ValueOf(m))
	return nil
}

func messageOf(v any) (proto.Message, error) {
	m, ok := v.(proto.Message)
	switch {
	case !ok:
		return nil, fmt.Errorf("protobuf: a %T is no message: values are pointers to messages", v)
	case !m.ProtoReflect().IsValid():
		return nil, errors.New("protobuf: a nil message cannot be stored: return tier.ErrNotFound")
	}
	return m, nil
}

// Name names the format.
func (Codec) Name() string { return "protobuf" }

// Schema is the full name of the message that a t points to, so that entries are shared by all versions of its Go code. It is empty
// if t is no message.
func (Codec) Schema(t reflect.Type) string {
	if m, ok := reflect.Zero(t).Interface().(proto.Message); ok && t.Kind() == reflect.Pointer {
		return string(m.ProtoReflect().Descriptor().FullName())
	}
	return ""
}

// Size estimates the bytes of heap of v, a message. It reads the message as its methods do, which is safe while others read it.
func (Codec) Size(v any) int64 {
	m, err := messageOf(v)
	if err != nil {
		return 0
	}
	return sizeOf(m.ProtoReflect())
}

// What Go's types take, on 64 bits.
const (
	word      = 8
	mapHeader = 48
	groupWord = 8 // of 8 slots of a map
)

func sizeOf(m protoreflect.Message) int64 {
	n := int64(len(m.GetUnknown()))
	if t := reflect.TypeOf(m.Interface()); t.Kind() == reflect.Pointer {
		n += rounded(int64(t.Elem().Size()))
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap():
			n += sizeOfMap(f, v.Map())
		case f.IsList():
			list := v.List()
			n += rounded(int64(list.Len()) * slot(f.Kind()))
			for i := range list.Len() {
				n += behind(f.Kind(), list.Get(i))
			}
		default:
			n += behind(f.Kind(), v)
			if f.HasPresence() && f.Message() == nil && f.Kind() != protoreflect.BytesKind {
				n += rounded(slot(f.Kind())) // a pointer to it
			}
		}
		return true
	})
	return n
}

func sizeOfMap(f protoreflect.FieldDescriptor, m protoreflect.Map) int64 {
	key, value := f.MapKey().Kind(), f.MapValue().Kind()
	slots := int64(8)
	for slots*7/8 < int64(m.Len()) {
		slots *= 2
	}
	n := mapHeader + rounded(slots*(slot(key)+slot(value))+slots/8*groupWord)
	m.Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		n += behind(key, k.Value()) + behind(value, v)
		return true
	})
	return n
}

// slot is what a field of a kind takes in a slice or a map.
func slot(k protoreflect.Kind) int64 {
	switch k {
	case protoreflect.StringKind:
		return 2 * word
	case protoreflect.BytesKind:
		return 3 * word
	case protoreflect.BoolKind:
		return 1
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind,
		protoreflect.FloatKind, protoreflect.EnumKind:
		return 4
	}
	return word
}

// behind is what a value refers to.
func behind(k protoreflect.Kind, v protoreflect.Value) int64 {
	switch k {
	case protoreflect.StringKind:
		return rounded(int64(len(v.String())))
	case protoreflect.BytesKind:
		return rounded(int64(len(v.Bytes())))
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return sizeOf(v.Message())
	}
	return 0
}

// rounded is about what the allocator takes for n bytes.
func rounded(n int64) int64 {
	switch {
	case n <= 16:
		return (n + 7) / 8 * 8
	case n <= 1024:
		return (n + 15) / 16 * 16
	}
	return n + n/16
}
