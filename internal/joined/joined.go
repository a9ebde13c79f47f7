// Package joined makes one error of several, on one line: what is logged, or printed by a program that ends, is read a line at a time.
package joined

import "strings"

// Errors returns an error that matches each of errs and whose text has all of theirs, with semicolons between; the
// error itself if only one is not nil, and nil if none is.
func Errors(errs ...error) error {
	n, last := 0, error(nil)
	for _, err := range errs {
		if err != nil {
			n, last = n+1, err
		}
	}
	if n < 2 {
		return last
	}
	all := &several{make([]error, 0, n)}
	for _, err := range errs {
		if err != nil {
			all.errs = append(all.errs, err)
		}
	}
	return all
}

// several has at least two errors.
type several struct{ errs []error }

func (s *several) Error() string {
	texts := make([]string, len(s.errs))
	for i, err := range s.errs {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

func (s *several) Unwrap() []error { return s.errs }
