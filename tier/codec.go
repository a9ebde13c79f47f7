package tier

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/zeebo/xxh3"

	"github.com/tiercache/tiercache/internal/shape"
)

// Codec turns values into bytes for the remote tier and back. Both methods may
// be called at once from many goroutines. Unmarshal is given a pointer to a
// zero value and must not keep data, which it must not write to either. A panic
// or an error of Unmarshal makes the read a miss.
type Codec interface {
	Marshal(v any) ([]byte, error)
	Unmarshal(data []byte, v any) error
}

type jsonCodec struct{}

func (jsonCodec) Marshal(v any) ([]byte, error)   { return json.Marshal(v) }
func (jsonCodec) Unmarshal(b []byte, v any) error { return json.Unmarshal(b, v) }

// typed encodes and decodes the values of one cache, as any.
type typed struct {
	shape  uint64
	encode func(v any) ([]byte, error)
	decode func(b []byte) (any, error)
}

// newTyped makes the functions for V, or says what of V would be lost.
func newTyped[V any](codec Codec, localOnly bool) (typed, error) {
	t := reflect.TypeFor[V]()
	ty := typed{shape: shape.Of(t)}
	var zero V
	switch any(zero).(type) {
	case string:
		if codec == nil {
			ty.encode = func(v any) ([]byte, error) { return []byte(v.(string)), nil }
			ty.decode = func(b []byte) (any, error) { return string(b), nil }
			return ty, nil
		}
	case []byte:
		if codec == nil {
			ty.encode, ty.decode = encodeBytes, decodeBytes
			return ty, nil
		}
	}
	if codec != nil {
		// What another codec wrote is not to be decoded: that may well succeed,
		// and a string of a JSON codec would be read with its quotes.
		ty.shape ^= xxh3.HashString(reflect.TypeOf(codec).String())
	} else {
		codec = jsonCodec{}
		if err := shape.CheckJSON(t); err != nil && !localOnly {
			return ty, fmt.Errorf("values of type %s need WithCodec: %w", t, err)
		}
	}
	ty.encode = func(v any) (b []byte, err error) {
		defer recovered("encoding", &err)
		return codec.Marshal(v)
	}
	ty.decode = func(b []byte) (out any, err error) {
		defer recovered("decoding", &err)
		var v V
		if err := codec.Unmarshal(b, &v); err != nil {
			return nil, err
		}
		return v, nil
	}
	return ty, nil
}

// encodeBytes keeps nil and empty apart: the first byte says which it is.
func encodeBytes(v any) ([]byte, error) {
	b := v.([]byte)
	if b == nil {
		return []byte{0}, nil
	}
	return append([]byte{1}, b...), nil
}

func decodeBytes(b []byte) (any, error) {
	switch {
	case len(b) == 1 && b[0] == 0:
		return []byte(nil), nil
	case len(b) > 0 && b[0] == 1:
		return append([]byte{}, b[1:]...), nil
	}
	return nil, errors.New("not encoded bytes")
}

// recovered turns a codec's panic into an error.
func recovered(doing string, err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("codec panicked while %s: %v", doing, p)
	}
}
