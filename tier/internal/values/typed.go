// Package values knows the type of the values of a view: how they are encoded, decoded and sized, whether one was
// modified after it was given out.
package values

import (
	"encoding/json"
	"errors"
	"reflect"
	"unsafe"

	"github.com/tiercache/tiercache/internal/resp"
	"github.com/tiercache/tiercache/internal/sizeof"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier/internal/record"
)

// Type is what a cache needs to know of the type of its values.
type Type struct {
	Shape uint64       // a fingerprint, for the remote tier
	Kind  *record.Kind // of the items
	Name  string       // of the type
	// Empty returns a new item with the zero value.
	Empty func() *record.Item
	Sizing
	// Encode returns the value's bytes. They must not be written to: they may be the value.
	Encode func(it *record.Item) ([]byte, error)
	// Decode sets the item's value. The value does not refer to b, unless Views is set and
	// b is at least as long as ViewFrom; b is never written to.
	Decode func(b []byte, it *record.Item) error
	// DecodeApart is Decode for an item that is used again after its value was copied. A codec or a method of the value
	// may keep the address of what it decodes into, so that is never used again.
	DecodeApart func(b []byte, it *record.Item) error
	// Views: a value decoded from at least ViewFrom bytes is a view of them.
	Views bool
}

// ViewFrom is the length from which on a string that was read is not copied out of
// its envelope: the string keeps the rest of the envelope alive, about a hundred bytes.
// It is not less than the length from which on an envelope has memory of its own. Else
// callers would be given parts of shared memory:
//
//	A: reads 50 keys; their short envelopes are parts of one copy of the answer
//	A: is given a string of 300 bytes that is a part of that copy
//	A: keeps the string, and with it all 50, though it counts as 300 bytes; and if the
//	   copy is in memory that is used again for later answers:
//	B: reads other keys, and A's string shows parts of B's answer
//
// guard: I9-viewed-text-is-own
const ViewFrom = resp.OwnText

// New returns the functions for V, whose items are of kind k.
func New[V any](k *record.Kind, enc *Encoding, size Sizing) Type {
	ty := Type{
		Shape:  enc.shape,
		Kind:   k,
		Name:   reflect.TypeFor[V]().String(),
		Empty:  func() *record.Item { var zero V; return record.NewItemOf(k, zero) },
		Sizing: size,
	}
	switch codec := enc.codec; {
	case enc.json != nil:
		ty.Encode = func(it *record.Item) ([]byte, error) { return encodeJSON(enc.json, record.ValueIn[V](it)) }
		ty.Decode, ty.DecodeApart = decodersOf(func(b []byte, v *V) error { return json.Unmarshal(b, v) })
	case codec != nil:
		ty.Encode = func(it *record.Item) (b []byte, err error) {
			defer recovered("encoding", &err)
			return codec.Marshal(*record.ValueIn[V](it))
		}
		ty.Decode, ty.DecodeApart = decodersOf(func(b []byte, v *V) error { return codec.Unmarshal(b, v) })
	case reflect.TypeFor[V]() == reflect.TypeFor[string]():
		ty.Encode = encodeString
		ty.Decode, ty.DecodeApart, ty.Views = decodeString, decodeString, true
	case reflect.TypeFor[V]() == reflect.TypeFor[[]byte]():
		ty.Encode, ty.Decode, ty.DecodeApart = encodeBytes, decodeBytes, decodeBytes
	}
	return ty
}

// decodersOf returns Decode and DecodeApart of a function that may be the user's.
func decodersOf[V any](unmarshal func(b []byte, v *V) error) (decode, apart func(b []byte, it *record.Item) error) {
	into := func(b []byte, v *V) (err error) {
		defer recovered("decoding", &err)
		return unmarshal(b, v)
	}
	decode = func(b []byte, it *record.Item) error { return into(b, record.ValueIn[V](it)) }
	apart = func(b []byte, it *record.Item) error {
		// guard: decoded-apart-is-not-reused
		v := new(V)
		err := into(b, v)
		*record.ValueIn[V](it) = *v
		return err
	}
	return decode, apart
}

// OwnSize is the size of the item of a V itself, less the part that local.Overhead
// counts: an entry that points to its value.
func OwnSize[V any]() int64 {
	size, _ := record.RoomOf[V]()
	return size - sizeof.Type[local.Entry[*record.Item]]()
}

func encodeString(it *record.Item) ([]byte, error) {
	s := *record.ValueIn[string](it)
	return unsafe.Slice(unsafe.StringData(s), len(s)), nil
}

func decodeString(b []byte, it *record.Item) error {
	s := record.ValueIn[string](it)
	if len(b) >= ViewFrom {
		*s = unsafe.String(unsafe.SliceData(b), len(b))
	} else {
		*s = string(b)
	}
	return nil
}

// encodeBytes keeps nil and empty apart: the first byte says which it is.
func encodeBytes(it *record.Item) ([]byte, error) {
	b := *record.ValueIn[[]byte](it)
	if b == nil {
		return []byte{0}, nil
	}
	return append([]byte{1}, b...), nil
}

func decodeBytes(b []byte, it *record.Item) error {
	p := record.ValueIn[[]byte](it)
	switch {
	case len(b) == 1 && b[0] == 0:
		*p = nil
	case len(b) > 0 && b[0] == 1:
		*p = append([]byte{}, b[1:]...)
	default:
		return errors.New("not encoded bytes")
	}
	return nil
}
