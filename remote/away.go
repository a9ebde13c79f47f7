package remote

import (
	"errors"
	"strings"
)

// Away reports whether err says that the server serves no client at present: it
// gave no answer, or one by which it refuses all requests. An error of one request
// alone (no memory for a write, no right to a command, a value of another type) is
// the answer of a server that works.
func Away(err error) bool {
	if err == nil || errors.Is(err, ErrFull) || errors.Is(err, ErrClosed) {
		return false
	}
	var log logError
	// guard: I8-unreadable-log
	if errors.As(err, &log) {
		return true // no entry can be judged without the log
	}
	if Unreachable(err) {
		return true
	}
	text, refused := refusalOf(err)
	if !refused {
		return false
	}
	code, _, _ := strings.Cut(text, " ")
	return servesNobody[code]
}

// servesNobody are the codes of such refusals. Some make the client retry until the
// request's deadline, so that they cost a caller as much as silence.
var servesNobody = map[string]bool{
	"LOADING":     true, // started, and still reading its data
	"BUSY":        true, // in a script that does not end
	"MASTERDOWN":  true, // a replica that has lost its primary
	"READONLY":    true, // a replica: a primary that was replaced
	"CLUSTERDOWN": true, // without a majority, or without an owner of the slot
	"NOAUTH":      true, // it does not accept the connection's user any more
	"WRONGPASS":   true,
}
