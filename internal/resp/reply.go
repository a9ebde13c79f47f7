package resp

import (
	"bytes"
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

// line returns the text of the line that b begins with, less its type, and what
// follows: nothing if b does not hold it all. A line too short to be one is an empty text.
func line(b []byte) (text, rest []byte) {
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		return nil, nil
	}
	return b[1:max(1, end-1)], b[end+1:]
}

// Decode reads a message that Scan has found whole, and returns what follows it.
func Decode(b []byte) (r Reply, rest []byte) {
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
	case depth > MaxDepth:
		return Reply{Kind: Error, Text: "an answer that is nested too deeply"}, nil
	}
	kind := b[0]
	text, rest := line(b)
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
	n, err := Number(text)
	if err != nil {
		return Reply{Kind: Error, Text: ErrMalformed.Error()}, rest
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

// AppendCommand encodes a command.
func AppendCommand(b []byte, words []string) []byte {
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

// invalidationHead begins each invalidation that names keys.
const invalidationHead = ">2\r\n$10\r\ninvalidate\r\n*"

// NamesKeys reports whether a push is an invalidation of the server's that names keys.
func NamesKeys(m []byte) bool { return bytes.HasPrefix(m, []byte(invalidationHead)) }

// Invalidated reads an invalidation that keys are to be forgotten; nil are all there are, as is
// what cannot be read. ok is false if m is no such invalidation.
func Invalidated(m []byte) (keys []string, ok bool) {
	if keys := named(m); len(keys) > 0 {
		return keys, true
	}
	var texts [1][]byte
	kind, _ := Head(m, texts[:])
	return nil, kind == '>' && string(texts[0]) == "invalidate"
}

// named returns the keys that an invalidation names; nil if it names none, or one cannot be read.
func named(m []byte) (keys []string) {
	if !NamesKeys(m) {
		return nil
	}
	count, rest := line(m[len(invalidationHead)-1:])
	n, err := Number(count)
	for err == nil && len(rest) > 0 && rest[0] == '$' {
		var length, after []byte
		var size int64
		length, after = line(rest)
		if size, err = Number(length); err != nil || size < 0 {
			return nil
		}
		keys = append(keys, string(after[:size])) // m is read into again
		rest = after[size+2:]
	}
	if err != nil || len(keys) != int(n) || len(rest) > 0 {
		return nil
	}
	return keys
}
