package tier

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"unsafe"

	"github.com/tiercache/tiercache/internal/resp"
	"github.com/tiercache/tiercache/internal/sizeof"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier/internal/inflight"
	"github.com/tiercache/tiercache/tier/internal/record"
)

// typed holds what a cache needs to know of the type of its values.
type typed struct {
	shape uint64       // a fingerprint, for the remote tier
	kind  *record.Kind // of the items
	name  string       // of the type
	// single and batch run a loader of the type: see loadFunc.
	single, batch func(ctx context.Context, k *record.Kind, loader any, fs []*inflight.Call, es []*Entry, out []loaded)
	// empty returns a new item with the zero value.
	empty func() *record.Item
	sizing
	// encode returns the value's bytes. They must not be written to: they may be the value.
	encode func(it *record.Item) ([]byte, error)
	// decode sets the item's value. The value does not refer to b, unless views is set and
	// b is at least as long as viewFrom; b is never written to.
	decode func(b []byte, it *record.Item) error
	// views: a value decoded from at least viewFrom bytes is a view of them.
	views bool
}

// viewFrom is the length from which on a string that was read is not copied out of
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
const viewFrom = resp.OwnText

// newTyped returns the functions for V, whose items are of kind k.
func newTyped[V any](k *record.Kind, enc *encoding, size sizing) typed {
	ty := typed{
		shape:  enc.shape,
		kind:   k,
		name:   reflect.TypeFor[V]().String(),
		empty:  func() *record.Item { var zero V; return record.NewItemOf(k, zero) },
		sizing: size,
		single: runSingle[V],
		batch:  runBatch[V],
	}
	switch codec := enc.codec; {
	case enc.json != nil:
		ty.encode = func(it *record.Item) ([]byte, error) { return encodeJSON(enc.json, record.ValueIn[V](it)) }
		ty.decode = func(b []byte, it *record.Item) (err error) {
			defer recovered("decoding", &err)
			return json.Unmarshal(b, record.ValueIn[V](it))
		}
	case codec != nil:
		ty.encode = func(it *record.Item) (b []byte, err error) {
			defer recovered("encoding", &err)
			return codec.Marshal(*record.ValueIn[V](it))
		}
		ty.decode = func(b []byte, it *record.Item) (err error) {
			defer recovered("decoding", &err)
			return codec.Unmarshal(b, record.ValueIn[V](it))
		}
	case reflect.TypeFor[V]() == reflect.TypeFor[string]():
		ty.encode = encodeString
		ty.decode, ty.views = decodeString, true
	case reflect.TypeFor[V]() == reflect.TypeFor[[]byte]():
		ty.encode, ty.decode = encodeBytes, decodeBytes
	}
	return ty
}

// ownSize is the size of the item of a V itself, less the part that local.Overhead
// counts: an entry that points to its value.
func ownSize[V any]() int64 {
	size, _ := record.RoomOf[V]()
	return size - sizeof.Type[local.Entry[*record.Item]]()
}

func encodeString(it *record.Item) ([]byte, error) {
	s := *record.ValueIn[string](it)
	return unsafe.Slice(unsafe.StringData(s), len(s)), nil
}

func decodeString(b []byte, it *record.Item) error {
	s := record.ValueIn[string](it)
	if len(b) >= viewFrom {
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
