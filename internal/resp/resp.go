// Package resp finds the messages of RESP2 and RESP3 in what a server sends, and refuses
// what is none.
package resp

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

const (
	// MaxDepth is how deep arrays may nest. Readers of them call themselves.
	MaxDepth = 32
	// MaxLine bounds texts that end with their line, in bytes: errors and statuses.
	MaxLine = 64 << 10
	// maxElements bounds what one message says that it consists of.
	maxElements = 1 << 31
)

// ErrMalformed is matched by errors of what is no RESP.
var ErrMalformed = errors.New("the server sent what is no RESP")

func malformed(why string, b []byte) error {
	return fmt.Errorf("%w: %s: %.40q", ErrMalformed, why, b[:min(len(b), 40)])
}

// Scanner finds the end of a message that comes in parts. It remembers how far it
// got, as a message of many small parts would take long to be read anew with each. The
// zero Scanner is ready for use.
type Scanner struct {
	at    int // where it goes on
	depth int
	left  [MaxDepth]int64 // at each depth, elements that are still to come
}

// Scan returns the length of the message that b begins with; 0 if b does not hold all of
// it. Then Scan is to be called with the same and more. After an error the Scanner is
// of no use.
func (s *Scanner) Scan(b []byte) (int, error) {
	if s.at == 0 {
		s.depth, s.left[0] = 0, 1
	}
	for {
		for s.left[s.depth] == 0 {
			if s.depth == 0 {
				n := s.at
				s.at = 0
				return n, nil
			}
			s.depth--
		}
		size, elements, err := element(b[s.at:], s.depth == 0 && s.at == 0)
		if size == 0 || err != nil {
			return 0, err
		}
		s.at += size
		s.left[s.depth]--
		if elements > 0 {
			// guard: array-depth
			if s.depth++; s.depth == MaxDepth {
				return 0, malformed("arrays are nested too deeply", b)
			}
			s.left[s.depth] = elements
		}
	}
}

// element returns the length of the element that b begins with, less those that it
// consists of, and how many these are. The length is 0 if b does not hold all of it.
func element(b []byte, first bool) (size int, elements int64, err error) {
	if len(b) == 0 {
		return 0, 0, nil
	}
	end := bytes.IndexByte(b[:min(len(b), MaxLine)], '\n')
	switch {
	case end < 0 && len(b) >= MaxLine:
		return 0, 0, malformed("a line is too long", b)
	case end < 0 && !known(b[0]):
		return 0, 0, malformed("a message of an unknown kind", b)
	case end < 0:
		return 0, 0, nil
	case end < 2 || b[end-1] != '\r':
		return 0, 0, malformed("a line without its end", b)
	}
	text := b[1 : end-1]
	size = end + 1
	switch kind := b[0]; kind {
	case '+', '-', ',', '(':
		return size, 0, nil
	case '_':
		if len(text) > 0 {
			return 0, 0, malformed("a null with a text", b)
		}
		return size, 0, nil
	case '#':
		if len(text) != 1 || text[0] != 't' && text[0] != 'f' {
			return 0, 0, malformed("a boolean that is neither", b)
		}
		return size, 0, nil
	case ':':
		if _, err := Number(text); err != nil {
			return 0, 0, malformed("an integer that is none", b)
		}
		return size, 0, nil
	case '$', '=', '!', '*', '~', '%', '>':
		n, err := Number(text)
		null := n == -1 && (kind == '$' || kind == '*') // RESP2's
		switch {
		// guard: negative-length
		case err != nil || n > maxElements || n < 0 && !null:
			return 0, 0, malformed("a length that is none", b)
		case null:
			return size, 0, nil
		case kind == '>' && !first:
			return 0, 0, malformed("a push inside of an answer", b)
		case kind == '%':
			return size, 2 * n, nil
		case kind == '*' || kind == '~' || kind == '>':
			return size, n, nil
		case int64(len(b)-size) < n+2:
			return 0, 0, nil
		case b[size+int(n)] != '\r' || b[size+int(n)+1] != '\n':
			return 0, 0, malformed("a text without its end", b)
		}
		return size + int(n) + 2, 0, nil
	}
	// Attributes and texts in parts among them, which no command in use is answered with.
	return 0, 0, malformed("a message of an unknown kind", b)
}

func known(kind byte) bool { return strings.IndexByte("+-,(_#:$=!*~%>", kind) >= 0 }

// Number reads a length or an integer.
func Number(b []byte) (int64, error) {
	if len(b) > 0 && len(b) < 18 && b[0] != '-' { // nearly all
		var n int64
		for _, c := range b {
			if c < '0' || c > '9' {
				return 0, ErrMalformed
			}
			n = n*10 + int64(c-'0')
		}
		return n, nil
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		return 0, ErrMalformed
	}
	return n, nil
}

// Head returns, of a message that Scan has found, its kind, and of an array, a map or a
// push the number of its elements (of a map keys and values) and the texts of as many of
// them as texts has room for: empty for what is no text, or is missing. Of any other it
// is the message's own text.
func Head(m []byte, texts [][]byte) (kind byte, elements int64) {
	clear(texts)
	line := bytes.IndexByte(m, '\n')
	kind = m[0]
	switch kind {
	case '*', '~', '>':
		elements, _ = Number(m[1 : line-1])
	case '%':
		elements, _ = Number(m[1 : line-1])
		elements *= 2
	default:
		if len(texts) > 0 {
			texts[0], _ = text(m)
		}
		return kind, 0
	}
	elements = max(elements, 0)
	rest := m[line+1:]
	for i := range min(elements, int64(len(texts))) {
		var n int
		if texts[i], n = text(rest); n == 0 { // an array, whose end is not known
			break
		}
		rest = rest[n:]
	}
	return kind, elements
}

// text returns the text that m begins with and the length of the whole; 0 if m begins
// with an array that has elements.
func text(m []byte) (text []byte, size int) {
	line := bytes.IndexByte(m, '\n')
	own := m[1 : line-1]
	switch m[0] {
	case '+', '-', ',', '(':
		return own, line + 1
	case '$', '=', '!':
		n, _ := Number(own)
		if n < 0 {
			return nil, line + 1
		}
		return m[line+1 : line+1+int(n)], line + 1 + int(n) + 2
	case '*', '~', '%', '>':
		if n, _ := Number(own); n > 0 {
			return nil, 0
		}
	}
	return nil, line + 1
}

// Unasked is the error of a message that nothing was asked for.
func Unasked(m []byte) error {
	if text, _, ok := bytes.Cut(m, []byte("\r\n")); ok && m[0] == '-' {
		return fmt.Errorf("the server ended the connection: %s", Said(text[1:]))
	}
	return fmt.Errorf("%w: an answer that nothing was asked for", ErrMalformed)
}

// Said is what a server's error says, for an error of ours: bounded, and without
// the arguments that it may repeat.
func Said(text []byte) string {
	s := string(text[:min(len(text), 200)])
	// guard: hide-repeated-arguments
	s, _, _ = strings.Cut(s, ", with args beginning with")
	return s
}
