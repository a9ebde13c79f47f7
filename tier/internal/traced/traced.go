// Package traced tells a tracer of the requests of a connection.
package traced

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/internal/unawaited"
	"github.com/tiercache/tiercache/tier/internal/keyspace"
)

// Op has the fields of tier.Op, which describes them.
type Op struct {
	Name       string
	Remote     bool
	Namespace  string
	Keys       int
	Server     string
	Background bool
}

// Outcome has the fields of tier.Outcome, which describes them.
type Outcome struct {
	Err    error
	Took   time.Duration
	Found  int
	Leader context.Context
}

// Tracer is a tier.Tracer.
type Tracer interface {
	Start(ctx context.Context, op Op) context.Context
	End(ctx context.Context, out Outcome)
}

// Told is a tracer whose panics are logged and not passed on; or none, which is told of nothing.
type Told struct {
	Tracer Tracer
	Panics func(panicked any) // logs a panic
}

// On reports whether there is a tracer.
func (t *Told) On() bool { return t.Tracer != nil }

// Start tells of the beginning of op. It returns ctx where there is no tracer, or none that works.
func (t *Told) Start(ctx context.Context, op Op) (traced context.Context) {
	if t.Tracer == nil {
		return ctx
	}
	op.Background = op.Background || unawaited.Is(ctx)
	defer func() {
		// guard: tracer-panic-in-start
		if p := recover(); p != nil {
			t.Panics(p)
			traced = ctx
		}
		if traced == nil {
			traced = ctx
		}
	}()
	return t.Tracer.Start(ctx, op)
}

// End tells of the end of what Start has returned ctx for.
func (t *Told) End(ctx context.Context, out Outcome) {
	if t.Tracer == nil {
		return
	}
	defer func() {
		// guard: tracer-panic-in-end
		if p := recover(); p != nil {
			t.Panics(p)
		}
	}()
	t.Tracer.End(ctx, out)
}

// conn tells of each request. It passes requests the contexts that it is given, and not those that the tracer
// returns: a connection looks at the type of a context for how long to wait (see internal/bound).
type conn struct {
	backend.Conn
	t       *Told
	options backend.Options
	server  string
	// aside runs f in another goroutine, which the store waits for.
	aside func(f func())
}

// Wrap returns c as it is where there is no tracer; else a connection that tells of its requests. server describes the only
// server, or all of them. aside is called while the load that the request belongs to has not ended.
func Wrap(c backend.Conn, t *Told, o backend.Options, server string, aside func(f func())) backend.Conn {
	if !t.On() {
		return c
	}
	return &conn{Conn: c, t: t, options: o, server: server, aside: aside}
}

// Mode implements [backend.Moded].
func (c *conn) Mode() backend.Mode { return backend.ModeOf(c.Conn, c.options) }

// begin tells of a request for keys, the first of which is name.
func (c *conn) begin(ctx context.Context, op, name string, keys int) span {
	o := Op{Name: op, Remote: true, Keys: keys, Server: c.server}
	if name != "" {
		o.Namespace = keyspace.PathOf(c.options.Prefix, name)
		if addr := c.Conn.Shard(name).Address(); addr != "" {
			o.Server = addr
		}
	}
	return span{c.t, c.t.Start(ctx, o), mono.Now()}
}

// span is a request on its way.
type span struct {
	t     *Told
	ctx   context.Context
	begun mono.Time
}

func (s span) end(found int, err error) {
	s.t.End(s.ctx, Outcome{Err: err, Took: mono.Now().Sub(s.begun), Found: found})
}

// told tells of a request of whose end there is nothing to tell but its error.
func (c *conn) told(ctx context.Context, op, name string, keys int, send func() error) error {
	s := c.begin(ctx, op, name, keys)
	err := send()
	s.end(0, err)
	return err
}

func first(keys []string) string {
	if len(keys) == 0 {
		return ""
	}
	return keys[0]
}

func found(items []backend.Item) (n int, err error) {
	for i := range items {
		if items[i].Found() {
			n++
		}
		if err == nil {
			err = items[i].Err
		}
	}
	return n, err
}

func (c *conn) GetOne(ctx context.Context, key string) (it backend.Item, err error) {
	s := c.begin(ctx, "get", key, 1)
	it, err = c.Conn.GetOne(ctx, key)
	n, _ := found([]backend.Item{it})
	s.end(n, err)
	return it, err
}

func (c *conn) Get(ctx context.Context, keys []string, q *changelog.DeltaQuery) ([]backend.Item, changelog.Delta, error) {
	s := c.begin(ctx, "get", first(keys), len(keys))
	items, d, err := c.Conn.Get(ctx, keys, q)
	n, itemErr := found(items)
	s.end(n, cmp.Or(err, itemErr))
	return items, d, err
}

func (c *conn) GetHeads(ctx context.Context, heads, keys []string, q *changelog.DeltaQuery) ([]backend.Item, changelog.Delta, error) {
	all := slices.Concat(heads, keys)
	// guard: heads-are-told-to-tracer
	s := c.begin(ctx, "get", first(all), len(all))
	items, d, err := c.Conn.GetHeads(ctx, heads, keys, q)
	n, itemErr := found(items)
	s.end(n, cmp.Or(err, itemErr))
	return items, d, err
}

