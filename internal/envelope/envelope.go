// Package envelope is the format of an entry in the remote tier: the value's
// bytes with all that a reader needs to decide whether to believe them.
// docs/format.md describes it, with what may change and what may not:
//
//	 0  13  expiry: when the entry ends, ms by the server's clock, digits  \
//	13   8  random number, which tells two writes of one key apart         |
//	21   1  version of the format                                          |
//	22   1  flags                                                          | the head,
//	23   8  as-of: incarnation of the change log                           | the same in
//	31   8  as-of: tick                                                    | every version
//	39   8  shape: fingerprint of the value's type and codec               | from 2 on
//	47   4  check: xxh3 of bytes 0-46                                      /
//	51      TTL, life; optional fields, each with a tag; namespace, key,
//	        sources; the encoded value
//	end  8  sum: xxh3 of all from byte 13 on
//
// Stored bytes are hostile. Decode accepts only what Encode of this or of a later
// version wrote, bounds every length by the input's, and checks a sum over all of
// it; it never panics and never allocates more than the input's size plus
// MaxPayload. Check and sum detect damage, not forgery: a program that can write to
// the server can write a correct entry.
package envelope

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
	"unsafe"

	"github.com/klauspost/compress/s2"
	"github.com/zeebo/xxh3"

	"github.com/tiercache/tiercache/invalidation"
)

const (
	version = 2

	flagNegative   = 1
	flagCompressed = 2
	knownFlags     = flagNegative | flagCompressed

	// Where the parts of the head begin.
	nonceAt       = 13 // behind the expiry
	versionAt     = 21
	flagsAt       = 22
	incarnationAt = 23
	tickAt        = 31
	shapeAt       = 39
	checkAt       = 47

	// HeadLen is how many leading bytes of an entry DecodeHead needs. They
	// distinguish two writes of one key.
	HeadLen = 51

	sumLen = 8

	// Optional fields, in ascending order of their numbers, which are the lower
	// seven bits of a tag. A reader that does not know a tag skips the field, or
	// treats the entry as a miss if the tag has the bit mustUnderstand.
	tagCost        = 1
	tagValidator   = 2
	tagLoadTook    = 3
	mustUnderstand = 0x80

	// MaxSources is how many sources one entry may name.
	MaxSources = 10_000
	// MaxPayload bounds a value's encoded size, before and after compression, unless
	// [EncodeWithin] and [DecodeWithin] are given another bound.
	MaxPayload = 64 << 20
	// MaxValidator bounds the length of a validator.
	MaxValidator = 1 << 10

	century = 100 * 366 * 24 * time.Hour // bounds every duration
)

// Head is the content of the first HeadLen bytes of an entry: enough to compare an
// entry with a copy of it, without the value.
type Head struct {
	// Expires is when the entry ends by the server's clock, in whole
	// milliseconds. It comes with the value, so that reading the remaining life
	// costs no second command.
	Expires time.Time
	// Nonce is a random number that distinguishes two writes of one key.
	Nonce uint64
	AsOf  invalidation.AsOf
	// Shape is a fingerprint of the value's type: bytes of another shape are not
	// decoded, since most codecs would succeed and give a wrong value.
	Shape uint64
	// Negative: the loader found that there is no value.
	Negative bool

	compressed bool
}

// Entry is what is stored under a key. The strings of a decoded one are parts of
// the input and keep it in memory.
type Entry struct {
	Head
	// Fresh is how long the value is served as fresh, Life how long it is kept
	// in the server, both from when it was written, in whole milliseconds.
	Fresh, Life time.Duration

	// Cost is the heap that the value takes in a local tier as its writer stated it,
	// in bytes; 0: not stated. It is no more to be trusted than the rest: see
	// StatedCost.
	Cost int64
	// Validator names the version of the value at its origin (an ETag, say), at
	// most MaxValidator bytes; empty: none.
	Validator string
	// LoadTook is how long the loader ran, in whole microseconds; 0: unknown.
	LoadTook time.Duration

	Namespace, Key string
	Sources        []string
	Payload        []byte
}

