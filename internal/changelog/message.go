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
	// Several: the message is of all that changed after Prev, up to Tick. Then neither All nor Scopes are set, but
	// Changes, each at its own position, and Floor, if that was raised there.
	Several bool
	Changes []ScopeTick
	Floor   invalidation.Tick

	bypass bool // BypassScope was among the scopes
}

const (
	// MaxPublished bounds the scopes of one message; a longer change is
	// published as Partial.
	MaxPublished = 1024
	// MaxSeveral bounds the length of a scope in a message of several changes, which has a byte for it.
	MaxSeveral = 127

	flagAll     = 1
	flagPartial = 2
	flagSeveral = 4
	flagsKnown  = flagAll | flagPartial | flagSeveral
)

// Body encodes the part of a message that the caller knows; the server puts
// "incarnation prev tick " before it (see [ParseMessage]).
//
// It is a byte of flags and the scopes, each after its length as a uvarint. A later
// format may add flags; earlier versions read the log if they find one. It may also
// add parts after a length of 0: each a tag, the length of its content as a uvarint,
// and the content. Earlier versions skip a part with an odd tag, and read the log if
// they find one with an even tag.
//
// A message of several changes has the flag 4, and each scope is followed by a text: how
// far its position is before that of the message. The floor is among them, as the scope
// "f", if it was raised. It is what a delta read from Prev on would have said, so a process
// that has applied all up to any of these positions may apply the rest without reading the
// log. (Versions that do not know the flag read it.)
func Body(scopes []invalidation.Scope, all bool) []byte {
	var flags byte
	if all {
		flags |= flagAll
	}
	if len(scopes) > MaxPublished {
		return []byte{flags | flagPartial}
	}
	b := []byte{flags}
	for _, s := range scopes {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return b
}

// BodyOfSeveral encodes what changed up to the tick, in the order of the positions; floor is 0 if it was not raised.
func BodyOfSeveral(changes []ScopeTick, floor, tick invalidation.Tick) []byte {
	if floor != 0 {
		changes = append(changes[:len(changes):len(changes)], ScopeTick{floorMember, floor})
	}
	if len(changes) > MaxPublished {
		return []byte{flagSeveral | flagPartial}
	}
	b := []byte{flagSeveral}
	for _, c := range changes {
		if len(c.Scope) > MaxSeveral {
			return []byte{flagSeveral | flagPartial}
		}
		b = append(append(b, byte(len(c.Scope))), c.Scope...)
		before := strconv.FormatInt(int64(tick-c.Tick), 10)
		b = append(append(b, byte(len(before))), before...)
	}
	return b
}

// floorMember is the member of the log whose score is the floor.
const floorMember = "f"

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
	if body[0]&flagSeveral != 0 {
		m.Several = true
		if m.All {
			return m, errMessage
		}
		return m, m.parseSeveral(body[1:])
	}
	m.Scopes, m.bypass, err = parseScopes(body[1:])
	return m, err
}

// parseSeveral reads the scopes of several changes and their positions.
func (m *Message) parseSeveral(body string) error {
	for len(body) > 0 {
		if body[0] == 0 {
			return skipParts(body[1:])
		}
		s, rest, ok := cutSized(body)
		before, rest, ok2 := cutSized(rest)
		distance, err := strconv.ParseInt(before, 10, 64)
		if !ok || !ok2 || err != nil || distance < 0 || distance >= int64(m.Tick-m.Prev) || len(m.Changes) == MaxPublished {
			return errMessage
		}
		body = rest
		c := ScopeTick{invalidation.Scope(s), m.Tick - invalidation.Tick(distance)}
		if c.Scope == floorMember {
			m.Floor = max(m.Floor, c.Tick)
			continue
		}
		switch k, _ := kindOf(c.Scope); k {
		case ours:
			m.Changes = append(m.Changes, c)
		case fromLaterVersion, foreign:
			return errMessage
		case skippable:
			m.bypass = m.bypass || c.Scope == BypassScope
		}
	}
	return nil
}

func parseScopes(body string) (out []invalidation.Scope, bypass bool, err error) {
	for len(body) > 0 {
		if body[0] == 0 {
			return out, bypass, skipParts(body[1:])
		}
		s, rest, ok := cutSized(body)
		if !ok || len(out) == MaxPublished {
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
