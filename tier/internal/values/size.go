package values

import (
	"fmt"
	"reflect"

	"github.com/tiercache/tiercache/internal/sizeof"
	"github.com/tiercache/tiercache/tier/internal/config"
	"github.com/tiercache/tiercache/tier/internal/record"
)

// Sizing is how it is known what the items of a view take.
type Sizing struct {
	// Size returns the heap bytes that an item and its value keep alive. If it is not known
	// what the value takes, whole is false and size a guess by its encoded length, which is 0
	// if that is not known yet.
	Size func(it *record.Item, encoded int) (size int64, whole bool)
	// Travels: the size is stored with the value, since other processes would have to look
	// at all of the value, or would guess otherwise.
	Travels bool
	// Warns: a size that is not whole is worth a warning.
	Warns bool
}

// SizingOf returns how items of V are sized. bounded: there is a bound on the bytes of local
// copies. Where there is none, no value is looked at.
func SizingOf[V any](cfg *config.Cache, bounded bool) (Sizing, error) {
	own := OwnSize[V]()
	var given func(V) int64
	if cfg.Size != nil {
		var ok bool
		if given, ok = cfg.Size.(func(V) int64); !ok {
			return Sizing{}, fmt.Errorf("WithSize has a %T, which does not size values of type %v", cfg.Size, reflect.TypeFor[V]())
		}
	} else if c, ok := cfg.Codec.(interface{ Size(v any) int64 }); ok && bounded && !cfg.RemoteOnly {
		given = func(v V) int64 { return c.Size(v) }
	}
	if given != nil {
		return Sizing{Travels: true, Size: func(it *record.Item, encoded int) (int64, bool) {
			if it.Negative {
				return own + it.Estimate(), true
			}
			size, ok := callSize(given, *record.ValueIn[V](it))
			if !ok {
				size = int64(encoded)
			}
			return own + it.Estimate() + size, ok
		}}, nil
	}
	if !bounded || cfg.RemoteOnly {
		return Sizing{Size: func(it *record.Item, encoded int) (int64, bool) {
			return own + it.Estimate() + int64(encoded), it.Negative
		}}, nil
	}
	t := reflect.TypeFor[V]()
	word := sizeof.Type[V]() // counted as a part of the item
	values := sizeof.For(t)
	isText := t == reflect.TypeFor[string]() || t == reflect.TypeFor[[]byte]()
	return Sizing{Warns: true, Travels: sizeof.Refers(t) && !isText, Size: func(it *record.Item, encoded int) (int64, bool) {
		size, guess := values.Of(record.ValueIn[V](it))
		size -= word
		switch {
		case guess > 0 && encoded > 0:
			// What was looked at may be in the encoded value as well.
			size = max(size+min(guess, int64(encoded)), int64(encoded))
		default:
			size += guess
		}
		return own + it.Estimate() + size, guess == 0
	}}, nil
}

// maxSize bounds what WithSize may say, so that sums do not overflow.
const maxSize = 1 << 50

// callSize calls the user's function. A panic of it is no size.
func callSize[V any](size func(V) int64, v V) (n int64, ok bool) {
	defer func() {
		if recover() != nil {
			n, ok = 0, false
		}
	}()
	return min(max(size(v), 0), maxSize), true
}