// Encode returns e as it is stored. A payload of at least compress bytes is
// compressed if that makes it smaller; 0 never compresses.
func Encode(e *Entry, compress int) ([]byte, error) { return EncodeWithin(e, compress, MaxPayload) }

// EncodeWithin is Encode with another bound on the encoded size of the value.
func EncodeWithin(e *Entry, compress int, most int64) ([]byte, error) {
	if err := e.check(most); err != nil {
		return nil, err
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
	b = appendExpiry(b, e.Expires)
	b = binary.BigEndian.AppendUint64(b, e.Nonce)
	b = append(b, version, flags)
	for _, n := range [...]uint64{e.AsOf.Incarnation, uint64(e.AsOf.Tick), e.Shape} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(xxh3.Hash(b)))
	b = binary.AppendUvarint(b, uint64(e.Fresh.Milliseconds()))
	b = binary.AppendUvarint(b, uint64(e.Life.Milliseconds()))
	b = appendFields(b, e)
	b = appendString(appendString(b, e.Namespace), e.Key)
	b = binary.AppendUvarint(b, uint64(len(e.Sources)))
	for _, s := range e.Sources {
		b = appendString(b, s)
	}
	b = append(b, payload...)
	return binary.BigEndian.AppendUint64(b, xxh3.Hash(b[nonceAt:])), nil
}

// check returns an error for an entry that Decode would refuse.
func (e *Entry) check(most int64) error {
	switch {
	case int64(len(e.Payload)) > most:
		return fmt.Errorf("encoded value is %d bytes long, the limit is %d", len(e.Payload), most)
	case len(e.Sources) > MaxSources:
		return fmt.Errorf("an entry names %d sources, the limit is %d", len(e.Sources), MaxSources)
	case len(e.Validator) > MaxValidator:
		return fmt.Errorf("validator is %d bytes long, the limit is %d", len(e.Validator), MaxValidator)
	case e.Cost < 0:
		return fmt.Errorf("cost %d: must not be negative", e.Cost)
	case e.LoadTook < 0 || e.LoadTook > century:
		return fmt.Errorf("a load took %v: must be between 0 and a hundred years", e.LoadTook)
	}
	return nil
}

func size(e *Entry) int {
	n := HeadLen + sumLen + 8*binary.MaxVarintLen64 + len(e.Validator) + len(e.Namespace) + len(e.Key)
	for _, s := range e.Sources {
		n += len(s) + binary.MaxVarintLen32
	}
	return n
}

// appendExpiry writes a time as 13 digits, which is possible until 2286. A time outside
// of the range is written as the nearest one inside.
func appendExpiry(b []byte, at time.Time) []byte {
	var digits [nonceAt]byte
	ms := min(max(at.UnixMilli(), 1), 1e13-1)
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = '0' + byte(ms%10)
		ms /= 10
	}
	return append(b, digits[:]...)
}

// appendFields writes the number of optional fields, and the fields.
func appendFields(b []byte, e *Entry) []byte {
	count := len(b)
	b = append(b, 0)
	if e.Cost > 0 {
		b[count]++
		b = appendNumber(b, tagCost, uint64(e.Cost))
	}
	if e.Validator != "" {
		b[count]++
		b = appendString(append(b, tagValidator), e.Validator)
	}
	if took := e.LoadTook.Microseconds(); took > 0 {
		b[count]++
		b = appendNumber(b, tagLoadTook, uint64(took))
	}
	return b
}

