package tier

import (
	"errors"
	"slices"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/remoteerr"
)

// What names many keys is sent in pieces, one after another: each has the time that a request has, and what
// was read or stored stays so when a later one fails. While one is on its way, other requests wait for no more than that.
const (
	// pieceKeys is how many keys one request names.
	pieceKeys = 128
	// pieceBytes is how much one request stores: less than one entry more. What is larger is sent ahead, and counts little.
	pieceBytes = 128 << 10
	// pieceAhead is what an entry counts that is sent ahead.
	pieceAhead = 64 << 10
)

// nextPiece returns how many of the writes, at least one, are the next piece.
func nextPiece(n int, size func(i int) int) int {
	bytes := 0
	for i := range min(n, pieceKeys) {
		if bytes += min(size(i), pieceAhead); i > 0 && bytes > pieceBytes {
			return i
		}
	}
	return min(n, pieceKeys)
}

// endsPieces reports whether the pieces that follow one that had err are not to be sent: each would be waited for in vain.
func endsPieces(err error) bool { return remoteerr.Away(err) }

// inPieces calls f with a piece of the keys at a time, and returns its errors.
func inPieces(keys []string, f func(piece []string) error) error {
	var errs []error
	for piece := range slices.Chunk(keys, pieceKeys) {
		err := f(piece)
		if errs = append(errs, err); endsPieces(err) {
			break
		}
	}
	return errors.Join(errs...)
}

// silentItem returns the error of an item that tells so of the next piece, or nil.
func silentItem(items []backend.Item) error {
	for i := range items {
		if endsPieces(items[i].Err) {
			return items[i].Err
		}
	}
	return nil
}
