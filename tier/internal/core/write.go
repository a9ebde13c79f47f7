package core

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/joined"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/invalidation"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier/internal/breaker"
	"github.com/tiercache/tiercache/tier/internal/config"
	"github.com/tiercache/tiercache/tier/internal/inflight"
	"github.com/tiercache/tiercache/tier/internal/pieces"
	"github.com/tiercache/tiercache/tier/internal/record"
	"github.com/tiercache/tiercache/tier/internal/session"
)

// pendingSet is one value of a Set on its way.
type pendingSet struct {
	h  local.Key
	it *record.Item
	w  *inflight.Watch
}

func (c *Cache) SetAll(ctx context.Context, keys []string, items []*record.Item, cfg config.Entry) error {
	if err := cfg.Check(c.s.Config.MaxTTL); err != nil {
		return fmt.Errorf("tier: set: %w", err)
	}
	fresh, kept := cfg.Life(&c.cfg, c.s.Config.MaxTTL, false)
	if err := c.admitChange(ctx); err != nil {
		return err
	}
	begun := mono.Now()
	ctx, traced := c.s.traceChange(ctx, "set", c.ns.Path, len(keys))
	// guard: I5-as-of-of-set
	asOf := cfg.AsOf
	if asOf.IsZero() {
		asOf = c.s.AsOf()
	}
	// A value that may have been read before a change has settled is not kept after that, nor is an older one.
	// guard: S6-as-of-time
	end := c.endOf(ctx, asOf, c.s.Session.Tail.Begun(asOf, begun), cfg.Sources)
	fresh, kept, keeps := session.Limit(end, fresh, kept)
	puts := make([]pendingSet, 0, len(keys))
	writes := make([]backend.Write, 0, len(keys))
	var unencoded []string
	var errs []error
	sets := make([]string, 0, len(keys))
	for i, key := range keys {
		if err := checkKey(key); err != nil {
			errs = append(errs, err)
			continue
		}
		sets = append(sets, key)
		it := items[i]
		it.Key = key
		if c.compare != nil {
			c.compare.Look(c.ns.Path, it) // the caller still has it
		}
		if !keeps {
			unencoded = append(unencoded, key)
			continue
		}
		p := pendingSet{c.ns.Hash(key), it, &inflight.Watch{}}
		basis := inflight.BasisOf(c.s.Session.Tail.View())
		basis.Shard, basis.KeyTick = c.s.Session.ShardOf(c.ns.RemoteName(p.h)), 0
		c.setBasis(it, &basis)
		c.describe(it, key, cfg, asOf, fresh, kept)
		if !c.cfg.LocalOnly {
			sealed, err := c.seal(it, fresh, kept, cfg.Cost)
			if err != nil {
				c.countEncodeError(err)
				if len(keys) > 1 {
					err = fmt.Errorf("%w (key %.80q)", err, key)
				}
				errs, unencoded = append(errs, err), append(unencoded, key)
				continue
			}
			writes = append(writes, backend.Write{
				Key: c.ns.RemoteName(p.h), Envelope: sealed, Expires: expiryOf(sealed), Unread: !c.cfg.RemoteOnly})
		}
		puts = append(puts, p)
	}
	if len(sets) > 0 {
		errs = append(errs, c.changingKeys(ctx, "set", sets, func() error {
			// The old value is not what the key has now, by the caller's word, and the new one cannot be kept.
			// guard: I1-set-of-unencodable-deletes
			err := c.deleteUnencoded(ctx, unencoded)
			if len(puts) > 0 {
				err = joined.Errors(err, c.putInPieces(ctx, puts, writes))
			}
			return err
		}))
	}
	err := joined.Errors(errs...)
	traced(err)
	c.s.observe(Event{Kind: EventWrite, Namespace: c.ns.Path, Took: mono.Now().Sub(begun), Err: err})
	return err
}

// deleteUnencoded deletes keys that were to be set to values that cannot be encoded.
func (c *Cache) deleteUnencoded(ctx context.Context, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	return c.deleteAll(ctx, keys, c.deleteDeclared)
}

// admitWrite rejects what cannot be done at all. It is for methods that wait for no
// load, and so may be called inside a loader of the same key.
func (c *Cache) admitWrite(ctx context.Context, key string) error {
	return cmp.Or(c.admitChange(ctx), checkKey(key))
}

// admitChange is admitWrite of keys that are checked one by one.
func (c *Cache) admitChange(ctx context.Context) error {
	if c.s.Closed.Load() {
		return ErrClosed
	}
	if ctx.Err() != nil {
		return endOf(ctx)
	}
	return nil
}

