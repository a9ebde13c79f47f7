package values

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/zeebo/xxh3"

	"github.com/tiercache/tiercache/internal/shape"
	"github.com/tiercache/tiercache/tier/internal/config"
	"github.com/tiercache/tiercache/tier/internal/record"
)

// Encoding is how the values of a view are encoded.
type Encoding struct {
	codec config.Codec // nil for the default
	json  *shape.JSON  // what the default codec does; nil if it stores values as they are
	shape uint64       // the fingerprint
}

// EncodingOf returns how values of V are encoded, or an error that names what the default
// codec would lose of them.
func EncodingOf[V any](cfg *config.Cache) (*Encoding, error) {
	t := reflect.TypeFor[V]()
	e := &Encoding{codec: cfg.Codec}
	switch {
	case cfg.LocalOnly:
	case e.codec != nil:
		e.shape = fingerprint("codec", codecName(e.codec), schemaOf(e.codec, t, cfg.Schema))
	// What is stored as it is has another fingerprint than what JSON makes of a type that
	// has the same kind and another name: a hello is not to be read as a "hello".
	case t == reflect.TypeFor[string]() || t == reflect.TypeFor[[]byte]():
		e.shape = asItIs[t.Kind()]
		if cfg.Schema != "" {
			e.shape = fingerprint("as it is", t.String(), cfg.Schema)
		}
	default:
		j, err := shape.JSONOf(t)
		if err != nil {
			return nil, fmt.Errorf("values of type %s need WithCodec, or a change: %w", t, err)
		}
		e.json, e.shape = j, j.Shape()
		if cfg.Schema != "" {
			e.shape = fingerprint("json", cfg.Schema)
		}
	}
	return e, nil
}

// Shared is what all views of a namespace agree in.
func (e *Encoding) Shared(cfg *config.Cache) record.Encoding {
	return record.Encoding{Codec: cfg.Codec, Fingerprint: e.shape, Schema: cfg.Schema, LocalOnly: cfg.LocalOnly}
}

// asItIs are the fingerprints of strings and []byte.
var asItIs = map[reflect.Kind]uint64{reflect.String: xxh3.HashString("string"), reflect.Slice: xxh3.HashString("slice uint8")}

// fingerprint hashes parts, each of which ends in a 0.
func fingerprint(parts ...string) uint64 {
	var b []byte
	for _, p := range parts {
		b = append(append(b, p...), 0)
	}
	return xxh3.Hash(b)
}

// codecName names the format of a codec.
func codecName(c config.Codec) string {
	if n, ok := c.(interface{ Name() string }); ok {
		return n.Name()
	}
	return shape.Name(reflect.TypeOf(c))
}

// schemaOf names what a codec can decode of a V: what the user says, or the codec, or the
// name of the type.
func schemaOf(c config.Codec, t reflect.Type, given string) string {
	if given != "" {
		return given
	}
	if s, ok := c.(interface{ Schema(t reflect.Type) string }); ok {
		if schema := s.Schema(t); schema != "" {
			return schema
		}
	}
	return shape.Name(t)
}

// Unencodable is the error of a value that cannot be stored remotely.
type Unencodable struct {
	Where string // the part of it, without what it holds; empty if that is not known
	err   error
}

func (u *Unencodable) Error() string { return u.err.Error() }
func (u *Unencodable) Unwrap() error { return u.err }

// encodeJSON encodes *v, and returns an error if that does not give *v back.
func encodeJSON(j *shape.JSON, v any) (b []byte, err error) {
	defer recovered("encoding", &err)
	b, err = shape.Marshal(v)
	if err != nil {
		if found := j.Explain(v); found != nil {
			// guard: error-without-the-value
			if strings.Contains(err.Error(), "number literal") {
				return nil, &Unencodable{found.Error(), found} // that of JSON has the text of the number
			}
			return nil, &Unencodable{found.Error(), fmt.Errorf("%w: %w", found, err)}
		}
		return nil, err
	}
	// guard: value-that-json-changes
	if err := j.Check(v, b); err != nil {
		return nil, &Unencodable{err.Error(), err}
	}
	return b, nil
}

// recovered turns a codec's panic into an error.
func recovered(doing string, err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("codec panicked while %s: %v", doing, p)
	}
}
