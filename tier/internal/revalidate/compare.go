// Package revalidate has suspended copies proven again: those of which a lost connection may have lost invalidations, and
// nothing else. What proves one is that the entry in the remote tier is still the same write, as a read of it would: the
// value is here already, so the head of the entry is enough. docs/rules.md has the rules V1 to V6.
package revalidate

import (
	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/envelope"
	"github.com/tiercache/tiercache/tier/internal/record"
)

// Answer is what the head of an entry says of a copy.
type Answer uint8

// The answers.
const (
	Same    Answer = iota // the entry is the write that the copy is of
	Missing               // there is none any more: it was evicted, or deleted, or has expired
	Other                 // it is another write
	Beside                // it is of another encoding, and the copy may stand beside it
)

// Compare compares a copy with the head of the entry under its name. With Beside it returns the link of what stands
// beside that.
func Compare(it *record.Item, head backend.Item) (a Answer, link uint64) {
	if !head.Found() {
		return Missing, 0
	}
	nonce, ok := envelope.NonceOf(head.Raw)
	switch {
	// guard: V3-same-write
	case ok && nonce == it.Meta().Nonce:
		return Same, 0
	case ok && isForeign(it, head.Raw):
		return Beside, nonce
	}
	return Other, 0
}

// isForeign reports whether an entry is of another encoding than the copy, or of a format of another release.
func isForeign(it *record.Item, raw string) bool {
	head, err := envelope.DecodeHead(raw)
	return err != nil || head.Shape != it.Shape && !head.Negative
}

// CompareBeside is Compare for the head of what stands beside the entry that was link.
func CompareBeside(it *record.Item, head backend.Item, link uint64) Answer {
	if !head.Found() {
		return Missing
	}
	was, raw, ok := envelope.CutLink(head.Raw)
	nonce, is := envelope.NonceOf(raw)
	// guard: V3-beside-link
	if ok && is && was == link && nonce == it.Meta().Nonce {
		return Same
	}
	return Other
}

// InOrder returns items, of which the first heads are those of keys with a copy, in the order of the keys.
func InOrder(items []backend.Item, heads int, copies []*record.Item) []backend.Item {
	if heads == 0 {
		return items
	}
	rest := items[heads:]
	ordered := make([]backend.Item, 0, len(items))
	for _, it := range copies {
		from := &rest
		if it != nil {
			from = &items
		}
		ordered = append(ordered, (*from)[0])
		*from = (*from)[1:]
	}
	return ordered
}
