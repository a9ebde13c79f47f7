package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/bound"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/recovery"
	"github.com/tiercache/tiercache/internal/remoteerr"
	"github.com/tiercache/tiercache/internal/resp"
)

// GetOne implements [backend.Reader].
func (c *valkeyConn) GetOne(ctx context.Context, key string) (backend.Item, error) {
	it, err := item(c.tracked.get(ctx, key))
	if err != nil || len(it.Raw) < firstRead {
		return it, err
	}
	return c.completeOne(ctx, key, it, func([]string) ([]backend.Item, error) {
		it, err := item(c.tracked.get(ctx, key))
		return []backend.Item{it}, err
	})
}

// item makes an Item of the answer to a GETRANGE, which is empty if there is no key. A value of another
// type than a string counts as found and undecodable.
func item(r reply) (backend.Item, error) {
	s, err := r.text()
	switch {
	case err == nil:
		return backend.Item{Raw: s, Present: s != ""}, nil
	case isWrongType(err):
		return backend.Item{Raw: "", Present: true}, nil
	}
	return backend.Item{}, failure(err)
}

func isWrongType(err error) bool {
	text, ok := remoteerr.RefusalOf(err)
	return ok && strings.HasPrefix(text, "WRONGTYPE")
}

// Get implements [backend.Reader].
func (c *valkeyConn) Get(ctx context.Context, keys []string, q *changelog.DeltaQuery) ([]backend.Item, changelog.Delta, error) {
	return c.GetHeads(ctx, nil, keys, q)
}

// GetHeads implements [backend.Reader].
func (c *valkeyConn) GetHeads(ctx context.Context, heads, keys []string, q *changelog.DeltaQuery) ([]backend.Item, changelog.Delta, error) {
	if c.sharded() {
		return c.shards.get(ctx, heads, keys, q)
	}
	if q == nil {
		items, d, _, err := c.get(ctx, c.tracked, heads, keys, q, false)
		return items, d, err
	}
	for range maxAsked {
		items, d, usable, err := c.getWith(ctx, c.tracked, heads, keys, q)
		if usable || err != nil {
			return items, d, err
		}
	}
	return nil, changelog.Delta{}, errServers
}

// maxAsked bounds how often the log is read in a row for one answer that can be used.
// Twice is enough unless servers change while it is read.
const maxAsked = 8

var errServers = errors.New("servers of other histories answer faster than the change log can be told of them")

// getWith asks one server, which has the log. The answer is usable unless it came before the log
// knew all that it is to know.
func (c *valkeyConn) getWith(ctx context.Context, client asker, heads, keys []string, q *changelog.DeltaQuery) ([]backend.Item, changelog.Delta, bool, error) {
	if err := c.enrolAgain(ctx, client); err != nil {
		return nil, changelog.Delta{}, false, err
	}
	sent := c.histories.ask(c.dials.Load())
	items, d, s, err := c.get(ctx, client, heads, keys, q, sent.counts)
	if err != nil {
		return items, d, false, err
	}
	if usable, err := c.admits(ctx, client, s, &d, sent); !usable || err != nil {
		return items, d, false, err
	}
	if d.Incarnation != 0 {
		err = c.enrolIn(ctx, client, d.Incarnation)
	}
	return items, d, true, err
}

// untrackNext has the keys of the command that follows not tracked.
var untrackNext = []string{"CLIENT", "CACHING", "NO"}

// addUntrack has the keys of the next command not tracked.
func addUntrack(b *batch) {
	// guard: untracked-read
	b.add(untrackNext...)
}

// GetUntracked implements [backend.Reader].
func (c *valkeyConn) GetUntracked(ctx context.Context, keys []string) ([]backend.Item, error) {
	if c.sharded() {
		items, _, err := c.shards.get(ctx, nil, keys, nil)
		return items, err
	}
	untrack := !c.o.NoTracking && !c.lacks.caching
	if c.readsWhole(len(keys)) {
		b := newBatch()
		if untrack {
			addUntrack(b)
		}
		b.add("MGET")
		b.more(keys...)
		replies := c.tracked.ask(ctx, b)
		return c.itemsOfAll(replies[len(replies)-1], len(keys))
	}
	most := shareOf(len(keys))
	begin := func(keys []string) ([]backend.Item, error) {
		b := newBatch()
		if untrack {
			addUntrack(b)
		}
		c.evalReadOnly(b, scriptBegin, keys...)
		b.more(strconv.Itoa(most - 1))
		replies := run(ctx, c.tracked, b)
		begun, err := replies[len(replies)-1].array()
		if err == nil && len(begun) != len(keys) {
			err = errAnswer
		}
		if err != nil {
			return nil, failure(err)
		}
		return itemsOf(repliesOf(begun))
	}
	items, err := begin(keys)
	if err == nil {
		c.complete(ctx, keys, items, most, begin)
		c.noteSizes(items)
	}
	return items, err
}

