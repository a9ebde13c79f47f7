package main

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/zeebo/xxh3"
)

// entry is a stored entry, as docs/format.md has it, without its value.
type entry struct {
	Expires    time.Time
	Negative   bool
	Compressed bool
	Encrypted  bool
	AsOf       position
	Shape      uint64
	TTL, Life  time.Duration
	Cost       int64
	LoadTime   time.Duration
	Namespace  string
	Key        string
	Sources    []string
	ValueBytes int // as it is stored
}

// written is when the entry was stored, by its server's clock.
func (e *entry) written() time.Time { return e.Expires.Add(-e.Life) }

const (
	headLen       = 51
	formatVersion = 2
	mostSources   = 10_000
	mostTime      = 100 * 365 * 24 * time.Hour
)

// errOtherFormat says that the bytes are an entry of another format than this program reads.
var errOtherFormat = errors.New("another format")

func damaged(what string) error { return fmt.Errorf("damaged: %s", what) }

// decodeEntry reads an entry. The bytes may be anything.
func decodeEntry(raw string) (*entry, error) {
	if len(raw) < headLen {
		return nil, damaged("it is too short")
	}
	if uint32(xxh3.HashString(raw[:47])) != binary.BigEndian.Uint32([]byte(raw[47:51])) {
		return nil, damaged("the check of its head is wrong")
	}
	if raw[21] != formatVersion {
		return nil, fmt.Errorf("%w: version %d, and this program reads %d", errOtherFormat, raw[21], formatVersion)
	}
	if raw[22]&^3 != 0 {
		return nil, fmt.Errorf("%w: flags %#x", errOtherFormat, raw[22])
	}
	if len(raw) < headLen+8 || xxh3.HashString(raw[13:len(raw)-8]) != binary.BigEndian.Uint64([]byte(raw[len(raw)-8:])) {
		return nil, damaged("its sum is wrong")
	}
	ms, err := strconv.ParseInt(raw[:13], 10, 64)
	if err != nil || ms < 0 {
		return nil, damaged("its expiry is no number")
	}
	e := &entry{
		Expires: time.UnixMilli(ms), Negative: raw[22]&1 != 0, Compressed: raw[22]&2 != 0,
		AsOf: position{incarnation: binary.BigEndian.Uint64([]byte(raw[23:31])),
			tick: int64(binary.BigEndian.Uint64([]byte(raw[31:39])))},
		Shape: binary.BigEndian.Uint64([]byte(raw[39:47])),
	}
	return e, e.decodeBody(&reader{rest: raw[headLen : len(raw)-8]})
}

func (e *entry) decodeBody(r *reader) error {
	e.TTL, e.Life = r.span(), r.span()
	for range r.octet() {
		if err := e.decodeField(r.octet(), r.text()); err != nil {
			return err
		}
	}
	e.Namespace, e.Key = r.text(), r.text()
	n := r.number()
	if n > mostSources || n > uint64(len(r.rest)) {
		r.bad = true
	}
	for range n {
		if r.bad {
			break
		}
		e.Sources = append(e.Sources, r.text())
	}
	e.ValueBytes = len(r.rest)
	if r.bad {
		return damaged("its fields exceed it")
	}
	return nil
}

func (e *entry) decodeField(tag byte, content string) error {
	r := reader{rest: content}
	switch tag &^ 0x80 {
	case 1:
		e.Cost = int64(min(r.number(), 1<<62))
	case 3:
		e.LoadTime = time.Duration(min(r.number(), uint64(mostTime/time.Microsecond))) * time.Microsecond
	case 2: // a validator
	case 4:
		e.Encrypted = true
	default:
		if tag&0x80 != 0 {
			return fmt.Errorf("%w: field %#x has to be understood", errOtherFormat, tag)
		}
	}
	return nil
}

// reader takes numbers and texts off a string. Once something is missing it is bad, and gives nothing any more.
type reader struct {
	rest string
	bad  bool
}

func (r *reader) octet() byte {
	if r.bad || r.rest == "" {
		r.bad = true
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

func (r *reader) number() uint64 {
	n, w := binary.Uvarint([]byte(r.rest[:min(len(r.rest), binary.MaxVarintLen64)]))
	if r.bad || w <= 0 {
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

// span is a time in ms.
func (r *reader) span() time.Duration {
	n := r.number()
	if n > uint64(mostTime/time.Millisecond) {
		r.bad = true
		return 0
	}
	return time.Duration(n) * time.Millisecond
}

const leaseSuffix = "!"

// entryName is the name under which the server has a key's entry.
func entryName(prefix, namespace, key string) string {
	h := xxh3.HashString128Seed(key, xxh3.HashString(namespace)).Bytes()
	return namespacePrefix(prefix, namespace) + ":{" + base64.RawURLEncoding.EncodeToString(h[:]) + "}"
}

// namespacePrefix begins the names of a namespace's entries.
func namespacePrefix(prefix, namespace string) string {
	var b strings.Builder
	b.WriteString(prefix + ":d:")
	for i := range len(namespace) {
		if c := namespace[i]; plainByte(c) || c == ':' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return b.String()
}

func plainByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '-' || b == '_' || b == '.'
}

// parseName takes the name of an entry or of its lease apart.
func parseName(prefix, name string) (namespace string, lease, ok bool) {
	name, ok = strings.CutPrefix(name, prefix+":d:")
	if !ok {
		return "", false, false
	}
	name, lease = strings.CutSuffix(name, leaseSuffix)
	at := strings.LastIndex(name, ":{")
	if at < 1 || !strings.HasSuffix(name, "}") {
		return "", false, false
	}
	namespace, ok = unescape(name[:at])
	return namespace, lease, ok
}

func unescape(s string) (string, bool) {
	if !strings.Contains(s, "%") {
		return s, true
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b.WriteByte(byte(n))
		i += 2
	}
	return b.String(), true
}
