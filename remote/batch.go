package remote

import (
	"context"
	"strconv"
	"strings"
	"sync"

	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/wire"
)

// batch is commands that are sent together, each in words, and what answers them.
// Its room is used again: a read or a fill would else need some twenty pieces of
// memory to be put into words.
type batch struct {
	cmds    [][]string
	words   []string // of all
	answers []wire.Reply
	replies []reply

	queued func() // see Write.Queued; nil once it was called
	lost   bool   // answers may still be written to
}

var batches = sync.Pool{New: func() any { return new(batch) }}

func newBatch() *batch { return batches.Get().(*batch) }

// maxBatch bounds what is kept.
const maxBatch = 1024

// done gives the room back; nothing of the replies may be used any more but their
// texts.
func (b *batch) done() {
	if b.lost || cap(b.words) > maxBatch || cap(b.answers) > maxBatch {
		return
	}
	b.reset()
	batches.Put(b)
}

// reset forgets all that the room holds.
func (b *batch) reset() {
	clear(b.cmds)
	clear(b.words)
	clear(b.answers)
	clear(b.replies)
	*b = batch{cmds: b.cmds[:0], words: b.words[:0], answers: b.answers[:0], replies: b.replies[:0]}
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
func (b *batch) bound(w Window) {
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

// spellOut has the server given each script's text and not its hash.
func (b *batch) spellOut() {
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

// ready returns room for the answers, and what is to be called when the commands are
// about to be sent.
func (b *batch) ready() (answers []wire.Reply, queued func()) {
	if cap(b.answers) < len(b.cmds) {
		b.answers = make([]wire.Reply, len(b.cmds))
	}
	b.answers = b.answers[:len(b.cmds)]
	if b.queued != nil {
		queued = b.queue
	}
	return b.answers, queued
}

// queue is called once the commands are about to be sent.
func (b *batch) queue() {
	if f := b.queued; f != nil {
		b.queued = nil
		f()
	}
}

// room returns room for the replies.
func (b *batch) room() []reply {
	if cap(b.replies) < len(b.cmds) {
		b.replies = make([]reply, len(b.cmds))
	}
	b.replies = b.replies[:len(b.cmds)]
	return b.replies
}

// failed is the same error for all.
func (b *batch) failed(err error) []reply {
	replies := b.room()
	for i := range replies {
		replies[i] = reply{err: err}
	}
	return replies
}

// by has a client do it.
func (b *batch) by(ctx context.Context, client valkey.CoreClient) []reply {
	b.queue()
	results, replies := client.DoMulti(ctx, b.forClient(client.B())...), b.room()
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
	case "CLIENT":
		return words[1] == "CACHING" // about the next command, which says the rest
	}
	return false
}

func (b *batch) onlyReads() bool {
	for _, words := range b.cmds {
		if !onlyReads(words) {
			return false
		}
	}
	return true
}
