package wire

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is read in pieces is found whole when it is, and decoding it ends and takes
// no more memory than it is long, times a constant.
func FuzzReply(f *testing.F) {
	for _, s := range []string{
		"+OK\r\n", "-ERR no\r\n", ":-12\r\n", "$3\r\nabc\r\n", "$-1\r\n", "*-1\r\n", "_\r\n", "#t\r\n", ",1.5\r\n",
		"*2\r\n$1\r\na\r\n*1\r\n:1\r\n", "%1\r\n+a\r\n:1\r\n", "|1\r\n+a\r\n+b\r\n+c\r\n", ">2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n",
		"=5\r\ntxt:a\r\n", "!3\r\nERR\r\n", "*9999999\r\n", "\n", "$\r\n", "*1\r\n*1\r\n*1\r\n_\r\n", strings.Repeat("*1\r\n", 40) + "_\r\n", strings.Repeat("|1\r\n_\r\n_\r\n", 40) + "_\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := scan(b)
		require.LessOrEqual(t, n, len(b))
		if err != nil || n == 0 {
			return
		}
		var s scanner
		for i := 0; i < n; i += 1 + i/8 {
			part, err := s.scan(b[:i])
			require.NoError(t, err)
			require.Zero(t, part)
		}
		whole, err := s.scan(b[:n])
		require.NoError(t, err)
		require.Equal(t, n, whole, "it came in parts")
		for i := range min(n, 1000) {
			part, err := scan(b[:i])
			require.NoError(t, err)
			require.Zero(t, part, "a part was taken for all")
		}
		r, _ := decode(b[:n], 0)
		require.LessOrEqual(t, elements(r), n)
	})
}

func elements(r Reply) int {
	n := 1
	for _, e := range r.Array {
		n += elements(e)
	}
	return n
}

// However the client's writes are cut, the same commands are counted.
func FuzzSent(f *testing.F) {
	f.Add(append(command("SUBSCRIBE", "a", "b"), command("GET", "k\r\n*1")...), 7)
	f.Add([]byte("*0\r\n*1\r\n$0\r\n\r\n"), 3)
	f.Add([]byte("PING\r\n"), 1)
	f.Fuzz(func(t *testing.T, b []byte, at int) {
		count := func(parts ...[]byte) (commands []string, whole, err bool) {
			var s sent
			for _, p := range parts {
				s.feed(p, func(name []byte, words int) { commands = append(commands, string(name)) })
			}
			return commands, s.whole(), s.err
		}
		at = max(0, min(at, len(b)))
		a, wholeA, errA := count(b)
		c, wholeC, errC := count(b[:at], b[at:])
		require.Equal(t, errA, errC)
		if !errA {
			require.Equal(t, a, c)
			require.Equal(t, wholeA, wholeC)
		}
	})
}
