package tier

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/zeebo/xxh3"

	"github.com/tiercache/tiercache/internal/shape"
	"github.com/tiercache/tiercache/tier/internal/config"
	"github.com/tiercache/tiercache/tier/internal/record"
)

// Codec turns values into bytes for the remote tier and back. Both methods may
// be called at once from many goroutines. A panic or an error of Unmarshal makes the
// read a miss, which counts as [Damaged].
//
// Entries are stored with a fingerprint of how they are encoded, and what has another
// is not given to Unmarshal. It is made of the name of the codec's type, or what its
// method Name() string returns if it has that; and of what its method
// Schema(reflect.Type) string returns for V if it has that, or else the package and name
// of V, not its fields. [WithSchema] replaces the latter. So a codec decides itself what
// it makes of bytes that were written for a V with other fields.
type Codec interface {
	// Marshal returns the bytes of v, a V, which the library keeps. An error fails a Set; a
	// loaded value is returned all the same, and not stored.
	Marshal(v any) ([]byte, error)
	// Unmarshal sets what v points to: v is a *V, and what it points to is the zero V; if V
	// is itself a pointer, as a protobuf message is, that is a nil one, for which Unmarshal
	// makes the value. data is what Marshal gave, or what another version of the program
	// gave, or damaged: it must return an error and not a wrong value. It must neither keep
	// data nor write to it.
	Unmarshal(data []byte, v any) error
}

// encoding is how the values of a view are encoded.
type encoding struct {
	codec Codec       // nil for the default
	json  *shape.JSON // what the default codec does; nil if it stores values as they are
	shape uint64      // the fingerprint
}

// encodingOf returns how values of V are encoded, or an error that names what the default
// codec would lose of them.
func encodingOf[V any](cfg *config.Cache) (*encoding, error) {
	t := reflect.TypeFor[V]()
	e := &encoding{codec: cfg.Codec}
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

// shared is what all views of a namespace agree in.
func (e *encoding) shared(cfg *config.Cache) record.Encoding {
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
func codecName(c Codec) string {
	if n, ok := c.(interface{ Name() string }); ok {
		return n.Name()
	}
	return shape.Name(reflect.TypeOf(c))
}

// schemaOf names what a codec can decode of a V: what the user says, or the codec, or the
// name of the type.
func schemaOf(c Codec, t reflect.Type, given string) string {
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

// unencodable is the error of a value that cannot be stored remotely.
type unencodable struct {
	where string // the part of it, without what it holds; empty if that is not known
	err   error
}

func (u *unencodable) Error() string { return u.err.Error() }
func (u *unencodable) Unwrap() error { return u.err }

// encodeJSON encodes *v, and returns an error if that does not give *v back.
func encodeJSON(j *shape.JSON, v any) (b []byte, err error) {
	defer recovered("encoding", &err)
	b, err = shape.Marshal(v)
	if err != nil {
		if found := j.Explain(v); found != nil {
			return nil, &unencodable{found.Error(), fmt.Errorf("%w: %w", found, err)}
		}
		return nil, err
	}
	// guard: value-that-json-changes
	if err := j.Check(v, b); err != nil {
		return nil, &unencodable{err.Error(), err}
	}
	return b, nil
}

// countEncodeError counts a value that could not be encoded, for Stats and Health.
func (c *core) countEncodeError(err error) {
	c.ns.stats.encodeErrors.Add(1)
	// The text of an error may hold a part of the value; that of a codec is the user's.
	where := "its codec failed, or it is too large"
	if u := (*unencodable)(nil); errors.As(err, &u) {
		where = u.where
	}
	c.ns.unencoded.Store(&where)
}

// encodeWarnings name the namespaces whose values could not be encoded, and why that was so
// of the latest.
func (s *Store) encodeWarnings() (out []string) {
	for _, ns := range s.spaces() {
		if where := ns.unencoded.Load(); where != nil {
			out = append(out, fmt.Sprintf("namespace %q: %d values could not be encoded and were not stored remotely, the latest because %s",
				ns.Path, ns.stats.encodeErrors.Load(), *where))
		}
	}
	return out
}

// recovered turns a codec's panic into an error.
func recovered(doing string, err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("codec panicked while %s: %v", doing, p)
	}
}
