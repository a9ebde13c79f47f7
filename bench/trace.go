package bench

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Limits bounds what reading a trace may take.
type Limits struct {
	Requests int // at most so many are read; 0: 20 million, which take 800 MB
	Line     int // bytes; a longer line is bad; 0: 4096
}

// BadLine is a line of a trace that is no request.
type BadLine struct {
	Number int // the first line is 1
	Why    error
}

func (b BadLine) String() string { return fmt.Sprintf("line %d: %v", b.Number, b.Why) }

// Trace is what was read from a file.
type Trace struct {
	Requests []Request
	Cut      bool      // Limits.Requests was reached, and there was more
	Bad      int       // lines that were left out
	BadLines []BadLine // the first 20 of them
}

const badLinesKept = 20

// ReadTraceFile reads a trace from a file: see [ReadTrace].
func ReadTraceFile(path string, limits Limits) (*Trace, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	t, err := ReadTrace(f, limits)
	if err != nil {
		return t, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// ReadTrace reads one request per line: key, or key,size, or key,size,time. The size is in bytes, the time in seconds
// since any moment, with decimals if wanted, and must not go back. An empty size or time is an unknown one. gzip and
// zstd are recognised by their first bytes.
//
// Bad lines are left out. The error is that of the file, for example of a damaged archive; what was read before it is
// returned too.
func ReadTrace(r io.Reader, limits Limits) (*Trace, error) {
	if limits.Requests == 0 {
		limits.Requests = 20_000_000
	}
	if limits.Line == 0 {
		limits.Line = 4096
	}
	t := &Trace{}
	plain, stop, err := decompress(bufio.NewReader(r))
	if err != nil {
		return t, err
	}
	defer stop()
	return t, t.read(bufio.NewReaderSize(plain, max(limits.Line, 64<<10)), limits)
}

// read never holds more than one buffer of the file.
func (t *Trace) read(r *bufio.Reader, limits Limits) error {
	var previous parsed
	for number := 1; ; number++ {
		line, err := nextLine(r, limits.Line)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && !errors.Is(err, errLong) {
			return fmt.Errorf("after line %d: %w", number-1, err)
		}
		if len(t.Requests) == limits.Requests {
			t.Cut = true
			return nil
		}
		p, bad := previous, err
		if bad == nil {
			bad = p.parse(line)
		}
		if bad != nil {
			t.bad(number, bad)
			continue
		}
		p.At = p.time - p.start // a line without a time has that of the line before
		t.Requests = append(t.Requests, p.Request)
		previous = p
	}
}

func (t *Trace) bad(number int, why error) {
	if t.Bad++; len(t.BadLines) < badLinesKept {
		t.BadLines = append(t.BadLines, BadLine{number, why})
	}
}

var errLong = errors.New("too long")

// nextLine returns a line without its end, valid until the next call. Of one longer than most bytes it skips all.
func nextLine(r *bufio.Reader, most int) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	long := len(bytes.TrimRight(line, "\r\n")) > most
	for errors.Is(err, bufio.ErrBufferFull) {
		long = true
		_, err = r.ReadSlice('\n')
	}
	if long && (err == nil || errors.Is(err, io.EOF)) {
		return nil, errLong
	}
	if errors.Is(err, io.EOF) && len(line) > 0 {
		err = nil // the last line may lack its end
	}
	return bytes.TrimRight(line, "\r\n"), err
}

// parsed is a request and where its trace's clock stands.
type parsed struct {
	Request
	begun       bool // a time was seen
	start, time time.Duration
}

func (p *parsed) parse(line []byte) error {
	fields := bytes.Split(line, []byte{','})
	if len(fields) > 3 {
		return fmt.Errorf("%d fields: want key, or key,size, or key,size,time", len(fields))
	}
	if len(fields[0]) == 0 {
		return errors.New("no key")
	}
	p.Request = Request{Key: KeyOf(fields[0])}
	if len(fields) > 1 && len(fields[1]) > 0 {
		size, err := strconv.ParseInt(string(fields[1]), 10, 64)
		if err != nil || size < 0 {
			return fmt.Errorf("size %q: want a number of bytes", fields[1])
		}
		p.Size = size
	}
	if len(fields) > 2 && len(fields[2]) > 0 {
		return p.parseTime(string(fields[2]))
	}
	return nil
}

func (p *parsed) parseTime(field string) error {
	seconds, err := strconv.ParseFloat(field, 64)
	if err != nil || math.IsNaN(seconds) || math.Abs(seconds) > 1<<33 {
		return fmt.Errorf("time %q: want seconds", field)
	}
	at := time.Duration(seconds * float64(time.Second))
	if p.begun && at < p.time {
		return fmt.Errorf("time %q: before that of an earlier line", field)
	}
	if !p.begun {
		p.begun, p.start = true, at
	}
	p.time = at
	return nil
}

func decompress(r *bufio.Reader) (plain io.Reader, stop func(), err error) {
	magic, _ := r.Peek(4) // a shorter file is a plain one
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(r)
		return z, func() {}, err
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return r, func() {}, nil
}