// changingKeys writes keys and, where keys are scopes, records that they changed:
// without tracking, the record removes the copies of other processes. It comes after the
// write, so that a process that reads the old value in between has it as of before the
// record. The other way round:
//
//	A: records the change
//	B: applies the change, reads the old value and keeps it
//	A: writes the new value, and no other process learns of that
func (c *Cache) changingKeys(ctx context.Context, doing string, keys []string, write func() error) error {
	if !c.s.Config.NoTracking || c.cfg.LocalOnly || len(keys) == 0 {
		return write()
	}
	scopes := make([]invalidation.Scope, len(keys))
	for i, key := range keys {
		scopes[i] = c.ns.KeyScope(key)
	}
	change := c.s.Session.Tail.Begin(scopes, false)
	err := write()
	// Also after an error, and for a caller that has given up: the write may have been done. It is over by now, so the
	// record comes after it in any case.
	rctx, cancel := c.s.Session.RecordContext(ctx, len(scopes))
	defer cancel()
	if breaker.Refused(err) {
		// guard: I8-refused-write-records-later
		cancel() // it was not done, and the caller must not wait: the record is made later, needlessly
	}
	_, recordErr := change.Record(rctx)
	if breaker.Refused(err) {
		return err
	}
	return joined.Errors(err, c.s.RemoteError(ctx, doing, recordErr))
}

// putInPieces stores values, one piece after another. One that is not answered is not sent again, since it may have been performed:
//
//	A: Set(k, 1) is performed, and its answer is lost
//	B: reads 1, and Set(k, 2) is acknowledged
//	A: would set 1 again, and callers that have read 2 read 1 again
//
// The next are sent, until two in a row are not answered. What is left then is not attempted.
func (c *Cache) putInPieces(ctx context.Context, puts []pendingSet, writes []backend.Write) error {
	if c.cfg.LocalOnly {
		return c.putAll(ctx, puts, nil)
	}
	var errs []error
	var silence pieces.Silence
	for len(puts) > 0 {
		n := pieces.Next(len(puts), func(i int) int { return len(writes[i].Envelope) })
		err := c.putAll(ctx, puts[:n], writes[:n])
		if err != nil && n > 1 {
			err = fmt.Errorf("in a request of %d keys, %.80q among them: %w", n, puts[0].it.Key, err)
		}
		puts, writes = puts[n:], writes[n:]
		if errs = append(errs, err); len(puts) > 0 && c.endsWrites(ctx, &silence, err) {
			errs = append(errs, fmt.Errorf("tier: set: %d keys more were not attempted", len(puts)))
			break
		}
	}
	return joined.Errors(errs...)
}

// endsWrites is told of the error of each piece of a Set or a Delete, or nil, and reports whether no other piece is to be sent.
func (c *Cache) endsWrites(ctx context.Context, silence *pieces.Silence, err error) bool {
	// guard: silent-pieces-of-writes-end-them
	return silence.Ends(err) || breaker.Refused(err) || ctx.Err() != nil || c.s.Closed.Load()
}

func (c *Cache) putAll(ctx context.Context, puts []pendingSet, writes []backend.Write) error {
	if c.cfg.LocalOnly {
		return c.putLocally(ctx, puts)
	}
	for _, p := range puts {
		c.s.Table.Watch(p.h, p.w)
		defer c.s.Table.Unwatch(p.h, p.w)
		c.s.Table.InvalidateKey(p.h, p.w)
	}
	for _, p := range puts {
		c.s.Table.ResetBaseline(p.h, p.w)
	}
	written, err := c.writeInTime(ctx, writes)
	if err != nil {
		c.countRemoteError(err)
		for _, p := range puts {
			c.s.Table.InvalidateKey(p.h, nil)
		}
		// guard: G3-unknown-outcome
		return c.s.writeError(ctx, "set", err)
	}
	errs := make([]error, len(puts))
	for i, p := range puts {
		errs[i] = c.settlePut(ctx, p, writes[i], written[i])
	}
	return joinDistinct(errs)
}

