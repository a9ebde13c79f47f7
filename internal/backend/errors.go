package backend

import (
	"errors"
	"fmt"
	"time"
)

// ErrFull is matched by errors of a Write that the server refused because it has no
// memory left. The value was not stored; nothing else is wrong.
var ErrFull = errors.New("the server is out of memory for writes")

// ErrEvicted is matched by errors of a Write whose value was sent ahead of it, and had been evicted
// or had expired when it was to be put in place. The value was not stored; nothing else is wrong.
var ErrEvicted = errors.New("the server has evicted the value before it was in place")

// ErrResume is matched by errors of a purge that was to be resumed at a position that no
// purge has reported.
var ErrResume = errors.New("no position that a purge of the same namespace reported")

// ErrClosed is matched by errors of calls after Close.
var ErrClosed = errors.New("the connection is closed")

// OtherModeError is the error of a store with options o, of whose prefix stores of the
// other mode are open, with tracking or without; why it is without though it was not asked
// to be, or nothing. It may open after until, if they are closed; the zero time: as soon as they are closed.
func OtherModeError(o Options, why string, until time.Time) error {
	own, other := "has client tracking", "are WithoutTracking"
	if o.NoTracking {
		own, other = "is WithoutTracking", "have client tracking"
	}
	if why != "" {
		own = "is as WithoutTracking (" + why + ")"
	}
	text := fmt.Sprintf("this store %s and others of prefix %q that are open %s: they would not learn of each other's writes; open all with the same option, or with another prefix", own, o.Prefix, other)
	if !until.IsZero() {
		text += fmt.Sprintf(", or close the others and wait until %s", until.UTC().Format(time.TimeOnly+" UTC"))
	}
	return otherModeError(text)
}

type otherModeError string

func (e otherModeError) Error() string { return string(e) }

// MayPass: only once the other stores have been closed for a minute.
func (otherModeError) MayPass() bool { return false }
