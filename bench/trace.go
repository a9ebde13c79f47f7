package bench

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/tiercache/tiercache/local"
)

// Limits bounds what reading a trace may take, and says what it is where that is not to be found out.
type Limits struct {
	Requests int // at most so many are read; 0: 20 million, which take 1 GB
	Line     int // bytes; a longer line is bad; 0: 4096 where a line is a key, else 1 MiB
	// Format is the name of one of the [Formats]; empty: it is recognised.
	Format string
	// Pattern finds the fields in a line of another format, by the names of its groups: key, and size, time, ttl, op.
	Pattern *regexp.Regexp
}

// BadLine is a line of a trace that is no request.
type BadLine struct {
	Number int // the first line is 1
	Why    error
}

func (b BadLine) String() string { return fmt.Sprintf("line %d: %v", b.Number, b.Why) }

// Trace is what was read from a file.
type Trace struct {
	Format   string // name of one of the [Formats]
	Requests []Request
	// Writes are what the trace has beside its reads: writes and deletions. Their sizes and TTLs are given to the reads of
	// their keys that have none of their own. Others are commands of neither kind, and requests that failed.
	Writes, Others int
	// Share of the keys that the trace has reads of, where it says so; 1: all.
	Share    float64
	Cut      bool      // Limits.Requests was reached, and there was more
	Bad      int       // lines that were left out
	BadLines []BadLine // the first 20 of them

	written map[local.Key]attributes
	clock   traceClock
}

// attributes are what writes tell of a key.
type attributes struct {
	size int64
	ttl  time.Duration
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

var byteOrderMark = []byte("\xef\xbb\xbf")

// ReadTrace reads a trace of any of the [Formats], which it recognises. gzip and zstd are recognised by their first bytes.
//
// Bad lines are left out. The error is that of the file, for example of a damaged archive, or that its format is not
// known; what was read before it is returned too.
func ReadTrace(r io.Reader, limits Limits) (*Trace, error) {
	limits.Requests = cmp.Or(limits.Requests, 20_000_000)
	t := &Trace{Share: 1, written: make(map[local.Key]attributes)}
	plain, stop, err := decompress(bufio.NewReader(r))
	if err != nil {
		return t, err
	}
	defer stop()
	// The buffer holds the longest line.
	b := bufio.NewReaderSize(&stickyReader{r: plain}, max(limits.Line, longestLine)+1)
	if head, _ := b.Peek(64); bytes.HasPrefix(head, byteOrderMark) && bytes.IndexByte(head, 0) < 0 { // of a text
		_, _ = b.Discard(len(byteOrderMark))
	}
	format, err := formatOf(b, limits)
	if err != nil {
		return t, err
	}
	t.Format = format.Name
	if limits.Line == 0 {
		limits.Line = longestLine
		if format.Name == "keys" {
			limits.Line = 4096
		}
	}
	if format.binary != nil {
		err = format.binary(t, b, limits)
	} else {
		err = t.read(b, format.lines(limits), limits)
	}
	t.complete()
	return t, err
}

// longestLine is that of formats whose lines may hold a value.
const longestLine = 1 << 20

// stickyReader repeats the error with which its reader has ended: to look ahead takes an error off a bufio.Reader.
type stickyReader struct {
	r   io.Reader
	err error
}

func (s *stickyReader) Read(b []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.r.Read(b)
	s.err = err
	return n, err
}

// read never holds more than one buffer of the file.
func (t *Trace) read(r *bufio.Reader, parse lineParser, limits Limits) error {
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
		bad := err
		if bad == nil {
			bad = parse(t, line)
		}
		if len(t.Requests) > limits.Requests { // a line may hold several
			t.Requests, t.Cut = t.Requests[:limits.Requests], true
		}
		if bad != nil {
			t.bad(number, bad)
		}
	}
}

// complete gives reads what the writes tell of their keys: that of the first read, which missed, is in the write that
// filled the cache after it.
func (t *Trace) complete() {
	if len(t.written) == 0 {
		return
	}
	for i := range t.Requests {
		r := &t.Requests[i]
		if w, ok := t.written[r.Key]; ok {
			r.Size, r.TTL = cmp.Or(r.Size, w.size), cmp.Or(r.TTL, w.ttl)
		}
	}
	t.written = nil
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
