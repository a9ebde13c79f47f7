package bench

import (
	"bytes"
	"compress/gzip"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/klauspost/compress/zstd"
)

func readString(t *testing.T, s string, limits Limits) *Trace {
	t.Helper()
	trace, err := ReadTrace(strings.NewReader(s), limits)
	if err != nil {
		t.Fatal(err)
	}
	return trace
}

func TestATraceIsReadInAllItsForms(t *testing.T) {
	trace := readString(t, "a\nb,10\r\nc,20,100.5\nd,,101\ne", Limits{})
	want := []Request{
		{Key: KeyOf([]byte("a"))},
		{Key: KeyOf([]byte("b")), Size: 10},
		{Key: KeyOf([]byte("c")), Size: 20},
		{Key: KeyOf([]byte("d")), At: 500 * time.Millisecond},
		{Key: KeyOf([]byte("e")), At: 500 * time.Millisecond},
	}
	if len(trace.Requests) != len(want) || trace.Bad != 0 || trace.Cut {
		t.Fatalf("%+v", trace)
	}
	for i, r := range trace.Requests {
		if r != want[i] {
			t.Errorf("line %d: %+v, want %+v", i+1, r, want[i])
		}
	}
}

// Editors and exports put a byte order mark before a text: it is no part of the first key, or of the header.
func TestAByteOrderMarkIsNoPartOfTheTrace(t *testing.T) {
	for _, text := range []string{"a\nb\na\n", "key,op,size,op_count,key_size\na,GET,100,1,5\na,GET,100,1,5\n", `{"key":"a"}` + "\n" + `{"key":"a"}` + "\n"} {
		want, got := readString(t, text, Limits{}), readString(t, "\ufeff"+text, Limits{})
		if want.Format != got.Format || !slices.Equal(want.Requests, got.Requests) {
			t.Errorf("%q: %+v, and with a mark %+v", text, want, got)
		}
	}
}

func TestBadLinesAreNumberedAndLeftOut(t *testing.T) {
	trace := readString(t, "a\n\nb,x\nc,1,2\nd,1,1\ne,1,2,3\n"+strings.Repeat("f", 5000)+"\ng,-1\nh,1,nan\ni", Limits{})
	var numbers []int
	for _, bad := range trace.BadLines {
		numbers = append(numbers, bad.Number)
	}
	want := []int{2, 3, 5, 6, 7, 8, 9}
	if len(trace.Requests) != 3 || trace.Bad != len(want) || len(numbers) != len(want) {
		t.Fatalf("%d requests, bad: %v", len(trace.Requests), trace.BadLines)
	}
	for i := range want {
		if numbers[i] != want[i] {
			t.Errorf("bad lines %v, want %v", numbers, want)
		}
	}
}

func TestALineLongerThanAnyBufferIsOneBadLine(t *testing.T) {
	trace := readString(t, strings.Repeat("x", 1<<20)+"\na\n"+strings.Repeat("y", 1<<20), Limits{})
	if len(trace.Requests) != 1 || trace.Bad != 2 || trace.BadLines[1].Number != 3 {
		t.Errorf("%d requests, bad: %v", len(trace.Requests), trace.BadLines)
	}
}

func TestOnlyTheFirstBadLinesAreKept(t *testing.T) {
	trace := readString(t, strings.Repeat("\n", 1000), Limits{})
	if trace.Bad != 1000 || len(trace.BadLines) != badLinesKept {
		t.Errorf("%d bad, %d kept", trace.Bad, len(trace.BadLines))
	}
}

func TestALongTraceIsCut(t *testing.T) {
	if trace := readString(t, "a\nb\nc\n", Limits{Requests: 2}); len(trace.Requests) != 2 || !trace.Cut {
		t.Errorf("%+v", trace)
	}
	if trace := readString(t, "a\nb\n", Limits{Requests: 2}); len(trace.Requests) != 2 || trace.Cut {
		t.Errorf("%+v", trace)
	}
}

func compressed(t *testing.T, plain string) map[string][]byte {
	t.Helper()
	var g, z bytes.Buffer
	gw := gzip.NewWriter(&g)
	zw, err := zstd.NewWriter(&z)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []io.WriteCloser{gw, zw} {
		if _, err := io.WriteString(w, plain); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return map[string][]byte{"gzip": g.Bytes(), "zstd": z.Bytes()}
}

func TestArchivesAreRecognised(t *testing.T) {
	for name, b := range compressed(t, strings.Repeat("a,1\nb,2\n", 500)) {
		trace, err := ReadTrace(bytes.NewReader(b), Limits{})
		if err != nil || len(trace.Requests) != 1000 || trace.Bad != 0 {
			t.Errorf("%s: %v, %d requests", name, err, len(trace.Requests))
		}
		trace, err = ReadTrace(bytes.NewReader(b[:len(b)-5]), Limits{})
		if err == nil {
			t.Errorf("%s, cut short: no error, %d requests", name, len(trace.Requests))
		}
	}
}

func TestWhatWasReadBeforeAnErrorIsReturned(t *testing.T) {
	r := io.MultiReader(strings.NewReader("a\nb\nc"), iotest.ErrReader(io.ErrClosedPipe))
	trace, err := ReadTrace(r, Limits{})
	if err == nil || len(trace.Requests) != 2 {
		t.Errorf("%v, %+v", err, trace)
	}
}

func FuzzReadTrace(f *testing.F) {
	f.Add([]byte("a\nb,10\nc,20,100.5\n"), 10)
	for _, b := range [][]byte{{0x1f, 0x8b, 8}, {0x28, 0xb5, 0x2f, 0xfd, 1}} {
		f.Add(b, 10)
	}
	f.Fuzz(func(t *testing.T, b []byte, most int) {
		limits := Limits{Requests: 1 + most&0xff}
		trace, _ := ReadTrace(bytes.NewReader(b), limits)
		if len(trace.Requests) > limits.Requests || len(trace.BadLines) > badLinesKept {
			t.Errorf("%d requests, %d bad lines kept", len(trace.Requests), len(trace.BadLines))
		}
		for i, r := range trace.Requests {
			if r.Size < 0 || r.At < 0 || i > 0 && r.At < trace.Requests[i-1].At {
				t.Errorf("request %d: %+v", i, r)
			}
		}
	})
}
