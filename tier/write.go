package tier

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/envelope"
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

// seal encodes an item for the remote tier. cost is the stated cost, or 0: then the estimate
// is stored if other processes would have to look at all of the value for theirs.
func (c *core) seal(it *record.Item, fresh, kept time.Duration, cost int64) ([]byte, error) {
	f := it.Meta()
	// guard: store-stated-cost
	e := envelope.Entry{
		Head:  envelope.Head{Expires: c.s.session.ServerTimeIn(kept), Nonce: f.Nonce, AsOf: f.AsOf.Full(), Shape: c.typed.Shape, Negative: it.Negative},
		Fresh: fresh, Life: kept, Cost: cost, Namespace: c.ns.Path, Key: it.Key, Sources: it.Sources(),
	}
	if !it.Negative {
		var err error
		if e.Payload, err = c.typed.Encode(it); err != nil {
			return nil, fmt.Errorf("tier: encoding a value of namespace %q: %w", c.ns.Path, err)
		}
		// guard: largest-value
		if n := int64(len(e.Payload)); n > c.s.cfg.MaxValue {
			return nil, fmt.Errorf("tier: encoding a value of namespace %q: %w", c.ns.Path, &tooLargeError{n, c.s.cfg.MaxValue})
		}
		// guard: size-of-unread-value
		c.correctGuess(it, len(e.Payload))
		// guard: store-estimated-cost
		if c.typed.Travels && cost == 0 {
			e.Cost = f.Cost
		}
	}
	return envelope.EncodeWithin(&e, c.cfg.Compress, c.s.cfg.MaxValue)
}

// tooLargeError is the error of a value that is longer than [WithMaxValue].
type tooLargeError struct{ size, limit int64 }

func (e *tooLargeError) Error() string {
	return fmt.Sprintf("it is %d bytes long, the limit is %d (WithMaxValue)", e.size, e.limit)
}

// expiryOf is when the server is to forget a sealed entry, by its clock.
func expiryOf(sealed []byte) time.Time { return envelope.ExpiryOf(sealed) }

// besideLink is an entry as it is stored beside one of another encoding; withoutLink is the entry.
func besideLink(link uint64, sealed []byte) []byte { return envelope.Beside(link, sealed) }
func withoutLink(beside []byte) []byte             { return beside[envelope.LinkLen:] }

// Set stores value under key in both tiers; other processes drop their copies.
// When it returns, no read in this process sees an older value, and no load that
// was under way will overwrite it. The value is true as of now, or as of
// WithAsOf. A value that cannot be encoded, is longer than [WithMaxValue], or that JSON would give back as another
// (see [WithCodec]), is an error that names the part of it, and so is a server out
// of memory (remote.ErrFull): the key is then deleted, in both tiers and for every process,
// so that no older value stays.
//
// When it returns, the value has been stored or never will be: a request that
// reaches the server later is refused there, and nothing is sent twice. So a
// Set that was given up never overwrites a later one of any process. For this it
// waits for the answer to a sent request even if ctx is cancelled, for at most
// [WithRemoteTimeout] (and, [WithoutTracking], as long again for the record in the
// change log), but not beyond ctx's deadline. It returns
//
//   - nil if the value is stored, although ctx may have ended;
//   - ctx's error alone if ctx ended before anything was sent: it is not stored;
//   - [ErrUnavailable], together with ctx's error if that ended, if no answer came:
//     the value is stored or not, and that will not change; or, as the text says, if
//     the server refused it as too late: it is not stored. The causes of that are a
//     slow network, and a server whose clock has been set.
func (c *Cache[V]) Set(ctx context.Context, key string, value V, options ...EntryOption) error {
	return c.setAll(ctx, []string{key}, []*record.Item{record.NewItemOf(c.typed.Kind, value)}, options)
}

