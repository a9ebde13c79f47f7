// Package unavailable makes the errors of requests that the remote tier did not answer.
package unavailable

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Request is one that was not answered.
type Request struct {
	Doing  string
	Server string        // without secrets
	Limit  time.Duration // for how long it was waited for at most; 0: another
}

// Error returns an error that matches sentinel, the end of the caller's context if it is not nil, and what err
// matches; but not the end of a context of the library's own, which a caller would take for the end of its own.
func (r Request) Error(sentinel, ended, err error) error {
	limit := ""
	if r.Limit > 0 {
		limit = fmt.Sprintf(" within %v", r.Limit)
	}
	matches := []error{sentinel}
	text := err.Error()
	if ended != nil {
		matches = append(matches, ended)
		if !errors.Is(err, ended) {
			text = ended.Error() + ": " + text
		}
	}
	return &failure{
		text:    fmt.Sprintf("%v: %s: %s%s: %s", sentinel, r.Doing, r.Server, limit, text),
		matches: append(matches, own{err}),
	}
}

type failure struct {
	text    string
	matches []error
}

func (f *failure) Error() string   { return f.text }
func (f *failure) Unwrap() []error { return f.matches }

// own is an error that does not match the end of a context.
type own struct{ err error }

func (o own) Error() string { return o.err.Error() }

// Is reports whether target, which is no end of a context, is matched.
func (o own) Is(target error) bool {
	// guard: own-deadline-is-not-callers
	return target != context.DeadlineExceeded && target != context.Canceled && errors.Is(o.err, target)
}

// As is for errors.As, which does not look below o.
func (o own) As(target any) bool { return errors.As(o.err, target) }
