package faultproxy

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// wire holds one message of every kind, and what it is.
var wire = []struct{ raw, push string }{
	{"+OK\r\n", ""}, {"-ERR no\r\n", ""}, {":-12\r\n", ""}, {"_\r\n", ""}, {",1.5\r\n", ""}, {"#t\r\n", ""}, {"(123\r\n", ""},
	{"$5\r\nhe\r\no\r\n", ""}, {"$0\r\n\r\n", ""}, {"$-1\r\n", ""}, {"=7\r\ntxt:abc\r\n", ""}, {"!3\r\nERR\r\n", ""},
	{"*0\r\n", ""}, {"*-1\r\n", ""}, {"*2\r\n*1\r\n:1\r\n$1\r\na\r\n", ""}, {"~1\r\n+a\r\n", ""}, {"%1\r\n+k\r\n*1\r\n_\r\n", ""},
	{"|1\r\n+ttl\r\n:3\r\n$1\r\na\r\n", ""},
	{">2\r\n$10\r\ninvalidate\r\n*1\r\n$3\r\nkey\r\n", "invalidate"}, {">2\r\n$10\r\ninvalidate\r\n_\r\n", "invalidate"},
	{">3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$4\r\n>2\r\n\r\n", "message"}, {">3\r\n+subscribe\r\n$2\r\nch\r\n:1\r\n", "subscribe"},
	{"PING\r\n", ""},
}

func TestAStreamIsSplitIntoItsMessages(t *testing.T) {
	var all strings.Builder
	for _, m := range wire {
		all.WriteString(m.raw)
	}
	in := newReader(iotestOneByte{strings.NewReader(all.String())})
	for _, want := range wire {
		m, err := in.next()
		require.NoError(t, err, "%q", want.raw)
		require.Equal(t, want.raw, string(m.raw))
		require.Equal(t, want.push, m.push, "%q", want.raw)
	}
	_, err := in.next()
	require.ErrorIs(t, err, io.EOF)
}

// iotestOneByte returns what is there a byte at a time.
type iotestOneByte struct{ io.Reader }

func (r iotestOneByte) Read(b []byte) (int, error) { return r.Reader.Read(b[:min(1, len(b))]) }

func TestWhatIsNoRESPIsAnError(t *testing.T) {
	for _, raw := range []string{"x\r\n", "$a\r\n", "$-2\r\n", "*99999999999999999999\r\n", "+no end", "\r\n", "$5\r\nhe", "*3\r\n:1\r\n"} {
		_, err := newReader(strings.NewReader(raw)).next()
		require.Error(t, err, "%q", raw)
	}
}

func FuzzStreamsAreKeptWhole(f *testing.F) {
	for _, m := range wire {
		f.Add([]byte(m.raw))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if bytes.ContainsAny(b, "89") && len(b) > 20 {
			t.Skip() // lengths that take memory
		}
		in := newReader(bytes.NewReader(b))
		var out []byte
		for {
			m, err := in.next()
			if err != nil {
				break
			}
			out = append(out, m.raw...)
		}
		if !bytes.HasPrefix(b, out) {
			t.Fatalf("%q came out as %q", b, out)
		}
	})
}
