package faultproxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
	"time"
)

// message is one complete RESP value as it was on the wire.
type message struct {
	raw  []byte
	push string    // name of the push, such as "invalidate" or "message"; empty for anything else
	at   time.Time // when it arrived
}

// maxMessage bounds what is kept of one message, and what a length may claim.
const maxMessage = 512 << 20

// respReader splits a stream into messages, of RESP2 and RESP3, in both
// directions.
type respReader struct {
	in  *bufio.Reader
	raw bytes.Buffer
}

func newReader(r io.Reader) *respReader { return &respReader{in: bufio.NewReaderSize(r, 16<<10)} }

// next returns the next message; its raw bytes are the caller's.
func (r *respReader) next() (message, error) {
	r.raw.Reset()
	kind, err := r.value()
	if err != nil {
		return message{}, err
	}
	m := message{raw: bytes.Clone(r.raw.Bytes())}
	if kind == '>' {
		m.push = pushName(m.raw)
	}
	return m, nil
}

// value copies one value, with all it contains, and returns its type. An
// attribute belongs to the value that follows it.
func (r *respReader) value() (kind byte, err error) {
	line, err := r.line()
	if err != nil {
		return 0, err
	}
	kind = line[0]
	switch kind {
	case '+', '-', ':', '_', ',', '#', '(':
		return kind, nil
	case '$', '=', '!':
		return kind, r.blob(line)
	case '*', '~', '>':
		return kind, r.values(line, 1)
	case '%':
		return kind, r.values(line, 2)
	case '|':
		if err := r.values(line, 2); err != nil {
			return 0, err
		}
		return r.value()
	case 'P', 'p', 'Q', 'q':
		return kind, nil // an inline command
	}
	return 0, fmt.Errorf("faultproxy: %q begins no RESP value", line)
}

// line copies a line and returns it without its end. It is never empty.
func (r *respReader) line() (string, error) {
	line, err := r.in.ReadSlice('\n')
	if err != nil {
		return "", err
	}
	if len(line) < 3 || line[len(line)-2] != '\r' {
		return "", fmt.Errorf("faultproxy: %.40q is no line of RESP", line)
	}
	r.raw.Write(line)
	return string(line[:len(line)-2]), nil
}

func length(line string) (int, error) {
	n, err := strconv.Atoi(line[1:])
	if err != nil || n < -1 || n > maxMessage {
		return 0, fmt.Errorf("faultproxy: bad length in %.40q", line)
	}
	return n, nil
}

func (r *respReader) blob(line string) error {
	n, err := length(line)
	if err != nil || n < 0 {
		return err
	}
	_, err = io.CopyN(&r.raw, r.in, int64(n)+2)
	return err
}

func (r *respReader) values(line string, each int) error {
	n, err := length(line)
	if err != nil {
		return err
	}
	for range n * each {
		if _, err := r.value(); err != nil {
			return err
		}
	}
	return nil
}

// pushName is the first element of a push, which is a string.
func pushName(raw []byte) string {
	_, rest, _ := bytes.Cut(raw, []byte("\r\n"))
	head, rest, _ := bytes.Cut(rest, []byte("\r\n"))
	if len(head) > 0 && head[0] == '$' {
		head, _, _ = bytes.Cut(rest, []byte("\r\n"))
		return string(head)
	}
	if len(head) > 0 && head[0] == '+' {
		return string(head[1:])
	}
	return "?"
}