// get asks one server.
func (c *valkeyConn) get(ctx context.Context, client asker, heads, keys []string, q *changelog.DeltaQuery, counts bool) ([]backend.Item, changelog.Delta, origin, error) {
	b := newBatch()
	if q != nil {
		c.addDelta(b, q, counts)
	}
	addHeads(b, heads)
	most, whole := shareOf(len(keys)), c.readsWhole(len(keys))
	if whole {
		b.add("MGET")
		b.more(keys...)
	} else {
		for _, key := range keys {
			c.addRead(b, key, most)
		}
	}
	results := run(ctx, client, b)
	var d changelog.Delta
	var s origin
	if q != nil {
		var err error
		if d, s, results, err = c.deltaOf(results, b); err != nil {
			return nil, d, s, err
		}
	}
	first, err := headsOf(results[:len(heads)])
	if results = results[len(heads):]; err != nil {
		return nil, d, s, err
	}
	if whole {
		items, err := c.itemsOfAll(results[0], len(keys))
		return behind(first, items), d, s, err
	}
	items, err := itemsOf(results)
	if err == nil && len(keys) > 0 {
		defer func() { c.noteSizes(items) }()
		c.complete(ctx, keys, items, most, func(keys []string) ([]backend.Item, error) {
			b := newBatch()
			for _, key := range keys {
				c.addRead(b, key, most)
			}
			return itemsOf(client.ask(ctx, b))
		})
		if len(keys) == 1 {
			err = items[0].Err
		}
	}
	if err != nil {
		return nil, d, s, err
	}
	return behind(first, items), d, s, nil
}

// behind appends items to others, if there are any.
func behind(first, items []backend.Item) []backend.Item {
	if first == nil {
		return items
	}
	return append(first, items...)
}

var lastOfHead = strconv.Itoa(backend.HeadsLen - 1)

// addHeads reads the beginnings of entries.
func addHeads(b *batch, keys []string) {
	for _, key := range keys {
		b.add("GETRANGE", key, "0", lastOfHead)
	}
}

// headsOf makes Items of the answers to addHeads; nil of none.
func headsOf(replies []reply) (items []backend.Item, err error) {
	for _, r := range replies {
		it, err := item(r)
		if err != nil {
			return nil, err
		}
		items = append(items, it)
	}
	return items, nil
}

// wholeRead is how many bytes several entries may have together, by the largest that were read of late, to be read whole by
// one command. That takes the server and this process half of what a GETRANGE for each takes; it is 2.5 ms of 50 MB/s.
const wholeRead = 128 << 10

// readsWhole reports whether the entries of several keys are read whole: not before it is known how large they are.
func (c *valkeyConn) readsWhole(keys int) bool {
	largest := c.largest.Load()
	return keys > 1 && largest > 0 && largest*int64(keys) <= wholeRead
}

// noteSizes notes how large entries are. What was the largest is forgotten by and by.
func (c *valkeyConn) noteSizes(items []backend.Item) {
	was, largest := c.largest.Load(), int64(0)
	for i := range items {
		largest = max(largest, int64(len(items[i].Raw)))
	}
	if largest < was {
		largest = was - (was-largest)/16
	}
	if largest != was {
		c.largest.Store(largest)
	}
}

// itemsOfAll takes the answer to an MGET apart. A value of another type than a string is nil there.
func (c *valkeyConn) itemsOfAll(r reply, keys int) ([]backend.Item, error) {
	values, err := r.array()
	if err != nil {
		return nil, failure(err)
	}
	if len(values) != keys {
		return nil, fmt.Errorf("%d keys were asked for, %d answered", keys, len(values))
	}
	items := make([]backend.Item, keys)
	for i := range values {
		switch v := &values[i]; v.Kind {
		case resp.Text:
			items[i] = backend.Item{Raw: v.Text, Present: true}
		case resp.Null:
		default:
			return nil, errAnswer
		}
	}
	c.noteSizes(items)
	return items, nil
}