func (c *conn) GetUntracked(ctx context.Context, keys []string) ([]backend.Item, error) {
	s := c.begin(ctx, "get", first(keys), len(keys))
	items, err := c.Conn.GetUntracked(ctx, keys)
	n, itemErr := found(items)
	s.end(n, cmp.Or(err, itemErr))
	return items, err
}

func (c *conn) Lease(ctx context.Context, reqs []backend.LeaseRequest) ([]backend.Lease, error) {
	name := ""
	if len(reqs) > 0 {
		name = reqs[0].Key
	}
	s := c.begin(ctx, "lease", name, len(reqs))
	leases, err := c.Conn.Lease(ctx, reqs)
	n, worst := 0, err
	for i := range leases {
		if leases[i].Item.Found() {
			n++
		}
		worst = cmp.Or(worst, leases[i].Err)
	}
	s.end(n, worst)
	return leases, err
}

func (c *conn) Extend(ctx context.Context, keys []string, token string, ttl time.Duration) error {
	return c.told(unawaited.Mark(ctx), "extend", first(keys), len(keys), func() error { return c.Conn.Extend(ctx, keys, token, ttl) })
}

func (c *conn) Release(ctx context.Context, keys []string, token string) error {
	return c.told(ctx, "release", first(keys), len(keys), func() error { return c.Conn.Release(ctx, keys, token) })
}

func (c *conn) Discard(ctx context.Context, keys []string, token string) error {
	return c.told(ctx, "discard", first(keys), len(keys), func() error { return c.Conn.Discard(ctx, keys, token) })
}

func (c *conn) Stage(ctx context.Context, w *backend.Write) error {
	if w.Staged != "" || len(w.Envelope) < stagedFrom {
		return c.Conn.Stage(ctx, w)
	}
	return c.told(ctx, "stage", w.Key, 1, func() error { return c.Conn.Stage(ctx, w) })
}

// stagedFrom: what is shorter is never sent ahead of its write, and Stage does nothing.
const stagedFrom = 64 << 10

func (c *conn) Write(ctx context.Context, writes []backend.Write) ([]backend.Written, error) {
	s := c.begin(ctx, "write", nameOf(writes), len(writes))
	written, err := c.Conn.Write(ctx, writes)
	s.end(0, worst(written, err))
	return written, err
}

// WriteLater tells of the end in another goroutine, since the reader goroutine may be the one that is told: the tracer may be slow.
func (c *conn) WriteLater(ctx context.Context, writes []backend.Write, then func([]backend.Written, error)) {
	s := c.begin(unawaited.Mark(ctx), "write", nameOf(writes), len(writes))
	c.Conn.WriteLater(ctx, writes, func(written []backend.Written, err error) {
		out := Outcome{Err: worst(written, err), Took: mono.Now().Sub(s.begun)}
		// guard: reader-does-not-run-tracer
		c.aside(func() { c.t.End(s.ctx, out) })
		then(written, err)
	})
}

func nameOf(writes []backend.Write) string {
	if len(writes) == 0 {
		return ""
	}
	return writes[0].Key
}

func worst(written []backend.Written, err error) error {
	for i := range written {
		err = cmp.Or(err, written[i].Err)
	}
	return err
}

func (c *conn) Delete(ctx context.Context, keys []backend.Deletion) ([]backend.Deleted, error) {
	name := ""
	if len(keys) > 0 {
		name = keys[0].Key
	}
	s := c.begin(ctx, "delete", name, len(keys))
	deleted, err := c.Conn.Delete(ctx, keys)
	worst := err
	for i := range deleted {
		worst = cmp.Or(worst, deleted[i].Err)
	}
	s.end(0, worst)
	return deleted, err
}

func (c *conn) Prove(ctx context.Context, keys ...string) error {
	if c.Conn.Shard(c.options.Prefix) == nil {
		return c.Conn.Prove(ctx, keys...) // which sends nothing
	}
	return c.told(ctx, "prove", first(keys), len(keys), func() error { return c.Conn.Prove(ctx, keys...) })
}

func (c *conn) Delta(ctx context.Context, q changelog.DeltaQuery) (d changelog.Delta, err error) {
	err = c.told(ctx, "delta", "", 0, func() error { d, err = c.Conn.Delta(ctx, q); return err })
	return d, err
}

func (c *conn) Append(ctx context.Context, change changelog.Change) (a changelog.Appended, err error) {
	err = c.told(ctx, "append", "", len(change.Scopes), func() error { a, err = c.Conn.Append(ctx, change); return err })
	return a, err
}

func (c *conn) Renew(ctx context.Context, lost changelog.Loss) error {
	return c.told(ctx, "renew", "", 0, func() error { return c.Conn.Renew(ctx, lost) })
}

func (c *conn) Info(ctx context.Context) (info backend.Info, err error) {
	err = c.told(ctx, "info", "", 0, func() error { info, err = c.Conn.Info(ctx); return err })
	return info, err
}

func (c *conn) Purge(ctx context.Context, p backend.PurgeRequest) (done backend.PurgeProgress, err error) {
	err = c.told(ctx, "purge", "", 0, func() error { done, err = c.Conn.Purge(ctx, p); return err })
	return done, err
}
