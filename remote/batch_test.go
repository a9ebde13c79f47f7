package remote

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/wire"
)

// Guard: lost. What answers a request that was given up comes into the room that it was
// asked with, which must not be another's by then.
func TestRoomThatAnswersMayStillComeIntoIsNotUsedAgain(t *testing.T) {
	c, s, _ := connectDirectly(t, valkey.ClientOption{})
	c.directly(t, nil)
	b := newBatch()
	b.add("GET", "p:k")
	b.add("GET", "p:k")
	s.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	replies := c.tracked.ask(ctx, b)
	s.Resume()
	require.Len(t, replies, 2)
	require.ErrorIs(t, replies[1].err, context.DeadlineExceeded)
	b.done()
	require.Len(t, b.cmds, 2, "it was put back")
	b = newBatch()
	b.add("GET", "p:k")
	require.ErrorIs(t, c.tracked.ask(t.Context(), b)[0].err, errNull)
	b.done()
	require.Empty(t, b.cmds)
}

// Guard: over. Room that is not used keeps no value in memory.
func TestRoomIsEmptyWhenItIsNotUsed(t *testing.T) {
	c, _, _ := connectDirectly(t, valkey.ClientOption{})
	c.directly(t, nil)
	b := &batch{}
	for range 3 {
		b.add("PING")
		require.Equal(t, "PONG", c.tracked.ask(t.Context(), b)[0].Text)
		b.reset()
		require.Equal(t, make([]wire.Reply, cap(b.answers)), b.answers[:cap(b.answers)])
		require.Equal(t, make([]reply, cap(b.replies)), b.replies[:cap(b.replies)])
		require.Equal(t, make([]string, cap(b.words)), b.words[:cap(b.words)])
	}
}

// The keys of a command decide where a cluster's client sends it.
func TestABatchTellsTheKeysOfItsCommands(t *testing.T) {
	b := newBatch()
	defer b.done()
	b.add("GET", "k")
	b.add("MGET", "a", "b")
	b.more("c")
	b.eval(scriptWrite, "k", "k!")
	b.more("token")
	b.evalReadOnly(scriptProbe)
	b.add("CLIENT", "ID")
	b.add(untrackNext...)
	b.add("SET", "k!", "k", "NX")
	b.spellOut()
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
	require.Equal(t, []bool{true, true, false, true, false, true, false}, reads)
}
