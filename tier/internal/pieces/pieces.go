// Package pieces cuts what names many keys into requests.
package pieces

import (
	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/joined"
	"github.com/tiercache/tiercache/internal/remoteerr"
)

// What names many keys is sent in pieces, one after another: each has the time that a request has, and what
// was read or stored stays so when a later one fails. While one is on its way, other requests wait for no more than that.
const (
	// Keys is how many keys one request names.
	Keys = 128
	// maxBytes is how much one request stores: less than one entry more. What is larger is sent ahead, and counts little.
	maxBytes = 128 << 10
	// Ahead is what an entry counts that is sent ahead.
	Ahead = 64 << 10
)

// Next returns how many of the writes, at least one, are the next piece.
func Next(n int, size func(i int) int) int {
	bytes := 0
	for i := range min(n, Keys) {
		if bytes += min(size(i), Ahead); i > 0 && bytes > maxBytes {
			return i
		}
	}
	return min(n, Keys)
}

// EndAfter reports whether the pieces that follow one that had err are not to be sent: each would be waited for in vain.
func EndAfter(err error) bool { return remoteerr.Away(err) }

// Silence is what a batch has come to, whose pieces may have no answer. A process or a server that does not run for
// a moment is as silent as one that is gone, and what follows would all be loaded, or not be stored, tens of thousands of keys. So a
// piece without an answer is not the last: what reads or deletes is sent again, what stores is not. A batch waits in vain for at most two in
// a row.
type Silence struct {
	row int // pieces in a row without an answer
	all int
}

// mostSilent bounds the pieces of one batch that have no answer and are not the last.
const mostSilent = 4

// SilenceOf returns the Silence of a batch of so many keys. One of one piece waits once, as a read does.
func SilenceOf(keys int) Silence {
	if keys > Keys {
		return Silence{}
	}
	return Silence{row: 1, all: mostSilent}
}

// Ends is told of the error of each piece, or nil, and reports whether nothing more is to be asked for.
func (s *Silence) Ends(err error) bool {
	if !EndAfter(err) {
		s.row = 0
		return false
	}
	s.row++
	s.all++
	// guard: silent-piece-is-asked-again
	return s.row > 1 || s.all > mostSilent
}

// Each calls f with a piece of the keys at a time, and returns the keys of those that have failed or were not asked for, and the errors.
// A piece without an answer is not asked for again, and not the last: see Silence.
func Each(keys []string, f func(piece []string) error) (left []string, err error) {
	var errs []error
	silence := SilenceOf(len(keys))
	for len(keys) > 0 {
		piece := keys[:min(len(keys), Keys)]
		keys = keys[len(piece):]
		err := f(piece)
		if err != nil {
			errs, left = append(errs, err), append(left, piece...)
		}
		// guard: silent-piece-of-each-is-not-the-last
		if silence.Ends(err) {
			return append(left, keys...), joined.Errors(errs...)
		}
	}
	return left, joined.Errors(errs...)
}

// SilentItem returns the error of an item that tells so of the next piece, or nil.
func SilentItem(items []backend.Item) error {
	for i := range items {
		if EndAfter(items[i].Err) {
			return items[i].Err
		}
	}
	return nil
}
