package remote

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/remoteerr"
	"github.com/tiercache/tiercache/internal/resp"
)

// scripted answers each batch with the next replies, and keeps the commands' names and first keys.
type scripted struct {
	replies [][]reply
	asked   [][]string
}

func (s *scripted) ask(_ context.Context, b *batch) []reply {
	var names []string
	for _, words := range b.cmds {
		key := words[len(words)-1]
		if from, to := keysIn(words); from < to {
			key = words[from]
		}
		names = append(names, words[0]+" "+key)
	}
	s.asked = append(s.asked, names)
	answers := append([]reply(nil), s.replies[0]...)
	s.replies = s.replies[1:]
	return answers
}

func number(n int64) reply { return reply{Reply: resp.Reply{Kind: resp.Int, Int: n}} }

var unknown = reply{err: remoteerr.Refusal("NOSCRIPT No matching script.")}

// Guard: batch.again.
func TestWhatWasPerformedIsNotSentAgainWithTheTextOfItsScript(t *testing.T) {
	b := newBatch()
	for _, key := range []string{"a", "b", "c"} {
		b.eval(scriptDelete, pair(key)...)
		b.bound(backend.Window{})
	}
	s := &scripted{replies: [][]reply{{number(1), unknown, number(0)}, {number(2)}}}
	require.Equal(t, []reply{number(1), number(2), number(0)}, run(t.Context(), s, b))
	require.Equal(t, [][]string{{"EVALSHA a", "EVALSHA b", "EVALSHA c"}, {"EVAL b"}}, s.asked)
}

// What is read belongs together: which connection has answered, and what it said.
func TestWhatOnlyReadsIsSentAgainWithTheTextOfAScript(t *testing.T) {
	b := newBatch()
	b.add("CLIENT", "ID")
	b.evalReadOnly(scriptProbe, "log")
	b.add("GET", "k")
	b.eval(scriptRelease, "k!")
	s := &scripted{replies: [][]reply{{number(1), unknown, number(1), number(1)}, {number(2), number(2), number(2)}}}
	require.Equal(t, []reply{number(2), number(2), number(2), number(1)}, run(t.Context(), s, b))
	require.Equal(t, []string{"CLIENT ID", "EVAL_RO log", "GET k"}, s.asked[1])
}
