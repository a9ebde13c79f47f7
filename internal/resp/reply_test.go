package resp

import (
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// What is read in pieces is found whole when it is, and decoding it ends and takes
// no more memory than it is long, times a constant.
func FuzzReply(f *testing.F) {
	for _, s := range []string{
		"+OK\r\n", "-ERR no\r\n", ":-12\r\n", "$3\r\nabc\r\n", "$-1\r\n", "*-1\r\n", "_\r\n", "#t\r\n", ",1.5\r\n",
		"*2\r\n$1\r\na\r\n*1\r\n:1\r\n", "%1\r\n+a\r\n:1\r\n", "|1\r\n+a\r\n+b\r\n+c\r\n", ">2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n", ">2\r\n$10\r\ninvalidate\r\n*2\r\n$1\r\nk\r\n$0\r\n\r\n",
		"=5\r\ntxt:a\r\n", "!3\r\nERR\r\n", "*9999999\r\n", "\n", "$\r\n", "*1\r\n*1\r\n*1\r\n_\r\n", strings.Repeat("*1\r\n", 40) + "_\r\n", strings.Repeat("|1\r\n_\r\n_\r\n", 40) + "_\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := new(Scanner).Scan(b)
		require.LessOrEqual(t, n, len(b))
		if err != nil || n == 0 {
			return
		}
		var s Scanner
		for i := 0; i < n; i += 1 + i/8 {
			part, err := s.Scan(b[:i])
			require.NoError(t, err)
			require.Zero(t, part)
		}
		whole, err := s.Scan(b[:n])
		require.NoError(t, err)
		require.Equal(t, n, whole, "it came in parts")
		for i := range min(n, 1000) {
			part, err := new(Scanner).Scan(b[:i])
			require.NoError(t, err)
			require.Zero(t, part, "a part was taken for all")
		}
		r, _ := Decode(b[:n])
		require.LessOrEqual(t, elements(r), n)
		if keys, ok := Invalidated(b[:n]); ok && keys != nil {
			require.Equal(t, "invalidate", r.Array[0].Text)
			require.Len(t, r.Array[1].Array, len(keys))
			for i, k := range keys {
				require.Equal(t, Reply{Kind: Text, Text: k}, r.Array[1].Array[i])
			}
		}
	})
}

// The short texts of an array are one piece of memory; a long one keeps none of it.
func TestTextsOfAnArrayShareMemoryIfTheyAreShort(t *testing.T) {
	long := strings.Repeat("x", shortText)
	r, rest := Decode([]byte("*4\r\n$1\r\na\r\n$1024\r\n" + long + "\r\n$-1\r\n*1\r\n$1\r\nb\r\n"))
	require.Empty(t, rest)
	require.Equal(t, []Reply{{Kind: Text, Text: "a"}, {Kind: Text, Text: long}, {},
		{Kind: Array, Array: []Reply{{Kind: Text, Text: "b"}}}}, r.Array)
	at := func(s string) uintptr { return uintptr(unsafe.Pointer(unsafe.StringData(s))) }
	whole := at(r.Array[0].Text)
	require.Greater(t, at(r.Array[3].Array[0].Text)-whole, uintptr(shortText), "behind the others")
	require.Less(t, at(r.Array[3].Array[0].Text)-whole, uintptr(2*shortText))
	require.False(t, at(r.Array[1].Text)-whole < 2*shortText, "it has memory of its own")
}

func elements(r Reply) int {
	n := 1
	for _, e := range r.Array {
		n += elements(e)
	}
	return n
}