// putLocally is putAll of a cache that has only the local tier.
func (c *Cache) putLocally(ctx context.Context, puts []pendingSet) error {
	for _, p := range puts {
		kept, err := c.putLocal(p, c.pinMarks(ctx, p.it))
		if !kept {
			p.it.Release(c.s.Session.Tail)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// putLocal puts a value into the local tier, if it is valid, in place of any that is there.
func (c *Cache) putLocal(p pendingSet, valid bool) (kept bool, err error) {
	if c.typed.Kind.Left != nil {
		c.s.puts.RLock()
		defer c.s.puts.RUnlock()
		// guard: value-set-while-closing
		if c.s.Closed.Load() {
			return false, ErrClosed
		}
	}
	if !valid {
		c.s.Table.InvalidateKey(p.h, nil)
		return false, nil
	}
	return c.s.Table.Replace(p.h, p.it), nil
}

// writeInTime stores values. When it returns each has been stored, or never will be. What is large is sent ahead, for which
// there is as much time as it takes; the windows of the writes begin after that.
func (c *Cache) writeInTime(ctx context.Context, writes []backend.Write) ([]backend.Written, error) {
	written := make([]backend.Written, len(writes))
	ready, at := writes[:0:0], make([]int, 0, len(writes))
	for i := range writes {
		switch err := c.stage(ctx, &writes[i]); {
		case err == nil:
			ready, at = append(ready, writes[i]), append(at, i)
		case errors.Is(err, remote.ErrFull):
			written[i].Err = err // as of a write: see settlePut
		default:
			written[i].Err = session.NotAttempted{Err: err}
		}
	}
	if len(ready) == 0 {
		return written, nil
	}
	done, err := c.writeStaged(ctx, ready)
	if err != nil {
		return nil, err
	}
	for i, w := range done {
		written[at[i]] = w
	}
	return written, nil
}

func (c *Cache) stage(ctx context.Context, w *backend.Write) error {
	if len(w.Envelope) <= pieces.Ahead {
		return nil
	}
	rctx := c.s.Session.Request(ctx)
	defer rctx.End()
	return c.s.Session.Conn.Stage(rctx, w)
}

// writeStaged is writeInTime of what is small, or was sent ahead.
func (c *Cache) writeStaged(ctx context.Context, writes []backend.Write) ([]backend.Written, error) {
	rctx, until := c.s.Session.WriteRequest(ctx)
	defer rctx.End()
	// guard: I6-declare-before-set
	if err := c.s.Session.Declare(rctx, &c.ns.Namespace); err != nil {
		return nil, session.NotAttempted{Err: err}
	}
	var written []backend.Written
	err := c.s.Session.SendWithinWindow(rctx, keysOf(writes, func(w *backend.Write) string { return w.Key }), func(v *changelog.View) (err error) {
		for i := range writes {
			writes[i].Window = c.s.Session.Window(v, writes[i].Key, until)
		}
		written, err = c.s.Session.Conn.Write(rctx, writes)
		return err
	})
	if errors.As(err, new(session.NotAttempted)) {
		return nil, err
	}
	c.s.Session.AwaitWindowEnd(ctx, until, breaker.Worst(written, err))
	return written, err
}

// keysOf returns the keys of all.
func keysOf[T any](all []T, key func(*T) string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for i := range all {
			if !yield(key(&all[i])) {
				return
			}
		}
	}
}

var errLate = errors.New("it reached the server too late, or the server's clock has been set")

// settlePut makes this process forget what it read of the key meanwhile, and keeps the
// new value if no other write has changed the key since.
func (c *Cache) settlePut(ctx context.Context, p pendingSet, w backend.Write, done backend.Written) error {
	c.s.Table.InvalidateKey(p.h, p.w)
	if done.Err != nil {
		if errors.Is(done.Err, remote.ErrFull) {
			c.ns.Stats.Full.Add(1)
			if err := c.deleteInTime(context.WithoutCancel(ctx), []string{w.Key}); err != nil {
				return c.s.writeError(ctx, "set", err)
			}
		} else {
			c.countRemoteError(done.Err)
		}
		return c.s.writeError(ctx, "set", done.Err)
	}
	if done.Expired {
		return nil // not kept: the server may send an invalidation or not
	}
	// guard: I1-late-set-is-error
	if !done.Stored {
		// guard: late-set-asks-clock
		c.s.Session.Tail.Wake() // the server's clock may have been set: read it before the next Set
		return c.s.writeError(ctx, "set", errLate)
	}
	// Where keys are scopes, this change is yet to be recorded, and the record of another
	// write may come before it. The value is not kept; the next read finds the right one.
	if c.cfg.RemoteOnly || c.s.Config.NoTracking {
		return nil
	}
	if !c.pinMarks(ctx, p.it) || !c.s.Table.CommitProvisional(p.h, p.w, p.it) {
		p.it.Release(c.s.Session.Tail)
	}
	return nil
}

func (c *Cache) Delete(ctx context.Context, keys ...string) error {
	if err := c.admitChange(ctx); err != nil {
		return err
	}
	begun := mono.Now()
	ctx, traced := c.s.traceChange(ctx, "delete", c.ns.Path, len(keys))
	good := make([]string, 0, len(keys))
	var errs []error
	for _, key := range keys {
		if err := checkKey(key); err != nil {
			errs = append(errs, err)
			continue
		}
		good = append(good, key)
	}
	if len(good) > 0 {
		errs = append(errs, c.changingKeys(ctx, "delete", good, func() error { return c.deleteAll(ctx, good, c.deleteDeclared) }))
	}
	err := joined.Errors(errs...)
	traced(err)
	if len(keys) == 0 {
		return nil
	}
	c.s.observe(Event{Kind: EventWrite, Namespace: c.ns.Path, Took: mono.Now().Sub(begun), Err: err})
	return err
}

// deleteDeclared deletes keys for Delete, and so declares the namespace first. Keys that
// the cache deletes of its own accord need no declaration: if the server loses that, an
// older value that comes back is as true as it was.
func (c *Cache) deleteDeclared(ctx context.Context, names []string) error {
	rctx := c.s.Session.Request(ctx)
	defer rctx.End()
	if err := c.s.Session.Declare(rctx, &c.ns.Namespace); err != nil {
		c.countRemoteError(err)
		return session.NotAttempted{Err: err}
	}
	return c.deleteInTime(ctx, names)
}

// deleteInTime deletes keys, one piece after another. When it returns each has been deleted, or never will be: a late deletion would
// remove a value that was set since. A piece that is not answered is sent once more, when its window has ended: if it was performed as
// well, that removes at most what was set while this went on. Two in a row that are not answered end it, and so do five in all.
func (c *Cache) deleteInTime(ctx context.Context, names []string) error {
	if len(names) <= pieces.Keys {
		return c.deletePiece(ctx, names)
	}
	var errs []error
	var silence pieces.Silence
	for len(names) > 0 {
		piece := names[:min(len(names), pieces.Keys)]
		err := c.deletePiece(ctx, piece)
		switch ends := c.endsWrites(ctx, &silence, err); {
		case ends:
			names = names[len(piece):]
			if errs = append(errs, err); len(names) > 0 {
				errs = append(errs, fmt.Errorf("%d keys more were not attempted", len(names)))
			}
			return joined.Errors(errs...)
		// guard: silent-piece-of-deletes-is-sent-again
		case pieces.EndAfter(err):
			continue
		}
		errs, names = append(errs, err), names[len(piece):]
	}
	return joined.Errors(errs...)
}

func (c *Cache) deletePiece(ctx context.Context, names []string) error {
	rctx, until := c.s.Session.WriteRequest(ctx)
	defer rctx.End()
	var deleted []backend.Deleted
	err := c.s.Session.SendWithinWindow(rctx, slices.Values(names), func(v *changelog.View) (err error) {
		keys := make([]backend.Deletion, len(names))
		for i, name := range names {
			keys[i] = backend.Deletion{Key: name, Window: c.s.Session.Window(v, name, until)}
		}
		deleted, err = c.s.Session.Conn.Delete(rctx, keys)
		return err
	})
	if errors.As(err, new(session.NotAttempted)) {
		c.countRemoteError(err)
		return err
	}
	c.s.Session.AwaitWindowEnd(ctx, until, breaker.WorstOf(deleted, err))
	if err != nil {
		c.countRemoteError(err)
		return err
	}
	var errs []error
	for _, d := range deleted {
		switch {
		case d.Err != nil:
			c.countRemoteError(d.Err)
			errs = append(errs, d.Err)
		case d.Late:
			c.s.Session.Tail.Wake() // as after a Set that came too late
			// guard: G5-late-delete-is-error
			errs = append(errs, errLate)
		}
	}
	return joined.Errors(errs...)
}

// deleteAll removes keys with remove, and invalidates what this process has read of them.
// When remove returns each key has been removed, or never will be.
func (c *Cache) deleteAll(ctx context.Context, keys []string, remove func(ctx context.Context, names []string) error) error {
	names := make([]string, len(keys))
	for i, key := range keys {
		h := c.ns.Hash(key)
		names[i] = c.ns.RemoteName(h)
		c.s.Table.InvalidateKey(h, nil)
		// Again afterwards: a read that was sent in between may have found the old value, and
		// the server sends no invalidation if this process had not read the key before.
		defer c.s.Table.InvalidateKey(h, nil)
	}
	if c.cfg.LocalOnly {
		return nil
	}
	return c.s.writeError(ctx, "delete", remove(ctx, names))
}
