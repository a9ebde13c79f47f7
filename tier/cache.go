package tier

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tiercache/tiercache/internal/joined"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/invalidation"
	"github.com/tiercache/tiercache/tier/internal/config"
	"github.com/tiercache/tiercache/tier/internal/core"
	"github.com/tiercache/tiercache/tier/internal/inflight"
	"github.com/tiercache/tiercache/tier/internal/record"
)

// Cache is a typed view of one namespace of a store. It is cheap: one that is not read for 30 s takes, with its
// namespace, 256 bytes at most, unless its values or loaders need more (WithOnEvict, or what Health warns of). Two views of
// one namespace share its entries. All methods may be called from many goroutines at once.
//
// Values are shared: a local hit returns what other callers have got too, so
// everything that a V points to must be treated as read-only.
type Cache[V any] struct{ view core.View }

// New returns a view of a namespace: segments joined by ':', such as
// "docs:technical"; invalidating "docs" covers it. No segment is empty, and all are at most 512 bytes, which may
// be any others. It returns one error that
// names every bad option, or the part of V that the default codec would lose: see
// [WithCodec].
//
// Views of one namespace in a store share its entries, and so must agree in V, in
// the codec, in [WithSchema], in [WithLocalOnly] and in [WithOnEvict]: a view that does not is refused, by an
// error that names both, until the garbage collector has found that no Cache of
// the other kind is referenced or loading any more. What those have left in the
// local tier is then not served. In TTLs, loads, what is done about stale values
// and [WithRemoteOnly] views may differ: each entry carries its own.
func New[V any](s *Store, path string, options ...CacheOption) (*Cache[V], error) {
	if s == nil {
		return nil, errors.New("tier: new cache: store is nil")
	}
	if s.core.Closed.Load() {
		return nil, ErrClosed
	}
	cfg := defaultCacheConfig()
	var errs []error
	for i, o := range options {
		if o == nil {
			errs = append(errs, fmt.Errorf("option %d is nil", i+1))
			continue
		}
		o.applyCache(&cfg)
	}
	errs = append(errs, invalidation.CheckNamespace(path), cfg.Validate(s.core.Config.MaxTTL))
	if err := joined.Errors(errs...); err != nil {
		return nil, fmt.Errorf("tier: new cache %.40q: %w", path, err)
	}
	p, err := core.PlanOf[V](&s.core, cfg, runSingle[V], runBatch[V])
	if err != nil {
		return nil, fmt.Errorf("tier: new cache %.40q: %w", path, err)
	}
	c := &Cache[V]{}
	if err := c.view.Init(path, p); err != nil {
		return nil, fmt.Errorf("tier: new cache %.40q: %w", path, err)
	}
	return c, nil
}

// Origin says which tier answered a read.
type Origin uint8

// The origins of a value.
const (
	Local  Origin = iota // this process's local tier
	Remote               // the remote tier
	Loaded               // the loader, for this caller or another that it shared with
)

func (o Origin) String() string {
	return [...]string{"local", "remote", "loaded", "?"}[min(o, 3)]
}

// Result is a value and where it came from.
type Result[V any] struct {
	Value  V
	Origin Origin
	// Stale: the value is past its TTL and served by WithStaleWhileRevalidate,
	// WithStaleOnError or WithSoftTimeout, or returned by PeekResult, for which the windows of its view do not count.
	// Nothing it depends on changed.
	Stale bool
	// Outage: the value was loaded while the remote tier was away, and is served
	// without proof because it still is (WithOutageTTL). This process knows of no
	// change of it since.
	Outage bool
	// AsOf is the position as of which the value is true.
	AsOf AsOf
	// Age is the time since the value was loaded or set, TTL what is left of
	// its own; negative when Stale.
	Age, TTL time.Duration
	// Sources are those it was made from.
	Sources []string
}

// Get returns the value of key from the local tier, the remote tier or the
// loader, whichever has it first. Callers of one key share one load.
//
// It returns ErrNotFound if the loader did (now or within the negative TTL),
// the loader's error as it is, a *LoadPanic, an error that matches
// ctx's if ctx ends first, or ErrClosed. What the local tier has is returned though ctx has ended. That the remote tier is down is no error:
// the loader answers, and Stats and Health tell.
func (c *Cache[V]) Get(ctx context.Context, key string, load Loader[V], options ...CallOption) (V, error) {
	if len(options) == 0 && load != nil {
		if it := c.view.Hit(key); it != nil {
			return *record.ValueIn[V](it), nil
		}
	}
	if load == nil {
		var zero V
		return zero, ErrNilLoader
	}
	out, err := c.view.Cache().Lookup(ctx, key, core.LoadFunc{Run: c.view.Plan().Single, Loader: load}, callOptions(options))
	if err != nil {
		var zero V
		return zero, err
	}
	return c.unpack(out)
}

// unpack returns the value of an item, or ErrNotFound if it is negative.
func (c *Cache[V]) unpack(out inflight.Served) (v V, err error) {
	if out.It.Negative {
		return v, cmp.Or(out.NotFound, ErrNotFound)
	}
	return c.valueOf(out.It), nil
}

// valueOf returns the value of an item that is not negative. It is a V: each path that
// shares an item checks its kind.
func (c *Cache[V]) valueOf(it *record.Item) V {
	c.view.Cache().Look(it)
	return *record.ValueIn[V](it)
}

// Lookup is Get, and says where the value came from; with ErrNotFound, where
// that did.
func (c *Cache[V]) Lookup(ctx context.Context, key string, load Loader[V], options ...CallOption) (Result[V], error) {
	if load == nil {
		return Result[V]{}, ErrNilLoader
	}
	out, err := c.view.Cache().Lookup(ctx, key, core.LoadFunc{Run: c.view.Plan().Single, Loader: load}, callOptions(options))
	if err != nil {
		return Result[V]{}, err
	}
	return c.result(out)
}

func callOptions(options []CallOption) config.Call {
	if len(options) == 0 {
		return config.Call{} // nor is there anything to be made for them
	}
	var o config.Call
	for _, option := range options {
		if option != nil {
			option.applyCall(&o)
		}
	}
	return o
}

// runSingle runs a Loader[V].
func runSingle[V any](ctx context.Context, k *record.Kind, loader any, _ []*inflight.Call, es []*core.LoadEntry, out []core.Loaded) {
	v, err := loader.(Loader[V])(ctx, (*Entry)(es[0]))
	out[0] = core.Loaded{It: record.NewItemOf(k, v), Err: err}
}

// result describes a value that was served.
func (c *Cache[V]) result(out inflight.Served) (Result[V], error) {
	it, now := out.It, mono.Now()
	r := Result[V]{
		Origin: Origin(out.Origin), Stale: out.Stale, Outage: out.Outage, AsOf: it.Meta().AsOf.Full(),
		Age: now.Sub(it.Meta().Born), TTL: out.Remaining(now), Sources: it.Sources(),
	}
	var err error
	r.Value, err = c.unpack(out)
	return r, err
}

// Invalidate makes every entry of this cache's namespace, and of those below
// it, unbelievable: Store.InvalidateNamespace of its path.
func (c *Cache[V]) Invalidate(ctx context.Context, options ...ChangeOption) (AsOf, error) {
	cfg := changeOptions(c.view.Store().Config.Settle, options)
	return c.view.Store().Change(ctx, "invalidate namespace", []invalidation.Scope{invalidation.Namespace(c.view.Path())}, false, cfg)
}
