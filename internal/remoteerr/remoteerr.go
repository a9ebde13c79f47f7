// Package remoteerr tells what the error of a request says about the server, and makes such
// errors: of a request that was not sent, of a server that refuses, of a log that cannot be used.
package remoteerr

import (
	"errors"
	"net"
	"strings"

	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/wire"
)

// Away reports whether err says that the server serves no client at present: it
// gave no answer, or one by which it refuses all requests. An error of one request
// alone (no memory for a write, no right to a command, a value of another type) is
// the answer of a server that works.
func Away(err error) bool {
	if err == nil || errors.Is(err, backend.ErrFull) || errors.Is(err, backend.ErrClosed) {
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
	text, refused := RefusalOf(err)
	return refused && IsPassing(text)
}

// IsPassing reports whether a server that refuses with text serves no client at present.
func IsPassing(text string) bool {
	code, _, _ := strings.Cut(text, " ")
	return servesNone[code]
}

// servesNone are the codes of such refusals. Some make the client retry until the
// request's deadline, so that they cost a caller as much as silence.
var servesNone = map[string]bool{
	"LOADING":     true, // started, and still reading its data
	"BUSY":        true, // in a script that does not end
	"MASTERDOWN":  true, // a replica that has lost its primary
	"READONLY":    true, // a replica: a primary that was replaced
	"CLUSTERDOWN": true, // without a majority, or without an owner of the slot
	"NOAUTH":      true, // it does not accept the connection's user any more
	"WRONGPASS":   true,
}

// Unreachable reports whether err says that no answer came, rather than that
// the server refused.
func Unreachable(err error) bool {
	if err == nil {
		return false
	}
	var network net.Error
	_, refused := RefusalOf(err)
	return !refused || errors.As(err, &network)
}

// Unsent returns the error of a request of which nothing was sent, because of err.
func Unsent(err error) error { return unsentError{err} }

type unsentError struct{ error }

func (u unsentError) Unwrap() error { return u.error }
func (u unsentError) NotSent() bool { return true }

// NotSent reports whether err says that nothing of a request was sent, and so that no server will perform it: that of
// a connection that could not be had, or one with a method NotSent that says so.
func NotSent(err error) bool {
	var says interface{ NotSent() bool }
	var op *net.OpError
	return errors.As(err, &says) && says.NotSent() || errors.Is(err, ErrNoConnection) || errors.Is(err, wire.ErrUnsent) || errors.As(err, &op) && op.Op == "dial"
}

// ErrNoConnection is the error of a request that found no connection, and no room to wait for one.
var ErrNoConnection = errors.New("no connection, and too many requests wait for one")

// Refusal is a server's error.
type Refusal string

// Error leaves out the code that says nothing, as the client does.
func (r Refusal) Error() string { return strings.TrimPrefix(string(r), "ERR ") }

// RefusalOf returns what a server said that refused.
func RefusalOf(err error) (text string, ok bool) {
	if err == nil {
		return "", false
	}
	var server *valkey.ValkeyError
	if errors.As(err, &server) {
		return server.Error(), true
	}
	var direct Refusal
	if errors.As(err, &direct) {
		return direct.Error(), true
	}
	return "", false
}

// ErrReplaced is the error of a read of an entry that is replaced all the time. The server has answered, and refuses nothing.
const ErrReplaced = Refusal("the entry was replaced each time that it was read")

// OfRest is the error of a read that got the beginning of a large entry, and not the rest of it.
type OfRest struct{ Err error }

func (e OfRest) Error() string { return e.Err.Error() }
func (e OfRest) Unwrap() error { return e.Err }

// UnusableLog returns the error of a log that cannot be used because of err, although the server answers. No entry can be
// judged then: the server counts as away, so that it is asked again with each heartbeat
// and not for each read.
func UnusableLog(err error) error { return logError{err} }

type logError struct{ error }

func (e logError) Unwrap() error { return e.error }

// MayPass: what can be read again by waiting is no logError.
func (e logError) MayPass() bool { return false }
