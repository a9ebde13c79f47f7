package remote

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/wire"
	"github.com/tiercache/tiercache/invalidation"
)

// GetOne implements [Conn].
func (c *valkeyConn) GetOne(ctx context.Context, key string) (Item, error) {
	return item(c.tracked.get(ctx, key))
}

// item makes an Item of the answer to a GET. A value of another type than a
// string counts as found and undecodable.
func item(r reply) (Item, error) {
	s, err := r.text()
	switch {
	case err == nil:
		return Item{s, true}, nil
	case err == errNull:
		return Item{}, nil
	case isWrongType(err):
		return Item{"", true}, nil
	}
	return Item{}, failure(err)
}

func isWrongType(err error) bool {
	text, ok := refusalOf(err)
	return ok && strings.HasPrefix(text, "WRONGTYPE")
}

// Get implements [Conn].
func (c *valkeyConn) Get(ctx context.Context, keys []string, q *invalidation.DeltaQuery) ([]Item, invalidation.Delta, error) {
	if c.sharded() {
		return c.shards.get(ctx, keys, q)
	}
	for {
		before := c.admissions.Load()
		if q == nil {
			items, d, _, err := c.get(ctx, c.tracked, keys, q)
			return items, d, err
		}
		items, d, history, err := c.get(ctx, c.tracked, keys, q)
		if err != nil {
			return items, d, err
		}
		if admitted, err := c.admits(ctx, c.tracked, history, d, before); admitted || err != nil {
			return items, d, err
		}
	}
}

// untrackNext has the keys of the command that follows not tracked.
var untrackNext = []string{"CLIENT", "CACHING", "NO"}

// GetUntracked implements [Conn].
func (c *valkeyConn) GetUntracked(ctx context.Context, keys []string) ([]Item, error) {
	if c.sharded() {
		items, _, err := c.shards.get(ctx, keys, nil)
		return items, err
	}
	b := newBatch()
	c.addUntracked(b)
	b.add("MGET")
	b.more(keys...)
	replies, items := c.tracked.ask(ctx, b), make([]Item, len(keys))
	return items, itemsOf(replies[len(replies)-1], items)
}

// get asks one server.
func (c *valkeyConn) get(ctx context.Context, client asker, keys []string, q *invalidation.DeltaQuery) ([]Item, invalidation.Delta, string, error) {
	b := newBatch()
	if q != nil {
		c.addDelta(b, q)
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
	var d invalidation.Delta
	var history string
	if q != nil {
		var err error
		if d, history, results, err = c.deltaOf(results); err != nil {
			return nil, d, "", err
		}
	}
	items := make([]Item, len(keys))
	var err error
	switch len(keys) {
	case 0:
	case 1:
		items[0], err = item(results[0])
	default:
		err = itemsOf(results[0], items)
	}
	return items, d, history, err
}

// itemsOf takes the answer to an MGET apart. A value of another type than a
// string is nil there: whoever loads it puts another in its place.
func itemsOf(r reply, items []Item) error {
	values, err := r.array()
	if err != nil {
		return failure(err)
	}
	if len(values) != len(items) {
		return fmt.Errorf("%d keys were asked for, %d answered", len(items), len(values))
	}
	for i := range values {
		switch v := &values[i]; v.Kind {
		case wire.Text:
			items[i] = Item{v.Text, true}
		case wire.Null:
		default:
			return errAnswer
		}
	}
	return nil
}

// Delete implements [Conn].
func (c *valkeyConn) Delete(ctx context.Context, keys []string) error {
	return c.each(ctx, keys, scriptDelete, pair)
}

// Discard implements [Conn].
func (c *valkeyConn) Discard(ctx context.Context, keys []string, token string) error {
	return c.each(ctx, keys, scriptDiscard, pair, token)
}

// LosesWrites implements [Conn]: a replica is promoted that had not caught up, or
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

// Write implements [Conn].
func (c *valkeyConn) Write(ctx context.Context, writes []Write) ([]Written, error) {
	b := c.batchOf(writes)
	return writtenOf(run(ctx, c.tracked, b))
}

// WriteLater implements [Conn].
func (c *valkeyConn) WriteLater(ctx context.Context, writes []Write, then func([]Written, error)) {
	b := c.batchOf(writes)
	c.tracked.later(ctx, b, func(replies []reply) {
		then(writtenOf(replies))
	})
}

// batchOf puts writes into words.
func (c *valkeyConn) batchOf(writes []Write) *batch {
	queue(writes) // whoever asks then goes first, and does not wait for these to be done
	b := newBatch()
	for i := range writes {
		c.addWrite(b, &writes[i])
	}
	return b
}

// writtenOf reads the answers to writes.
func writtenOf(replies []reply) ([]Written, error) {
	out := make([]Written, len(replies))
	for i, r := range replies {
		stored, err := r.number()
		out[i] = Written{Stored: stored == 1, Expired: stored == 2, Err: failure(err)}
		if err != nil && Unreachable(out[i].Err) {
			return nil, out[i].Err
		}
	}
	return out, nil
}

func (c *valkeyConn) addWrite(b *batch, w *Write) {
	ahead := c.ahead(w.Key)
	expires, unread := stamp(w.Expires), "0"
	if w.Unread {
		unread = "1"
	}
	b.eval(scriptWrite, w.Key, w.Key+leaseSuffix)
	b.more(w.Token, expires+valkey.BinaryString(w.Envelope), stamp(w.Expires.Add(ahead)), unread, millis(cmp.Or(max(w.LeaseTTL, 0), defaultLeaseTTL)))
	if !w.Before.IsZero() {
		b.more(stamp(w.Before.Add(ahead)))
	}
}

const defaultLeaseTTL = 3 * time.Second

// ahead is by how much the clock of the key's server is ahead of the one that
// everybody goes by.
func (c *valkeyConn) ahead(key string) time.Duration {
	if !c.sharded() {
		return 0
	}
	return c.shards.ahead(key)
}

func pair(key string) []string  { return []string{key, key + leaseSuffix} }
func lease(key string) []string { return []string{key + leaseSuffix} }

func millis(d time.Duration) string { return strconv.FormatInt(max(d.Milliseconds(), 1), 10) }