// SetMany is Set of any number of keys with the same options: one request for each 128 of
// them or 128 KiB, one after another. Each key is stored or not on its own, and those with
// bad names are not; the errors are joined. After a request that got no answer no more
// are sent: an error says how many keys were not attempted.
func (c *Cache[V]) SetMany(ctx context.Context, values map[string]V, options ...EntryOption) error {
	keys, items := make([]string, 0, len(values)), make([]*record.Item, 0, len(values))
	for k, v := range values {
		keys, items = append(keys, k), append(items, record.NewItemOf(c.typed.Kind, v))
	}
	return c.setAll(ctx, keys, items, options)
}

// pendingSet is one value of a Set on its way.
type pendingSet struct {
	h  local.Key
	it *record.Item
	w  *inflight.Watch
}

func (c *core) setAll(ctx context.Context, keys []string, items []*record.Item, options []EntryOption) error {
	var cfg config.Entry
	for _, o := range options {
		if o != nil {
			o.applyEntry(&cfg)
		}
	}
	if err := cfg.Check(c.s.cfg.MaxTTL); err != nil {
		return fmt.Errorf("tier: set: %w", err)
	}
	fresh, kept := cfg.Life(&c.cfg, c.s.cfg.MaxTTL, false)
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
	end := c.endOf(ctx, asOf, c.s.session.Tail.Begun(asOf, begun), cfg.Sources)
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
		basis := inflight.BasisOf(c.s.session.Tail.View())
		basis.Shard, basis.KeyTick = c.s.session.ShardOf(c.ns.RemoteName(p.h)), 0
		c.setBasis(it, &basis)
		c.describe(it, key, cfg, asOf, fresh, kept)
		if !c.cfg.LocalOnly {
			sealed, err := c.seal(it, fresh, kept, cfg.Cost)
			if err != nil {
				c.countEncodeError(err)
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
				err = errors.Join(err, c.putInPieces(ctx, puts, writes))
			}
			return err
		}))
	}
	err := errors.Join(errs...)
	traced(err)
	c.s.observe(Event{Kind: EventWrite, Namespace: c.ns.Path, Took: mono.Now().Sub(begun), Err: err})
	return err
}

// deleteUnencoded deletes keys that were to be set to values that cannot be encoded.
func (c *core) deleteUnencoded(ctx context.Context, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	return c.deleteAll(ctx, keys, c.deleteDeclared)
}

// admitWrite rejects what cannot be done at all. It is for methods that wait for no
// load, and so may be called inside a loader of the same key.
func (c *core) admitWrite(ctx context.Context, key string) error {
	return cmp.Or(c.admitChange(ctx), checkKey(key))
}

