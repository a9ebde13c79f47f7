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
	"github.com/tiercache/tiercache/internal/resp"
)

// GetOne implements [backend.Reader].
func (c *valkeyConn) GetOne(ctx context.Context, key string) (backend.Item, error) {
	return item(c.tracked.get(ctx, key))
}

// item makes an Item of the answer to a GET. A value of another type than a
// string counts as found and undecodable.
func item(r reply) (backend.Item, error) {
	s, err := r.text()
	switch {
	case err == nil:
		return backend.Item{Raw: s, Present: true}, nil
	case err == errNull:
		return backend.Item{}, nil
	case isWrongType(err):
		return backend.Item{Raw: "", Present: true}, nil
	}
	return backend.Item{}, failure(err)
}

func isWrongType(err error) bool {
	text, ok := refusalOf(err)
	return ok && strings.HasPrefix(text, "WRONGTYPE")
}

// Get implements [backend.Reader].
func (c *valkeyConn) Get(ctx context.Context, keys []string, q *changelog.DeltaQuery) ([]backend.Item, changelog.Delta, error) {
	if c.sharded() {
		return c.shards.get(ctx, keys, q)
	}
	if q == nil {
		items, d, _, err := c.get(ctx, c.tracked, keys, q, false)
		return items, d, err
	}
	for range maxAsked {
		items, d, usable, err := c.getWith(ctx, c.tracked, keys, q)
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
func (c *valkeyConn) getWith(ctx context.Context, client asker, keys []string, q *changelog.DeltaQuery) ([]backend.Item, changelog.Delta, bool, error) {
	if err := c.enrolAgain(ctx, client); err != nil {
		return nil, changelog.Delta{}, false, err
	}
	sent := c.histories.ask(c.dials.Load())
	items, d, s, err := c.get(ctx, client, keys, q, sent.counts)
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

// GetUntracked implements [backend.Reader].
func (c *valkeyConn) GetUntracked(ctx context.Context, keys []string) ([]backend.Item, error) {
	if c.sharded() {
		items, _, err := c.shards.get(ctx, keys, nil)
		return items, err
	}
	b := newBatch()
	if !c.o.NoTracking && !c.lacks.caching {
		// guard: untracked-read
		b.add(untrackNext...)
	}
	b.add("MGET")
	b.more(keys...)
	replies, items := c.tracked.ask(ctx, b), make([]backend.Item, len(keys))
	return items, itemsOf(replies[len(replies)-1], items)
}

// get asks one server.
func (c *valkeyConn) get(ctx context.Context, client asker, keys []string, q *changelog.DeltaQuery, counts bool) ([]backend.Item, changelog.Delta, origin, error) {
	b := newBatch()
	if q != nil {
		c.addDelta(b, q, counts)
	}
	switch len(keys) {
	case 0:
	case 1:
		b.add("GET", keys[0])
	default:
		b.add("MGET")
		b.more(keys...)
	}
	results := run(ctx, client, b)
	var d changelog.Delta
	var s origin
	if q != nil {
		var err error
		if d, s, results, err = c.deltaOf(results, b.over); err != nil {
			return nil, d, s, err
		}
	}
	items := make([]backend.Item, len(keys))
	var err error
	switch len(keys) {
	case 0:
	case 1:
		items[0], err = item(results[0])
	default:
		err = itemsOf(results[0], items)
	}
	return items, d, s, err
}

// itemsOf takes the answer to an MGET apart. A value of another type than a
// string is nil there: a load puts another in its place.
func itemsOf(r reply, items []backend.Item) error {
	values, err := r.array()
	if err != nil {
		return failure(err)
	}
	if len(values) != len(items) {
		return fmt.Errorf("%d keys were asked for, %d answered", len(items), len(values))
	}
	for i := range values {
		switch v := &values[i]; v.Kind {
		case resp.Text:
			items[i] = backend.Item{Raw: v.Text, Present: true}
		case resp.Null:
		default:
			return errAnswer
		}
	}
	return nil
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
		if !Unreachable(replies[i].err) {
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
			return nil, unsent{errDialled}
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
	b := c.batchOf(writes)
	replies, err := c.change(ctx, b, func(i int) backend.Window { return writes[i].Window })
	if err != nil {
		return nil, err
	}
	return writtenOf(replies)
}

// WriteLater implements [backend.Writer].
func (c *valkeyConn) WriteLater(ctx context.Context, writes []backend.Write, then func([]backend.Written, error)) {
	b := c.batchOf(writes)
	c.tracked.later(ctx, b, func(replies []reply) {
		then(writtenOf(replies))
	})
}

// batchOf puts writes into words.
func (c *valkeyConn) batchOf(writes []backend.Write) *batch {
	backend.Queue(writes) // what is asked then goes first, and does not wait for these to be done
	b := newBatch()
	for i := range writes {
		c.addWrite(b, &writes[i])
	}
	return b
}

// writtenOf reads the answers to writes.
func writtenOf(replies []reply) ([]backend.Written, error) {
	out := make([]backend.Written, len(replies))
	for i, r := range replies {
		stored, err := r.number()
		out[i] = backend.Written{Stored: stored == 1, Expired: stored == 2, Err: failure(err)}
	}
	if err := unanswered(replies); err != nil {
		return nil, err
	}
	return out, nil
}

func (c *valkeyConn) addWrite(b *batch, w *backend.Write) {
	unread := "0"
	if w.Unread {
		unread = "1"
	}
	b.eval(scriptWrite, w.Key, w.Key+backend.LeaseSuffix)
	// guard: R8-restored-lease-ttl
	b.more(w.Token, valkey.BinaryString(w.Envelope), stamp(w.Expires.Add(c.ahead(w.Key))), unread, millis(cmp.Or(max(w.LeaseTTL, 0), defaultLeaseTTL)))
	if w.Bounded() {
		b.bound(w.Window)
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
