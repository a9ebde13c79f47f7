package wire

import (
	"bytes"
	"errors"
	"strconv"
)

// Kind is what a reply is.
type Kind byte

// The kinds of replies. What RESP3 has beyond them counts as what is next to it:
// floats are text, sets and maps are arrays.
const (
	Null Kind = iota
	Text
	Error
	Int // also booleans
	Array
)

// Reply is an answer of the server, or part of one. It shares no memory with other
// answers; the texts of an array that are shorter than 1 KiB may share theirs.
type Reply struct {
	Kind  Kind
	Text  string // of Text and Error
	Int   int64
	Array []Reply
}

var errProtocol = errors.New("wire: the server sent what is no RESP3")

// line returns the text of the line that b begins with, less its type, and what
// follows; ok is false if b does not hold it all. A line too short to be one is an
// empty text.
func line(b []byte) (text, rest []byte, ok bool) {
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		return nil, nil, false
	}
	return b[1:max(1, end-1)], b[end+1:], true
}

// number reads a length or an integer.
func number(b []byte) (int64, error) {
	if len(b) > 0 && len(b) < 18 && b[0] != '-' { // nearly all
		var n int64
		for _, c := range b {
			if c < '0' || c > '9' {
				return 0, errProtocol
			}
			n = n*10 + int64(c-'0')
		}
		return n, nil
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		return 0, errProtocol
	}
	return n, nil
}

// maxElements bounds what one message says it consists of.
const maxElements = 1 << 31

// scan is [scanner.scan] of what is there at once.
func scan(b []byte) (int, error) { return new(scanner).scan(b) }

// scanner finds the end of a message that comes in parts. It remembers how far it
// got, as a message of many small parts would take long to be read anew with each.
type scanner struct {
	at   int   // where it goes on
	left int64 // elements that are still to come, less one
}

// scan returns the length of the message that b begins with; 0 if b does not hold
// it all. Then it is to be called with the same and more.
func (s *scanner) scan(b []byte) (int, error) {
	rest := b[s.at:]
	for left := s.left + 1; left > 0; {
		s.at, s.left = len(b)-len(rest), left-1
		if len(rest) == 0 {
			return 0, nil
		}
		kind := rest[0]
		text, after, ok := line(rest)
		if !ok {
			return 0, nil
		}
		left--
		switch kind {
		case '+', '-', ':', '_', ',', '#', '(':
		case '$', '!', '=', '*', '~', '>', '%', '|':
			n, err := number(text) // of an empty text it is none
			if err != nil || n > maxElements {
				return 0, errProtocol
			}
			switch {
			case kind == '|':
				left += 2*max(n, 0) + 1 // what it is an attribute of is still to come
			case n < 0: // RESP2's null
			case kind == '*' || kind == '~' || kind == '>':
				left += n
			case kind == '%':
				left += 2 * n
			case int64(len(after)) < n+2:
				return 0, nil
			default:
				after = after[n+2:]
			}
		default:
			return 0, errProtocol
		}
		rest = after
	}
	*s = scanner{}
	return len(b) - len(rest), nil
}

// maxDepth is far beyond what the commands in use nest.
const maxDepth = 32

// decode reads a message that scan has found whole, and returns what follows it.
func decode(b []byte) (r Reply, rest []byte) {
	d := decoder{b: b}
	d.shares = len(b) > 0 && b[0] == '*' && len(b) <= sharedMost
	return d.decode(b, 0)
}

// decoder reads a message. The short texts of an array are parts of one copy of it,
// of which each would else be a piece of memory.
type decoder struct {
	b      []byte
	shares bool
	all    string // a copy of b, once it is needed
}

// OwnText is the length from which on a text has memory of its own: it shares none
// with other texts of its answer, and keeps nothing else alive. Package tier gives
// parts of such texts away as they are, and may not of shorter ones.
const OwnText = 1 << 10

// shortText is the length of texts that are not to keep the rest in memory.
const shortText = OwnText

// sharedMost is the length of messages of which one text may keep all in memory.
const sharedMost = 64 << 10

// text returns a copy of the n bytes that rest, an end of d.b, begins with.
func (d *decoder) text(rest []byte, n int) string {
	if !d.shares || n >= shortText {
		return string(rest[:n])
	}
	if d.all == "" {
		d.all = string(d.b)
	}
	at := len(d.b) - len(rest)
	return d.all[at : at+n]
}

func (d *decoder) decode(b []byte, depth int) (r Reply, rest []byte) {
	switch {
	case len(b) == 0: // behind what is nested too deeply
		return Reply{}, nil
	case depth > maxDepth:
		return Reply{Kind: Error, Text: "wire: an answer that is nested too deeply"}, nil
	}
	kind := b[0]
	text, rest, _ := line(b)
	switch kind {
	case '+', ',', '(':
		if string(text) == "OK" {
			return Reply{Kind: Text, Text: "OK"}, rest
		}
		return Reply{Kind: Text, Text: string(text)}, rest
	case '-':
		return Reply{Kind: Error, Text: string(text)}, rest
	case '_':
		return Reply{}, rest
	case '#':
		if string(text) == "t" {
			return Reply{Kind: Int, Int: 1}, rest
		}
		return Reply{Kind: Int}, rest
	}
	n, err := number(text)
	if err != nil {
		return Reply{Kind: Error, Text: errProtocol.Error()}, rest
	}
	switch kind {
	case ':':
		return Reply{Kind: Int, Int: n}, rest
	case '$', '=', '!':
		if n < 0 {
			return Reply{}, rest
		}
		value := d.text(rest, int(n))
		rest = rest[n+2:]
		switch {
		case kind == '!':
			return Reply{Kind: Error, Text: value}, rest
		case kind == '=' && len(value) >= 4:
			value = value[4:] // "txt:"
		}
		return Reply{Kind: Text, Text: value}, rest
	case '|':
		for range 2 * n {
			_, rest = d.decode(rest, depth+1)
		}
		return d.decode(rest, depth+1)
	case '%':
		n *= 2
	}
	if n < 0 {
		return Reply{}, rest
	}
	// Each element is three bytes at least.
	n = min(n, int64(len(rest)/3+1))
	r.Kind, r.Array = Array, make([]Reply, n)
	for i := range r.Array {
		r.Array[i], rest = d.decode(rest, depth+1)
	}
	return r, rest
}

func appendCommands(b []byte, cmds [][]string) []byte {
	for _, words := range cmds {
		b = appendCommand(b, words)
	}
	return b
}

// appendCommand encodes a command.
func appendCommand(b []byte, words []string) []byte {
	b = append(b, '*')
	b = strconv.AppendInt(b, int64(len(words)), 10)
	b = append(b, '\r', '\n')
	for _, w := range words {
		b = append(b, '$')
		b = strconv.AppendInt(b, int64(len(w)), 10)
		b = append(b, '\r', '\n')
		b = append(b, w...)
		b = append(b, '\r', '\n')
	}
	return b
}
