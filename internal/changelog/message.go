package changelog

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/tiercache/tiercache/invalidation"
)

// Message is published on the store's channel for a change. It is a hint: a receiver
// applies it without reading the log only if it has missed no change before it.
type Message struct {
	Incarnation uint64
	Prev, Tick  invalidation.Tick
	// All is set when the change raised the floor.
	All bool
	// Scopes is empty either because only the floor changed or because the
	// change was too long to publish (Partial).
	Scopes []invalidation.Scope
	// Partial tells receivers to read the log, since the message is not complete.
	Partial bool

	bypass bool // BypassScope was among the scopes
}

const (
	// maxPublished bounds the scopes of one message; a longer change is
	// published as Partial.
	maxPublished = 1024

	flagAll     = 1
	flagPartial = 2
	flagsKnown  = flagAll | flagPartial
)

// Body encodes the part of a message that the caller knows; the server puts
// "incarnation prev tick " before it (see [ParseMessage]).
//
// It is a byte of flags and the scopes, each after its length as a uvarint. A later
// format may add flags; earlier versions read the log if they find one. It may also
// add parts after a length of 0: each a tag, the length of its content as a uvarint,
// and the content. Earlier versions skip a part with an odd tag, and read the log if
// they find one with an even tag.
func Body(scopes []invalidation.Scope, all bool) []byte {
	var flags byte
	if all {
		flags |= flagAll
	}
	if len(scopes) > maxPublished {
		return []byte{flags | flagPartial}
	}
	b := []byte{flags}
	for _, s := range scopes {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return b
}

// maxTick is above all ticks: a sorted set's scores are exact only below it.
const maxTick invalidation.Tick = 1 << 53

var errMessage = errors.New("undecodable change message")

// ParseMessage decodes a published message. Its input is hostile: the result
// is bounded by the input's length, and anything malformed is an error; the caller
// then reads the log.
func ParseMessage(raw string) (Message, error) {
	var m Message
	head := strings.SplitN(raw, " ", 4)
	if len(head) != 4 || len(head[3]) == 0 {
		return m, errMessage
	}
	inc, err := ParseIncarnation(head[0])
	if err != nil {
		return m, err
	}
	prev, err1 := strconv.ParseInt(head[1], 10, 64)
	tick, err2 := strconv.ParseInt(head[2], 10, 64)
	if err1 != nil || err2 != nil || prev < 0 || tick <= prev || invalidation.Tick(tick) >= maxTick {
		return m, errMessage
	}
	m.Incarnation, m.Prev, m.Tick = inc, invalidation.Tick(prev), invalidation.Tick(tick)
	body := head[3]
	// guard: later-message-format
	if body[0]&^flagsKnown != 0 {
		return m, errMessage
	}
	m.All = body[0]&flagAll != 0
	m.Partial = body[0]&flagPartial != 0
	m.Scopes, m.bypass, err = parseScopes(body[1:])
	return m, err
}

func parseScopes(body string) (out []invalidation.Scope, bypass bool, err error) {
	for len(body) > 0 {
		if body[0] == 0 {
			return out, bypass, skipParts(body[1:])
		}
		s, rest, ok := cutSized(body)
		if !ok || len(out) == maxPublished {
			return nil, false, errMessage
		}
		body = rest
		switch k, _ := kindOf(invalidation.Scope(s)); k {
		case ours:
			out = append(out, invalidation.Scope(s))
		case fromLaterVersion, foreign:
			return nil, false, errMessage
		case skippable:
			bypass = bypass || invalidation.Scope(s) == BypassScope
		}
	}
	return out, bypass, nil
}

// cutSized returns what follows its length, and the rest.
func cutSized(b string) (s, rest string, ok bool) {
	n, w := binary.Uvarint([]byte(b[:min(len(b), binary.MaxVarintLen64)]))
	if w <= 0 || n > maxMember || n > uint64(len(b)-w) {
		return "", "", false
	}
	return b[w : w+int(n)], b[w+int(n):], true
}

// skipParts returns an error unless all parts that a later format has added may be
// skipped.
func skipParts(b string) error {
	for {
		if len(b) == 0 || b[0]%2 == 0 {
			return errMessage
		}
		_, rest, ok := cutSized(b[1:])
		if !ok {
			return errMessage
		}
		if b = rest; len(b) == 0 {
			return nil
		}
	}
}

// NewIncarnation returns a random one, as FormatIncarnation spells it.
func NewIncarnation() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return FormatIncarnation(binary.BigEndian.Uint64(b[:]) | 1)
}

// FormatIncarnation and ParseIncarnation convert an incarnation to and from
// its sixteen hexadecimal digits in the log.
func FormatIncarnation(inc uint64) string { return fmt.Sprintf("%016x", inc) }

// ParseIncarnation is the inverse of [FormatIncarnation].
func ParseIncarnation(s string) (uint64, error) {
	inc, err := strconv.ParseUint(s, 16, 64)
	if err != nil || len(s) != 16 || inc == 0 {
		return 0, fmt.Errorf("bad incarnation %.20q", s)
	}
	return inc, nil
}
