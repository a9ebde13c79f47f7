// Package envelope is how an entry is written in the remote tier: the value's
// bytes with all that a reader needs to decide whether to believe them.
//
// What is read is hostile. Decode accepts nothing but what Encode wrote, bounds
// every length by the input's, and checks a sum over all of it; it never
// panics and never allocates more than the input's size plus MaxPayload. The
// sum detects damage, not forgery: whoever can write to the server can write a
// correct envelope.
package envelope

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"github.com/klauspost/compress/s2"
	"github.com/zeebo/xxh3"

	"github.com/tiercache/tiercache/invalidation"
)

const (
	version = 1

	flagNegative   = 1
	flagCompressed = 2

	// headLen: nonce 8, version 1, flags 1, incarnation 8, tick 8, shape 8.
	headLen = 34
	sumLen  = 8

	// MaxSources is how many sources one entry may name.
	MaxSources = 10_000
	// MaxPayload bounds a value's encoded size, before and after compression.
	MaxPayload = 64 << 20
)

// Entry is what an envelope holds. The strings of a decoded one are parts of
// the input and keep it in memory.
type Entry struct {
	// Nonce tells two writes of one key apart; it comes first.
	Nonce uint64
	AsOf  invalidation.AsOf
	// Shape is a fingerprint of the value's type: bytes of another are not
	// decoded, since most codecs would succeed and give a wrong value.
	Shape uint64
	// Negative: the loader said that there is no value.
	Negative bool
	// Fresh is how long the value is served as fresh, Life how long it is kept
	// in the server, both from when it was written, in whole milliseconds.
	Fresh, Life    time.Duration
	Namespace, Key string
	Sources        []string
	Payload        []byte
}

// Encode returns the envelope of e. A payload of at least compress bytes is
// compressed if that makes it smaller; 0 never compresses.
func Encode(e *Entry, compress int) ([]byte, error) {
	if len(e.Payload) > MaxPayload {
		return nil, fmt.Errorf("encoded value is %d bytes long, the limit is %d", len(e.Payload), MaxPayload)
	}
	if len(e.Sources) > MaxSources {
		return nil, fmt.Errorf("an entry names %d sources, the limit is %d", len(e.Sources), MaxSources)
	}
	payload, flags := e.Payload, byte(0)
	if compress > 0 && len(payload) >= compress {
		if c := s2.Encode(nil, payload); len(c) < len(payload) {
			payload, flags = c, flagCompressed
		}
	}
	if e.Negative {
		flags |= flagNegative
	}
	b := make([]byte, 0, size(e)+len(payload))
	b = binary.BigEndian.AppendUint64(b, e.Nonce)
	b = append(b, version, flags)
	for _, n := range [...]uint64{e.AsOf.Incarnation, uint64(e.AsOf.Tick), e.Shape} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	b = binary.AppendUvarint(b, uint64(e.Fresh.Milliseconds()))
	b = binary.AppendUvarint(b, uint64(e.Life.Milliseconds()))
	b = appendString(appendString(b, e.Namespace), e.Key)
	b = binary.AppendUvarint(b, uint64(len(e.Sources)))
	for _, s := range e.Sources {
		b = appendString(b, s)
	}
	b = append(b, payload...)
	return binary.BigEndian.AppendUint64(b, xxh3.Hash(b)), nil
}

func size(e *Entry) int {
	n := headLen + sumLen + 5*binary.MaxVarintLen64 + len(e.Namespace) + len(e.Key)
	for _, s := range e.Sources {
		n += len(s) + binary.MaxVarintLen32
	}
	return n
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// ErrDamaged is matched by every error of Decode.
var ErrDamaged = errors.New("not a valid entry")

// Decode reads an envelope.
func Decode(raw string) (e Entry, err error) {
	if len(raw) < headLen+sumLen {
		return e, fmt.Errorf("%w: %d bytes", ErrDamaged, len(raw))
	}
	body, sum := raw[:len(raw)-sumLen], raw[len(raw)-sumLen:]
	if xxh3.HashString(body) != uint64At(sum) {
		return e, fmt.Errorf("%w: wrong checksum", ErrDamaged)
	}
	if body[8] != version {
		return e, fmt.Errorf("%w: version %d", ErrDamaged, body[8])
	}
	flags := body[9]
	e.Nonce, e.Negative = uint64At(body), flags&flagNegative != 0
	e.AsOf = invalidation.AsOf{Incarnation: uint64At(body[10:]), Tick: invalidation.Tick(uint64At(body[18:]))}
	e.Shape = uint64At(body[26:])
	r := reader{rest: body[headLen:]}
	e.Fresh, e.Life = r.millis(), r.millis()
	e.Namespace, e.Key = r.text(), r.text()
	n := r.number()
	if n > MaxSources || n > uint64(len(r.rest)) {
		return e, fmt.Errorf("%w: %d sources", ErrDamaged, n)
	}
	for range n {
		e.Sources = append(e.Sources, r.text())
	}
	if r.bad {
		return e, fmt.Errorf("%w: cut short", ErrDamaged)
	}
	e.Payload = unsafeBytes(r.rest)
	if flags&flagCompressed != 0 {
		e.Payload, err = decompress(e.Payload)
	}
	return e, err
}

// decompress checks the claimed length before anything is allocated for it.
func decompress(b []byte) ([]byte, error) {
	n, err := s2.DecodedLen(b)
	if err != nil || n > MaxPayload {
		return nil, fmt.Errorf("%w: claims %d bytes decompressed, the limit is %d", ErrDamaged, n, MaxPayload)
	}
	out, err := s2.Decode(nil, b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return out, nil
}

// reader takes values off a string and remembers if there were too few bytes.
type reader struct {
	rest string
	bad  bool
}

func (r *reader) number() uint64 {
	n, w := binary.Uvarint(unsafeBytes(r.rest[:min(len(r.rest), binary.MaxVarintLen64)]))
	if w <= 0 {
		r.bad = true
		return 0
	}
	r.rest = r.rest[w:]
	return n
}

func (r *reader) text() string {
	n := r.number()
	if r.bad || n > uint64(len(r.rest)) {
		r.bad = true
		return ""
	}
	s := r.rest[:n]
	r.rest = r.rest[n:]
	return s
}

// millis reads a duration of less than a hundred years.
func (r *reader) millis() time.Duration {
	n := r.number()
	if n > 100*366*24*3600*1000 {
		r.bad = true
		return 0
	}
	return time.Duration(n) * time.Millisecond
}

func uint64At(s string) uint64 { return binary.BigEndian.Uint64(unsafeBytes(s[:8])) }

// unsafeBytes views s as bytes that nobody may write to.
func unsafeBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
