package resp

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var valid = []string{
	"+OK\r\n", "+\r\n", "-ERR no\r\n", ":-12\r\n", ":0\r\n", "$3\r\nabc\r\n", "$0\r\n\r\n", "$-1\r\n", "*-1\r\n", "*0\r\n", "_\r\n", "#t\r\n", "#f\r\n",
	",1.5\r\n", "(123456789012345678901234567890\r\n", "*2\r\n$1\r\na\r\n*1\r\n:1\r\n", "%1\r\n+a\r\n:1\r\n", "~1\r\n_\r\n",
	">2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n", ">2\r\n$10\r\ninvalidate\r\n_\r\n", "=5\r\ntxt:a\r\n", "!5\r\nERR x\r\n",
	strings.Repeat("*1\r\n", MaxDepth-1) + "_\r\n",
}

var invalid = []string{
	"\n", "\r\n", "$\r\n", "$-2\r\n", "$1\r\nab\r\n", "$x\r\n", "*-2\r\n", "%-1\r\n", ">-1\r\n", "~-1\r\n", "=-1\r\n", "*9999999999\r\n", "_x\r\n", "#x\r\n", "#\r\n",
	":\r\n", ":1.5\r\n", "+OK\n", ":99999999999999999999\r\n", "|1\r\n+a\r\n+b\r\n+c\r\n", "$?\r\n;1\r\na\r\n;0\r\n", "*?\r\n.\r\n", "?", "PING\r\n", "HTTP/1.1 400 Bad Request\r\n",
	"*1\r\n>1\r\n+x\r\n", "+" + strings.Repeat("x", MaxLine), strings.Repeat("*1\r\n", MaxDepth) + "_\r\n", "$1\r\na\n\n",
}

func TestAMessageIsFoundHoweverItComes(t *testing.T) {
	for _, m := range valid {
		for cut := range len(m) {
			var s Scanner
			n, err := s.Scan([]byte(m[:cut]))
			require.NoError(t, err, m)
			require.Zero(t, n, "a part of %q was taken for all", m)
			n, err = s.Scan([]byte(m + "+next\r\n"))
			require.NoError(t, err, m)
			require.Equal(t, len(m), n)
			n, err = s.Scan([]byte("+next\r\n"))
			require.NoError(t, err)
			require.Equal(t, 7, n, "the Scanner is ready for the next")
		}
	}
}

func TestWhatIsNoMessageIsRefused(t *testing.T) {
	for _, m := range invalid {
		n, err := new(Scanner).Scan([]byte(m))
		require.ErrorIs(t, err, ErrMalformed, "%.60q", m)
		require.Zero(t, n)
	}
}

func TestHead(t *testing.T) {
	texts := make([][]byte, 3)
	head := func(m string) (byte, int64, []string) {
		kind, n := Head([]byte(m), texts)
		var out []string
		for _, x := range texts {
			out = append(out, string(x))
		}
		return kind, n, out
	}
	for m, want := range map[string]struct {
		n     int64
		texts []string
	}{
		">3\r\n$7\r\nmessage\r\n+ch\r\n$1\r\nm\r\n": {3, []string{"message", "ch", "m"}},
		">2\r\n+invalidate\r\n*1\r\n+k\r\n":         {2, []string{"invalidate", "", ""}},
		"*4\r\n:1\r\n_\r\n$-1\r\n+x\r\n":            {4, []string{"", "", ""}},
		"*-1\r\n":                                   {0, []string{"", "", ""}},
		"%1\r\n+a\r\n+b\r\n":                        {2, []string{"a", "b", ""}},
		"-ERR no\r\n":                               {0, []string{"ERR no", "", ""}},
		"*2\r\n*0\r\n+after\r\n":                    {2, []string{"", "after", ""}},
	} {
		kind, n, got := head(m)
		require.Equal(t, m[0], kind)
		require.Equal(t, want.n, n, m)
		require.Equal(t, want.texts, got, m)
	}
}

func TestWhatAServerSaidIsBoundedAndHasNoArguments(t *testing.T) {
	require.Equal(t, "ERR unknown command 'HELLO'", Said([]byte("ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'user' 'secret'")))
	require.Len(t, Said([]byte(strings.Repeat("x", 1000))), 200)
}

// Whatever comes, and however it is cut, the same is found.
func FuzzScan(f *testing.F) {
	for i, s := range append(append([]string{}, valid...), invalid...) {
		if len(s) < 1000 {
			f.Add([]byte(s), i)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, at int) {
		n, err := new(Scanner).Scan(b)
		require.LessOrEqual(t, n, len(b))
		at = max(0, min(at, len(b)))
		var s Scanner
		first, firstErr := s.Scan(b[:at])
		if firstErr != nil {
			require.Error(t, err)
			return
		}
		if first > 0 {
			require.NoError(t, err)
			require.Equal(t, n, first)
			return
		}
		second, secondErr := s.Scan(b)
		require.Equal(t, err == nil, secondErr == nil)
		require.Equal(t, n, second)
		if n > 0 {
			texts := make([][]byte, 4)
			Head(b[:n], texts)
		}
	})
}