// appendNumber writes a field that holds one number.
func appendNumber(b []byte, tag byte, n uint64) []byte {
	b = append(b, tag, 0)
	at := len(b)
	b = binary.AppendUvarint(b, n)
	b[at-1] = byte(len(b) - at)
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// Every error of Decode and DecodeHead matches one of these.
var (
	// ErrDamaged: the bytes are no entry of any version.
	ErrDamaged = errors.New("not a valid entry")
	// ErrFormat: they are an entry of another version, or one with a field that has to
	// be understood and is not known.
	ErrFormat = errors.New("the entry is in a format that this release does not read")
)

// ExpiryOf returns the expiry of an entry that Encode returned.
func ExpiryOf(encoded []byte) time.Time {
	at, _ := readExpiry(unsafe.String(unsafe.SliceData(encoded), len(encoded)))
	return at
}

// LinkLen is the length of what stands before an entry that is stored beside another.
const LinkLen = 8

// Beside returns an entry as it is stored beside one of another encoding: behind the random
// number of that, the link.
func Beside(link uint64, encoded []byte) []byte {
	return append(binary.BigEndian.AppendUint64(make([]byte, 0, LinkLen+len(encoded)), link), encoded...)
}

// CutLink returns the link and the entry of what Beside returned.
func CutLink(raw string) (link uint64, entry string, ok bool) {
	if len(raw) < LinkLen {
		return 0, "", false
	}
	return uint64At(raw), raw[LinkLen:], true
}

// NonceOf returns the random number of an entry of this version or a later one; ok is false
// if raw is none.
func NonceOf(raw string) (nonce uint64, ok bool) {
	if len(raw) < HeadLen || uint32(xxh3.HashString(raw[:checkAt])) != uint32At(raw[checkAt:]) {
		return 0, false
	}
	return uint64At(raw[nonceAt:]), true
}

// DecodeHead reads the head of an entry; raw may be cut after HeadLen bytes, or later.
func DecodeHead(raw string) (h Head, err error) {
	err = h.decode(raw)
	return h, err
}

func (h *Head) decode(raw string) error {
	if len(raw) < HeadLen {
		return fmt.Errorf("%w: %d bytes", ErrDamaged, len(raw))
	}
	// guard: I9-head-checksum
	if uint32(xxh3.HashString(raw[:checkAt])) != uint32At(raw[checkAt:]) {
		return fmt.Errorf("%w: wrong check of its head", ErrDamaged)
	}
	flags := raw[flagsAt]
	switch {
	// guard: I9-version
	case raw[versionAt] != version:
		return unreadable(raw[versionAt])
	// guard: I9-unknown-flag
	case flags&^knownFlags != 0:
		return fmt.Errorf("%w: flags %#x", ErrFormat, flags)
	}
	var ok bool
	if h.Expires, ok = readExpiry(raw); !ok {
		return fmt.Errorf("%w: no expiry", ErrDamaged)
	}
	h.Nonce = uint64At(raw[nonceAt:])
	h.AsOf = invalidation.AsOf{Incarnation: uint64At(raw[incarnationAt:]), Tick: invalidation.Tick(uint64At(raw[tickAt:]))}
	h.Shape = uint64At(raw[shapeAt:])
	h.Negative, h.compressed = flags&flagNegative != 0, flags&flagCompressed != 0
	return nil
}

// Decode reads what is stored under a key.
func Decode(raw string) (e Entry, err error) { return DecodeWithin(raw, MaxPayload) }

// DecodeWithin is Decode with another bound on the encoded size of the value.
func DecodeWithin(raw string, most int64) (e Entry, err error) {
	if err = e.Head.decode(raw); err != nil {
		// guard: version-1-is-no-damage
		if isVersion1(raw) {
			err = unreadable(1)
		}
		return e, err
	}
	// guard: I9-checksum
	if !sumIsRight(raw) {
		return e, fmt.Errorf("%w: wrong checksum", ErrDamaged)
	}
	r := reader{rest: raw[HeadLen : len(raw)-sumLen]}
	e.Fresh, e.Life = r.duration(time.Millisecond), r.duration(time.Millisecond)
	if err := e.readFields(&r); err != nil {
		return e, err
	}
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
	if e.compressed {
		e.Payload, err = decompress(e.Payload, most)
	}
	return e, err
}

// sumIsRight checks all bytes except the expiry, which the check of the head covers. So
// a process of version 1, whose entries have the expiry outside, finds the sum right and
// reports that it does not know the version.
func sumIsRight(raw string) bool {
	end := len(raw) - sumLen
	return end >= nonceAt && xxh3.HashString(raw[nonceAt:end]) == uint64At(raw[end:])
}

// isVersion1 reports whether raw is an entry of version 1, whose head had no check. It is
// called only for bytes that are no entry of a later version.
func isVersion1(raw string) bool {
	return len(raw) >= HeadLen && raw[versionAt] == 1 && sumIsRight(raw)
}

func unreadable(v byte) error {
	return fmt.Errorf("%w: version %d, not %d", ErrFormat, v, version)
}

// readFields reads the optional fields. Their numbers ascend, so that none
// appears twice.
func (e *Entry) readFields(r *reader) error {
	last := byte(0)
	for range r.byte() {
		tag, value := r.byte(), reader{rest: r.text()}
		// guard: I9-repeated-field
		if tag&^mustUnderstand <= last {
			r.bad = true
		}
		last = tag &^ mustUnderstand
		switch {
		case r.bad:
		case tag == tagCost:
			n := value.number()
			e.Cost = int64(n)
			r.bad = n == 0 || n > math.MaxInt64
		case tag == tagValidator:
			e.Validator, value.rest = value.rest, ""
			// guard: I9-validator-length
			r.bad = e.Validator == "" || len(e.Validator) > MaxValidator
		case tag == tagLoadTook:
			e.LoadTook = value.duration(time.Microsecond)
			r.bad = e.LoadTook == 0
		// guard: I9-must-understand
		case tag&mustUnderstand != 0:
			return fmt.Errorf("%w: it does not know field %d, which has to be understood", ErrFormat, last)
		default:
			value.rest = ""
		}
		// guard: I9-rest-of-field
		if r.bad = r.bad || value.bad || value.rest != ""; r.bad {
			return fmt.Errorf("%w: bad field %d", ErrDamaged, last)
		}
	}
	return nil
}

// StatedCost is the cost that counts in a local tier for an entry with a stated cost,
// given its encoded length: stored bytes are hostile, and must neither make a large value
// seem small nor make a small one evict everything else.
func StatedCost(cost, encoded int64) int64 {
	return min(max(cost, encoded), 64*encoded+4<<10)
}

// decompress checks the claimed length before anything is allocated for it.
func decompress(b []byte, most int64) ([]byte, error) {
	n, err := s2.DecodedLen(b)
	// guard: I9-payload-size
	if err != nil || int64(n) > most {
		return nil, fmt.Errorf("%w: claims %d bytes decompressed, the limit is %d", ErrDamaged, n, most)
	}
	out, err := s2.Decode(nil, b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return out, nil
}

// reader reads values from a string and notes if there were too few bytes.
type reader struct {
	rest string
	bad  bool
}

func (r *reader) byte() byte {
	if r.rest == "" {
		r.bad = true
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
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

// duration reads a number of units, of a hundred years at most.
func (r *reader) duration(unit time.Duration) time.Duration {
	n := r.number()
	if n > uint64(century/unit) {
		r.bad = true
		return 0
	}
	return time.Duration(n) * unit
}

// readExpiry reads the digits that s begins with. It does so by hand, since it runs for
// every entry that is read.
func readExpiry(s string) (time.Time, bool) {
	var ms int64
	for _, digit := range []byte(s[:nonceAt]) {
		if digit < '0' || digit > '9' {
			return time.Time{}, false
		}
		ms = 10*ms + int64(digit-'0')
	}
	return time.UnixMilli(ms), ms > 0
}

func uint32At(s string) uint32 { return binary.BigEndian.Uint32(unsafeBytes(s[:4])) }

func uint64At(s string) uint64 { return binary.BigEndian.Uint64(unsafeBytes(s[:8])) }

// unsafeBytes returns a view of s as bytes, which must not be written to.
func unsafeBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