// itemsOf makes Items of the answers to reads of several keys, or of one. A value of another type than a string is
// missing among several: a load puts another in its place.
func itemsOf(replies []reply) (items []backend.Item, err error) {
	items = make([]backend.Item, len(replies))
	for i, r := range replies {
		if items[i], err = item(r); err != nil {
			return nil, err
		}
		if len(replies) > 1 && items[i].Raw == "" {
			items[i] = backend.Item{}
		}
	}
	return items, nil
}

// Delete implements [backend.Writer].
func (c *valkeyConn) Delete(ctx context.Context, keys []backend.Deletion) ([]backend.Deleted, error) {
	b := newBatch()
	for i := range keys {
		b.eval(scriptDelete, pair(keys[i].Key)...)
		b.bound(keys[i].Window)
	}
	replies, err := c.change(ctx, b, func(i int) backend.Window { return keys[i].Window })
	if err != nil {
		return nil, err
	}
	out := make([]backend.Deleted, len(keys))
	for i, r := range replies {
		n, err := r.number()
		out[i] = backend.Deleted{Late: err == nil && n < 0, Err: failure(err)}
	}
	if err := unanswered(replies); err != nil {
		return nil, err
	}
	return out, nil
}

// unanswered returns an error if none of the requests was answered.
func unanswered(replies []reply) error {
	for i := range replies {
		if !remoteerr.Unreachable(replies[i].err) {
			return nil
		}
	}
	if len(replies) == 0 {
		return nil
	}
	return failure(replies[0].err)
}

// change sends what changes keys: once, and waiting for the answer when the caller has gone (see [backend.Writer]).
func (c *valkeyConn) change(ctx context.Context, b *batch, window func(i int) backend.Window) ([]reply, error) {
	if err := c.tracked.reach(ctx, b); err != nil {
		return nil, err
	}
	// After reach, which may have had another connection dialled. (One that is dialled in the
	// moment between this and the sending is not seen.)
	for i := range b.cmds {
		// guard: G1-write-to-server-of-clock
		if by := window(i).Connection; by != 0 && !c.sharded() && by>>dialsFrom != c.dials.Load() {
			return nil, remoteerr.Unsent(errDialled)
		}
	}
	// guard: G3-await-answer
	return run(bound.Limit(ctx), c.tracked, b), nil
}

var errDialled = errors.New("the connection was lost, and the new one has not told its server's clock yet")

// Discard implements [backend.Leaser].
func (c *valkeyConn) Discard(ctx context.Context, keys []string, token string) error {
	return c.each(ctx, keys, scriptDiscard, pair, token)
}

// LosesWrites implements [backend.Server]: a replica is promoted that had not caught up, or
// a server restarts from an older file.
func (c *valkeyConn) LosesWrites() bool { return true }

// each runs a script per key, in one round trip.
func (c *valkeyConn) each(ctx context.Context, keys []string, s script, names func(key string) []string, args ...string) error {
	b := newBatch()
	for _, k := range keys {
		b.eval(s, names(k)...)
		b.more(args...)
	}
	for _, r := range run(ctx, c.tracked, b) {
		if r.err != nil {
			return failure(r.err)
		}
	}
	return nil
}

// Write implements [backend.Writer].
func (c *valkeyConn) Write(ctx context.Context, writes []backend.Write) ([]backend.Written, error) {
	backend.Queue(writes)
	return c.write(ctx, writes)
}

// write is Write once the writes are queued.
func (c *valkeyConn) write(ctx context.Context, writes []backend.Write) ([]backend.Written, error) {
	return c.writeStaged(ctx, writes, c.stageAll(ctx, writes))
}

// writeStaged is write of what has been sent ahead, except what has failed.
func (c *valkeyConn) writeStaged(ctx context.Context, writes []backend.Write, failed []error) ([]backend.Written, error) {
	b, at := c.batchOf(writes, failed)
	if len(at) == 0 {
		return writtenOf(writes, nil, at, failed), nil
	}
	replies, err := c.change(ctx, b, func(i int) backend.Window { return writes[at[i]].Window })
	if err == nil {
		err = unanswered(replies)
	}
	out := writtenOf(writes, replies, at, failed)
	c.dropUnplaced(writes, out, err)
	if err != nil {
		return nil, err
	}
	return out, nil
}

