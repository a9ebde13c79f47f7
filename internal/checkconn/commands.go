package checkconn

import (
	"bytes"
	"errors"

	"github.com/tiercache/tiercache/internal/resp"
)

// commands follows what the client writes, to know what answers it is to get.
type commands struct {
	line  []byte // the beginning of a header
	words int    // of the command, that are still to come
	skip  int    // bytes of the word, with its end, that are still to come
	at    int    // which word of the command comes next
	all   int    // its words
	first []byte // its first word, as far as it is needed
	other []byte // its second one, likewise
}

// longest is the length of the longest word that matters, with its end:
// "GET-MASTER-ADDR-BY-NAME\r\n".
const longest = 25

var errCommand = errors.New("checkconn: the client wrote what is no command")

// feed takes what the client writes next, and calls command for each that it completes.
func (s *commands) feed(b []byte, command func(first, second []byte, words int)) error {
	for len(b) > 0 {
		if s.skip > 0 {
			n := min(s.skip, len(b))
			switch s.at {
			case 0:
				s.first = append(s.first, b[:min(n, longest-len(s.first))]...)
			case 1:
				s.other = append(s.other, b[:min(n, longest-len(s.other))]...)
			}
			s.skip -= n
			b = b[n:]
			if s.skip > 0 {
				return nil
			}
			if s.at++; s.words == 0 {
				command(bytes.TrimRight(s.first, "\r\n"), bytes.TrimRight(s.other, "\r\n"), s.all)
			}
			continue
		}
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			s.line = append(s.line, b...)
			return nil
		}
		s.line = append(s.line, b[:end+1]...)
		b = b[end+1:]
		if err := s.header(); err != nil {
			return err
		}
		s.line = s.line[:0]
	}
	return nil
}

func (s *commands) header() error {
	end := len(s.line) - 2
	if end < 1 {
		return errCommand
	}
	n, err := resp.Number(s.line[1:end])
	switch {
	case err != nil || n < 0 || s.line[end] != '\r':
		return errCommand
	case s.line[0] == '*' && s.words == 0 && n > 0:
		s.words, s.all, s.at = int(n), int(n), 0
		s.first, s.other = s.first[:0], s.other[:0]
	case s.line[0] == '$' && s.words > 0:
		s.words--
		s.skip = int(n) + 2
	default:
		return errCommand
	}
	return nil
}
