package core

import (
	"errors"
	"fmt"

	"github.com/tiercache/tiercache/tier/internal/values"
)

// countEncodeError counts a value that could not be encoded, for Stats and Health.
func (c *Cache) countEncodeError(err error) {
	c.ns.Stats.EncodeErrors.Add(1)
	// The text of an error may hold a part of the value; that of a codec is the user's.
	where := "its codec failed, or it is too large"
	if u := (*values.Unencodable)(nil); errors.As(err, &u) {
		where = u.Where
	}
	c.ns.unencoded.Store(&where)
}

// EncodeWarnings name the namespaces whose values could not be encoded, and why that was so
// of the latest.
func (s *Store) EncodeWarnings() (out []string) {
	s.eachNamespace(func(ns *Namespace) {
		if where := ns.unencoded.Load(); where != nil {
			out = append(out, fmt.Sprintf("namespace %q: %d values could not be encoded and were not stored remotely, the latest because %s",
				ns.Path, ns.Stats.EncodeErrors.Load(), *where))
		}
	})
	return out
}

// warnOfGuess notes, once, that the sizes of a namespace's values are guesses.
func (c *Cache) warnOfGuess() {
	if c.typed.Warns && c.ns.guessed.Load() == nil {
		name := c.typed.Name
		c.ns.guessed.CompareAndSwap(nil, &name)
	}
}

// SizeWarnings name the types whose sizes are guesses.
func (s *Store) SizeWarnings() (out []string) {
	s.eachNamespace(func(ns *Namespace) {
		if name := ns.guessed.Load(); name != nil {
			out = append(out, fmt.Sprintf("namespace %q: values of type %s cannot be looked into, so their size in the local tier is a guess by their encoded length: say it with WithSize",
				ns.Path, *name))
		}
	})
	return out
}