// dropUnplaced removes what was sent ahead of writes that did not put it in its place.
func (c *valkeyConn) dropUnplaced(writes []backend.Write, done []backend.Written, err error) {
	var names []string
	for i := range writes {
		if name := writes[i].Staged; name != "" && (err != nil || done[i].Refused()) {
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		c.dropAhead(names...)
	}
}

// WriteLater implements [backend.Writer].
func (c *valkeyConn) WriteLater(ctx context.Context, writes []backend.Write, then func([]backend.Written, error)) {
	backend.Queue(writes) // what is asked then goes first, and does not wait for these to be done
	if c.needsStage(writes) {
		c.writeAside(ctx, writes, then)
		return
	}
	b, at := c.batchOf(writes, nil)
	c.tracked.later(ctx, b, func(replies []reply) {
		out, err := writtenOf(writes, replies, at, nil), unanswered(replies)
		if err != nil {
			out = nil
		}
		then(out, err)
	})
}

// writeAside is WriteLater of what is large, in a goroutine.
func (c *valkeyConn) writeAside(ctx context.Context, writes []backend.Write, then func([]backend.Written, error)) {
	if !c.tracked.spawn(func() {
		out, err := []backend.Written(nil), error(recovery.ErrPanicked) // unless it returns
		defer func() { then(out, err) }()
		failed := make([]error, len(writes))
		for i := range writes {
			failed[i] = c.stageSlowly(&writes[i])
		}
		out, err = c.writeStaged(ctx, writes, failed)
	}) {
		then(nil, failure(valkey.ErrClosing))
	}
}

// batchOf puts writes into words, except those that have failed already. at says which of the writes the commands are.
func (c *valkeyConn) batchOf(writes []backend.Write, failed []error) (b *batch, at []int) {
	b, at = newBatch(), make([]int, 0, len(writes))
	for i := range writes {
		if failed == nil || failed[i] == nil {
			c.addWrite(b, &writes[i])
			at = append(at, i)
		}
	}
	return b, at
}

// writtenOf reads the answers to those of the writes that at names.
func writtenOf(writes []backend.Write, replies []reply, at []int, failed []error) []backend.Written {
	out := make([]backend.Written, len(writes))
	for i := range failed {
		out[i].Err = failed[i]
	}
	for i, r := range replies {
		stored, err := r.number()
		out[at[i]] = backend.Written{Stored: stored == 1, Expired: stored == 2, Err: failure(err)}
	}
	return out
}

func (c *valkeyConn) addWrite(b *batch, w *backend.Write) {
	unread := "0"
	if w.Unread {
		unread = "1"
	}
	value := valkey.BinaryString(w.Envelope)
	if w.Staged == "" {
		b.eval(scriptWrite, w.Key, w.Key+backend.LeaseSuffix)
	} else {
		b.eval(scriptPlace, w.Key, w.Key+backend.LeaseSuffix, w.Staged)
		value = ""
	}
	// guard: R8-restored-lease-ttl
	b.more(w.Token, value, stamp(w.Expires.Add(c.ahead(w.Key))), unread, millis(cmp.Or(max(w.LeaseTTL, 0), defaultLeaseTTL)))
	if w.Bounded() || w.Staged != "" {
		b.bound(w.Window)
	}
	if w.Staged != "" {
		b.more(strconv.Itoa(len(w.Envelope)))
	}
}

const defaultLeaseTTL = backend.DefaultLeaseTTL

// ahead is by how much the clock of the key's server is ahead of that of the log's, by which
// expiries are.
func (c *valkeyConn) ahead(key string) time.Duration {
	if !c.sharded() {
		return 0
	}
	return c.shards.ahead(key)
}

func pair(key string) []string  { return []string{key, key + backend.LeaseSuffix} }
func lease(key string) []string { return []string{key + backend.LeaseSuffix} }

func millis(d time.Duration) string { return strconv.FormatInt(max(d.Milliseconds(), 1), 10) }

// stamp formats a time by the server's clock for scripts: in ms.
func stamp(at time.Time) string { return strconv.FormatInt(max(at.UnixMilli(), 1), 10) }