// admitChange is admitWrite of keys that are checked one by one.
func (c *core) admitChange(ctx context.Context) error {
	if c.s.closed.Load() {
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
func (c *core) changingKeys(ctx context.Context, doing string, keys []string, write func() error) error {
	if !c.s.cfg.NoTracking || c.cfg.LocalOnly || len(keys) == 0 {
		return write()
	}
	scopes := make([]invalidation.Scope, len(keys))
	for i, key := range keys {
		scopes[i] = c.ns.KeyScope(key)
	}
	change := c.s.session.Tail.Begin(scopes, false)
	err := write()
	// Also after an error, and for a caller that has given up: the write may have been done. It is over by now, so the
	// record comes after it in any case.
	rctx, cancel := c.s.session.RecordContext(ctx, len(scopes))
	defer cancel()
	if breaker.Refused(err) {
		// guard: I8-refused-write-records-later
		cancel() // it was not done, and the caller must not wait: the record is made later, needlessly
	}
	_, recordErr := change.Record(rctx)
	if breaker.Refused(err) {
		return err
	}
	return errors.Join(err, c.s.remoteError(ctx, doing, recordErr))
}

// putInPieces stores values, one piece after another, until one is not answered. What is left then is not attempted.
func (c *core) putInPieces(ctx context.Context, puts []pendingSet, writes []backend.Write) error {
	if c.cfg.LocalOnly {
		return c.putAll(ctx, puts, nil)
	}
	var errs []error
	for len(puts) > 0 {
		n := pieces.Next(len(puts), func(i int) int { return len(writes[i].Envelope) })
		err := c.putAll(ctx, puts[:n], writes[:n])
		puts, writes = puts[n:], writes[n:]
		// guard: silent-piece-of-sets-is-the-last
		if errs = append(errs, err); len(puts) > 0 && (errors.Is(err, ErrUnavailable) || ctx.Err() != nil || c.s.closed.Load()) {
			errs = append(errs, fmt.Errorf("tier: set: %d keys more were not attempted", len(puts)))
			break
		}
	}
	return errors.Join(errs...)
}

func (c *core) putAll(ctx context.Context, puts []pendingSet, writes []backend.Write) error {
	for _, p := range puts {
		c.s.table.Watch(p.h, p.w)
		defer c.s.table.Unwatch(p.h, p.w)
		c.s.table.InvalidateKey(p.h, p.w)
	}
	if c.cfg.LocalOnly {
		for _, p := range puts {
			if !c.pinMarks(ctx, p.it) || !c.s.table.Replace(p.h, p.it) {
				p.it.Release(c.s.session.Tail)
			}
		}
		return nil
	}
	for _, p := range puts {
		c.s.table.ResetBaseline(p.h, p.w)
	}
	written, err := c.writeInTime(ctx, writes)
	if err != nil {
		c.countRemoteError(err)
		for _, p := range puts {
			c.s.table.InvalidateKey(p.h, nil)
		}
		// guard: G3-unknown-outcome
		return c.s.writeError(ctx, "set", err)
	}
	var errs []error
	for i, p := range puts {
		errs = append(errs, c.settlePut(ctx, p, writes[i], written[i]))
	}
	return errors.Join(errs...)
}

// writeInTime stores values. When it returns each has been stored, or never will be. What is large is sent ahead, for which
// there is as much time as it takes; the windows of the writes begin after that.
func (c *core) writeInTime(ctx context.Context, writes []backend.Write) ([]backend.Written, error) {
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

func (c *core) stage(ctx context.Context, w *backend.Write) error {
	if len(w.Envelope) <= pieces.Ahead {
		return nil
	}
	rctx := c.s.session.Request(ctx)
	defer rctx.End()
	return c.s.session.Conn.Stage(rctx, w)
}

// writeStaged is writeInTime of what is small, or was sent ahead.
func (c *core) writeStaged(ctx context.Context, writes []backend.Write) ([]backend.Written, error) {
	rctx, until := c.s.session.WriteRequest(ctx)
	defer rctx.End()
	// guard: I6-declare-before-set
	if err := c.s.session.Declare(rctx, &c.ns.Namespace); err != nil {
		return nil, session.NotAttempted{Err: err}
	}
	var written []backend.Written
	err := c.s.session.SendWithinWindow(rctx, keysOf(writes, func(w *backend.Write) string { return w.Key }), func(v *changelog.View) (err error) {
		for i := range writes {
			writes[i].Window = c.s.session.Window(v, writes[i].Key, until)
		}
		written, err = c.s.session.Conn.Write(rctx, writes)
		return err
	})
	if errors.As(err, new(session.NotAttempted)) {
		return nil, err
	}
	c.s.session.AwaitWindowEnd(ctx, until, breaker.Worst(written, err))
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
func (c *core) settlePut(ctx context.Context, p pendingSet, w backend.Write, done backend.Written) error {
	c.s.table.InvalidateKey(p.h, p.w)
	if done.Err != nil {
		if errors.Is(done.Err, remote.ErrFull) {
			c.ns.stats.full.Add(1)
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
		c.s.session.Tail.Wake() // the server's clock may have been set: read it before the next Set
		return c.s.writeError(ctx, "set", errLate)
	}
	// Where keys are scopes, this change is yet to be recorded, and the record of another
	// write may come before it. The value is not kept; the next read finds the right one.
	if c.cfg.RemoteOnly || c.s.cfg.NoTracking {
		return nil
	}
	if !c.pinMarks(ctx, p.it) || !c.s.table.CommitProvisional(p.h, p.w, p.it) {
		p.it.Release(c.s.session.Tail)
	}
	return nil
}

// Delete removes keys from both tiers; other processes drop their copies. When
// it returns, no read in this process sees an older value, and no load that was
// under way will store one. Deleting a key that does not exist is no error. Each key
// has been deleted when Delete returns, or never will be, so that no value is removed
// that was set later. Keys with bad names are errors, and the others are deleted. Many keys
// are deleted in several requests, as SetMany stores them. It waits as Set does, and its
// errors say as much about the keys as those of Set; they are joined.
func (c *Cache[V]) Delete(ctx context.Context, keys ...string) error { return c.delete(ctx, keys...) }

func (c *core) delete(ctx context.Context, keys ...string) error {
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
	err := errors.Join(errs...)
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
func (c *core) deleteDeclared(ctx context.Context, names []string) error {
	rctx := c.s.session.Request(ctx)
	defer rctx.End()
	if err := c.s.session.Declare(rctx, &c.ns.Namespace); err != nil {
		c.countRemoteError(err)
		return session.NotAttempted{Err: err}
	}
	return c.deleteInTime(ctx, names)
}

// deleteInTime deletes keys, one piece after another, until one is not answered. When it returns each has been deleted, or
// never will be: a late deletion would remove a value that was set since.
func (c *core) deleteInTime(ctx context.Context, names []string) error {
	if len(names) <= pieces.Keys {
		return c.deletePiece(ctx, names)
	}
	var errs []error
	for len(names) > 0 {
		piece := names[:min(len(names), pieces.Keys)]
		err := c.deletePiece(ctx, piece)
		names = names[len(piece):]
		if errs = append(errs, err); len(names) > 0 && (pieces.EndAfter(err) || ctx.Err() != nil || c.s.closed.Load()) {
			errs = append(errs, fmt.Errorf("%d keys more were not attempted", len(names)))
			break
		}
	}
	return errors.Join(errs...)
}

func (c *core) deletePiece(ctx context.Context, names []string) error {
	rctx, until := c.s.session.WriteRequest(ctx)
	defer rctx.End()
	var deleted []backend.Deleted
	err := c.s.session.SendWithinWindow(rctx, slices.Values(names), func(v *changelog.View) (err error) {
		keys := make([]backend.Deletion, len(names))
		for i, name := range names {
			keys[i] = backend.Deletion{Key: name, Window: c.s.session.Window(v, name, until)}
		}
		deleted, err = c.s.session.Conn.Delete(rctx, keys)
		return err
	})
	if errors.As(err, new(session.NotAttempted)) {
		c.countRemoteError(err)
		return err
	}
	c.s.session.AwaitWindowEnd(ctx, until, breaker.WorstOf(deleted, err))
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
			c.s.session.Tail.Wake() // as after a Set that came too late
			// guard: G5-late-delete-is-error
			errs = append(errs, errLate)
		}
	}
	return errors.Join(errs...)
}

// deleteAll removes keys with remove, and invalidates what this process has read of them.
// When remove returns each key has been removed, or never will be.
func (c *core) deleteAll(ctx context.Context, keys []string, remove func(ctx context.Context, names []string) error) error {
	names := make([]string, len(keys))
	for i, key := range keys {
		h := c.ns.Hash(key)
		names[i] = c.ns.RemoteName(h)
		c.s.table.InvalidateKey(h, nil)
		// Again afterwards: a read that was sent in between may have found the old value, and
		// the server sends no invalidation if this process had not read the key before.
		defer c.s.table.InvalidateKey(h, nil)
	}
	if c.cfg.LocalOnly {
		return nil
	}
	return c.s.writeError(ctx, "delete", remove(ctx, names))
}
