package remote

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"
)

// The answer to a request that was given up comes into memory that nothing else uses,
// so that a later request has its own answer: the race detector tells, too.
func TestALateAnswerIsNotTheNextRequests(t *testing.T) {
	c, s, _ := connectDirectly(t, valkey.ClientOption{})
	c.directly(t, nil)
	ask := func(ctx context.Context, word string) []reply {
		b := newBatch()
		b.add("ECHO", word)
		b.add("ECHO", word)
		return c.tracked.ask(ctx, b)
	}
	for range 20 {
		s.Pause()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		replies := ask(ctx, "late")
		cancel()
		s.Resume()
		require.Len(t, replies, 2)
		require.ErrorIs(t, replies[1].err, context.DeadlineExceeded)
		for _, r := range ask(t.Context(), "in time") {
			require.NoError(t, r.err)
			require.Equal(t, "in time", r.Text)
		}
	}
}

// The keys of a command decide where a cluster's client sends it.
func TestABatchTellsTheKeysOfItsCommands(t *testing.T) {
	b := newBatch()
	b.add("GET", "k")
	b.add("MGET", "a", "b")
	b.more("c")
	b.eval(scriptWrite, "k", "k!")
	b.more("token")
	b.evalReadOnly(scriptProbe)
	b.add("CLIENT", "ID")
	b.add(untrackNext...)
	b.add("SET", "k!", "k", "NX")
	b.inlineScripts()
	require.Equal(t, []string{"EVAL", scriptWrite.text, "2", "k", "k!", "token"}, b.cmds[2])
	require.Equal(t, []string{"EVAL_RO", scriptProbe.text, "0"}, b.cmds[3])
	var keys [][]string
	var reads []bool
	for _, words := range b.cmds {
		from, to := keysIn(words)
		keys = append(keys, words[from:to])
		reads = append(reads, onlyReads(words))
	}
	require.Equal(t, [][]string{{"k"}, {"a", "b", "c"}, {"k", "k!"}, {}, {}, {}, {"k!"}}, keys)
	require.Equal(t, []bool{true, true, false, true, false, false, false}, reads)
}
