package wire

import "bytes"

// sent follows what the client writes, to know how many answers it is owed.
type sent struct {
	line  []byte // the beginning of a header
	words int    // of the command, that are still to come
	skip  int    // bytes of the word, with its end, that are still to come
	at    int    // which word of the command is the next to be whole
	name  []byte // of the command, as far as it is needed
	word  []byte // likewise, that is being read
	tied  int    // commands that have yet to be whole before another's may follow
	err   bool   // it is no command of RESP
}

// whole reports whether another's command may follow: the next byte begins one, and the
// one before is not CLIENT CACHING, which is about the next.
func (s *sent) whole() bool { return s.tied == 0 && s.words == 0 && s.skip == 0 && len(s.line) == 0 }

// longest is the length of the longest name that matters, with its end:
// "PUNSUBSCRIBE\r\n".
const longest = 14

// feed takes what the client writes next, and calls command for each whose name it
// completes, with how many words follow.
func (s *sent) feed(b []byte, command func(name []byte, words int)) {
	for len(b) > 0 && !s.err {
		if s.skip > 0 {
			n := min(s.skip, len(b))
			if s.at < 2 {
				s.word = append(s.word, b[:min(n, longest-len(s.word))]...)
			}
			s.skip -= n
			b = b[n:]
			if s.skip == 0 {
				s.wordEnds(command)
			}
			continue
		}
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			s.line = append(s.line, b...)
			return
		}
		header := b[:end+1]
		if len(s.line) > 0 {
			s.line = append(s.line, header...)
			header = s.line
		}
		b = b[end+1:]
		s.header(header)
		s.line = s.line[:0]
	}
}

func (s *sent) wordEnds(command func(name []byte, words int)) {
	word := bytes.TrimRight(s.word, "\r\n")
	switch {
	case s.at == 0:
		s.name = append(s.name[:0], word...)
		command(s.name, s.words)
	case s.at == 1 && bytes.EqualFold(s.name, []byte("CLIENT")) && bytes.EqualFold(word, []byte("CACHING")):
		s.tied = 2
	}
	s.at++
	s.word = s.word[:0]
	if s.words == 0 && s.tied > 0 {
		s.tied--
	}
}

func (s *sent) header(b []byte) {
	text, _, ok := line(b)
	n, err := number(text)
	switch {
	case !ok || err != nil || n < 0:
		s.err = true
	case b[0] == '*' && s.words == 0:
		s.words, s.at = int(n), 0
	case b[0] == '$' && s.words > 0:
		s.words--
		s.skip = int(n) + 2
	default:
		s.err = true
	}
}

// subscribes reports whether a command is answered by pushes, one for each word.
func subscribes(name []byte) bool {
	name = bytes.TrimLeft(bytes.ToLower(name), "ps")
	return bytes.Equal(name, []byte("ubscribe")) || bytes.Equal(name, []byte("unsubscribe"))
}
