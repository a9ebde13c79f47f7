package remote

import (
	"context"
	"strconv"
	"strings"

	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
)

// asker sends a batch of commands and returns a reply for each.
type asker interface {
	ask(ctx context.Context, b *batch) []reply
}

// batch is commands that are sent together, each in words.
type batch struct {
	cmds       [][]string
	words      []string // of all
	busy       bool     // see changelog.Delta
	connection int64    // the identity of the connection that answered, where that is ours: see dialled

	// Enough for a read or a fill.
	fewCmds  [3][]string
	fewWords [20]string
}

func newBatch() *batch {
	b := new(batch)
	b.cmds, b.words = b.fewCmds[:0], b.fewWords[:0]
	return b
}

// add appends a command.
func (b *batch) add(words ...string) {
	from := len(b.words)
	b.words = append(b.words, words...)
	b.cmds = append(b.cmds, b.words[from:])
}

// more appends words to the latest command.
func (b *batch) more(words ...string) {
	last := &b.cmds[len(b.cmds)-1]
	from := len(b.words) - len(*last)
	b.words = append(b.words, words...)
	*last = b.words[from:]
}

// bound appends the bounds of a Window, in µs.
func (b *batch) bound(w backend.Window) {
	before := int64(1) << 53
	if !w.Before.IsZero() {
		before = w.Before.UnixMicro()
	}
	b.more(strconv.FormatInt(max(w.NotBefore.UnixMicro(), 0), 10), strconv.FormatInt(before, 10))
}

// eval appends a run of a script. Its arguments follow by more.
func (b *batch) eval(s script, keys ...string) {
	b.add("EVALSHA", s.sha, strconv.Itoa(len(keys)))
	b.more(keys...)
}

// evalReadOnly is eval of a script that does not write.
func (b *batch) evalReadOnly(s script, keys ...string) {
	b.eval(s, keys...)
	b.cmds[len(b.cmds)-1][0] = "EVALSHA_RO"
}

// inlineScripts has the server given each script's text and not its hash.
func (b *batch) inlineScripts() {
	for _, words := range b.cmds {
		if name, ok := strings.CutPrefix(words[0], "EVALSHA"); ok {
			words[0], words[1] = "EVAL"+name, texts[words[1]]
		}
	}
}

// again returns the commands of b that are to be sent once more, since they change nothing or a server has answered
// that it did not perform them, and their places in b; or nil if those are all.
func (b *batch) again(replies []reply) (again *batch, at []int) {
	for i, words := range b.cmds {
		if isUnknownScript(replies[i].err) || words[0] == "CLIENT" || onlyReads(words) {
			at = append(at, i)
		}
	}
	if len(at) == len(b.cmds) {
		return nil, nil
	}
	again = newBatch()
	for _, i := range at {
		again.add(b.cmds[i]...)
	}
	return again, at
}

// failed is the same error for all.
func (b *batch) failed(err error) []reply {
	replies := make([]reply, len(b.cmds))
	for i := range replies {
		replies[i] = reply{err: err}
	}
	return replies
}

// sendWith has a client do it.
func (b *batch) sendWith(ctx context.Context, client valkey.CoreClient) []reply {
	results := client.DoMulti(ctx, b.forClient(client.B())...)
	replies := make([]reply, len(results))
	for i := range replies {
		replies[i] = clients(results[i])
	}
	return replies
}

// forClient makes commands of the client's: of which keys they are decides which
// server of a cluster they go to, and what only reads it sends again.
func (b *batch) forClient(build valkey.Builder) []valkey.Completed {
	all := make([]valkey.Completed, len(b.cmds))
	for i, words := range b.cmds {
		from, to := keysIn(words)
		c := build.Arbitrary(words[:from]...).Keys(words[from:to]...).Args(words[to:]...)
		if onlyReads(words) {
			all[i] = c.ReadOnly()
		} else {
			all[i] = c.Build()
		}
	}
	return all
}

// keysIn returns which words of a command are keys.
func keysIn(words []string) (from, to int) {
	switch words[0] {
	case "EVALSHA", "EVAL", "EVALSHA_RO", "EVAL_RO":
		n, _ := strconv.Atoi(words[2])
		return 3, 3 + n
	case "CLIENT":
		return len(words), len(words)
	case "MGET":
		return 1, len(words)
	}
	return 1, min(2, len(words))
}

func onlyReads(words []string) bool {
	switch words[0] {
	case "GET", "MGET", "EXISTS", "GETRANGE", "EVALSHA_RO", "EVAL_RO":
		return true
	case "EVALSHA", "EVAL": // see evalProof
		return words[1] == scriptDelta.sha || words[1] == scriptDelta.text || words[1] == scriptProbe.sha || words[1] == scriptProbe.text
	}
	return false
}

// repeatable reports whether commands may be sent twice: they only read, or are about the commands
// that follow.
func repeatable(cmds [][]string) bool {
	for _, words := range cmds {
		if !onlyReads(words) && words[0] != "CLIENT" {
			return false
		}
	}
	return true
}
