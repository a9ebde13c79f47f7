package envelope

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/zeebo/xxh3"

	"github.com/tiercache/tiercache/invalidation"
)

// This is the format of version 1 as it was read and written by the release
// before version 2, to the byte: what such a process makes of today's entries,
// and the source of its entries in the corpus. It never changes.
//
//	stamp 13, nonce 8, version 1, flags 1, incarnation 8, tick 8, shape 8,
//	uvarint fresh, uvarint life, namespace, key, sources, payload, sum 8
//
// The stamp stood outside of what was then called the envelope.

const v1HeadLen = 34

func encodeV1(e *Entry, compress int) []byte {
	payload, flags := e.Payload, byte(0)
	if compress > 0 && len(payload) >= compress {
		if c := s2.Encode(nil, payload); len(c) < len(payload) {
			payload, flags = c, 2
		}
	}
	if e.Negative {
		flags |= 1
	}
	b := make([]byte, 0, v1Size(e)+len(payload))
	b = binary.BigEndian.AppendUint64(b, e.Nonce)
	b = append(b, 1, flags)
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
	b = binary.BigEndian.AppendUint64(b, xxh3.Hash(b))
	return append(append(make([]byte, 0, 13+len(b)), v1Stamp(e.Expires)...), b...)
}

func v1Size(e *Entry) int {
	n := v1HeadLen + 8 + 5*binary.MaxVarintLen64 + len(e.Namespace) + len(e.Key)
	for _, s := range e.Sources {
		n += len(s) + binary.MaxVarintLen32
	}
	return n
}

func v1Stamp(expires time.Time) string {
	const zeros = "0000000000000"
	s := strconv.FormatInt(max(expires.UnixMilli(), 1), 10)
	return zeros[min(len(s), 13):] + s
}

func decodeV1(stored string) (e Entry, err error) {
	if len(stored) < 13 {
		return e, fmt.Errorf("%w: 0 bytes", ErrDamaged)
	}
	var ms int64
	for _, digit := range []byte(stored[:13]) {
		if digit < '0' || digit > '9' {
			return e, fmt.Errorf("%w: no expiry stamp", ErrDamaged)
		}
		ms = 10*ms + int64(digit-'0')
	}
	if ms == 0 {
		return e, fmt.Errorf("%w: no expiry stamp", ErrDamaged)
	}
	e.Expires = time.UnixMilli(ms)
	raw := stored[13:]
	if len(raw) < v1HeadLen+8 {
		return e, fmt.Errorf("%w: %d bytes", ErrDamaged, len(raw))
	}
	body, sum := raw[:len(raw)-8], raw[len(raw)-8:]
	if xxh3.HashString(body) != uint64At(sum) {
		return e, fmt.Errorf("%w: wrong checksum", ErrDamaged)
	}
	if body[8] != 1 {
		return e, fmt.Errorf("%w: version %d", ErrDamaged, body[8])
	}
	flags := body[9]
	e.Nonce, e.Negative = uint64At(body), flags&1 != 0
	e.AsOf = invalidation.AsOf{Incarnation: uint64At(body[10:]), Tick: invalidation.Tick(uint64At(body[18:]))}
	e.Shape = uint64At(body[26:])
	r := v1Reader{rest: body[v1HeadLen:]}
	e.Fresh, e.Life = r.millis(), r.millis()
	e.Namespace, e.Key = r.text(), r.text()
	n := r.number()
	if n > 10_000 || n > uint64(len(r.rest)) {
		return e, fmt.Errorf("%w: %d sources", ErrDamaged, n)
	}
	for range n {
		e.Sources = append(e.Sources, r.text())
	}
	if r.bad {
		return e, fmt.Errorf("%w: cut short", ErrDamaged)
	}
	e.Payload = unsafeBytes(r.rest)
	if flags&2 != 0 {
		size, err := s2.DecodedLen(e.Payload)
		if err != nil || size > 64<<20 {
			return e, fmt.Errorf("%w: claims %d bytes decompressed", ErrDamaged, size)
		}
		if e.Payload, err = s2.Decode(nil, e.Payload); err != nil {
			return e, errors.Join(ErrDamaged, err)
		}
	}
	return e, nil
}

type v1Reader struct {
	rest string
	bad  bool
}

func (r *v1Reader) number() uint64 {
	n, w := binary.Uvarint(unsafeBytes(r.rest[:min(len(r.rest), binary.MaxVarintLen64)]))
	if w <= 0 {
		r.bad = true
		return 0
	}
	r.rest = r.rest[w:]
	return n
}

func (r *v1Reader) text() string {
	n := r.number()
	if r.bad || n > uint64(len(r.rest)) {
		r.bad = true
		return ""
	}
	s := r.rest[:n]
	r.rest = r.rest[n:]
	return s
}

func (r *v1Reader) millis() time.Duration {
	n := r.number()
	if n > 100*366*24*3600*1000 {
		r.bad = true
		return 0
	}
	return time.Duration(n) * time.Millisecond
}
