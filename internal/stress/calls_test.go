package stress

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/tiercache/tiercache/tier"
)

// view is a tier.Cache of any type.
type view interface {
	call(ctx context.Context, w *worker, op int) // op is 0 to 99
}

// viewOf is a view whose values are made and checked by functions.
type viewOf[V any] struct {
	c     *tier.Cache[V]
	path  string
	make  func(key string, rng *rand.Rand) V
	check func(key string, v V) error
}

// newViews returns views of every kind: by type, with and without copies in
// either tier, with each of the options that have a read do something in the
// background.
func newViews(s *tier.Store) (out []view, err error) {
	add := func(v view, e error) {
		out, err = append(out, v), errors.Join(err, e)
	}
	for range 2 { // most of the calls, as most of the traffic
		add(newView(s, "texts", text, checkText))
		add(newView(s, "texts", text, checkText, tier.WithRemoteOnly()))
	}
	add(newView(s, "texts:brief", text, checkText, tier.WithTTL(20*time.Millisecond), tier.WithStaleWhileRevalidate(time.Minute), tier.WithStaleOnError(time.Minute),
		tier.WithSoftTimeout(time.Millisecond)))
	add(newView(s, "texts:brief", text, checkText, tier.WithTTL(50*time.Millisecond), tier.WithEarlyRefresh(0.1), tier.WithOutageTTL(time.Second)))
	add(newView(s, "texts:brief", text, checkText, tier.WithTTL(time.Millisecond), tier.WithLocalTTL(time.Millisecond), tier.WithNegativeTTL(time.Millisecond),
		tier.WithJitter(0.5)))
	add(newView(s, "blobs", blob, checkBlob))
	add(newView(s, "blobs", blob, checkBlob, tier.WithRemoteOnly(), tier.WithLoadTimeout(3*time.Millisecond)))
	add(newView(s, "structures", structure, checkStructure, tier.WithCompression(100)))
	add(newView(s, "structures", structure, checkStructure, tier.WithCompression(100), tier.WithRemoteOnly()))
	add(newView(s, "own", text, checkText, tier.WithLocalOnly()))
	return out, err
}

func newView[V any](s *tier.Store, path string, mk func(string, *rand.Rand) V, check func(string, V) error, options ...tier.CacheOption) (view, error) {
	c, err := tier.New[V](s, path, options...)
	return &viewOf[V]{c, path, mk, check}, err
}

// ofStore does a call that is none of a view.
func (w *worker) ofStore(ctx context.Context, o *opened) {
	s := o.store
	switch n := w.rng.IntN(80); {
	case n < 25:
		w.call("InvalidateSource", ctx, func() error { return second(s.InvalidateSource(ctx, w.source(), w.source())) })
	case n < 30:
		w.call("InvalidateNamespace", ctx, func() error { return second(s.InvalidateNamespace(ctx, "texts:brief", "own")) })
	case n < 31 && w.rng.IntN(8) == 0:
		w.call("InvalidateAll", ctx, func() error { return second(s.InvalidateAll(ctx)) })
	case n < 33:
		w.call("InvalidateSource, settling", ctx, func() error {
			return second(s.InvalidateNamespace(ctx, "structures"))
		})
	case n < 50:
		w.call("Sync", ctx, func() error { return s.Sync(ctx) })
	case n < 54:
		w.call("Health", ctx, func() error {
			s.Health(ctx)
			return nil
		})
	case n < 56:
		w.call("Purge", ctx, func() error {
			p, err := s.Purge(ctx, "texts:brief", func(tier.PurgeProgress) {})
			if p.Resume != "" {
				_, again := s.Purge(ctx, "texts:brief", nil, tier.ResumeAt(p.Resume))
				err = errors.Join(err, again)
			}
			return err
		})
	default:
		w.call("Stats, AsOf", ctx, func() error {
			s.Stats()
			s.AsOf()
			return nil
		})
	}
}

func second[T any](_ T, err error) error { return err }

// getMany is the highest op that is a GetMany.
const getMany = 56

// call does one of the calls of a view.
func (v *viewOf[V]) call(ctx context.Context, w *worker, n int) {
	key := w.key()
	switch {
	case n < 25:
		w.call("Get", ctx, func() error {
			got, err := v.c.Get(ctx, key, v.loader(w, key), w.callOptions()...)
			v.judge(w, key, got, err)
			return err
		})
	case n < 32:
		w.call("Lookup", ctx, func() error {
			got, err := v.c.Lookup(ctx, key, v.loader(w, key), w.callOptions()...)
			v.judge(w, key, got.Value, err)
			return err
		})
	case n <= getMany:
		w.call("GetMany", ctx, func() error {
			found, err := v.c.GetMany(ctx, w.someKeys(), v.batch(w), w.callOptions()...)
			for key, got := range found {
				v.judge(w, key, got, nil)
			}
			return err
		})
	case n < 67:
		w.call("Peek", ctx, func() error {
			got, ok, err := v.c.Peek(ctx, key)
			if ok {
				v.judge(w, key, got, err)
			}
			return err
		})
	case n < 79:
		w.call("Set", ctx, func() error {
			return v.c.Set(ctx, key, v.make(key, w.rng), tier.WithSources(w.source()))
		})
	case n < 84:
		w.call("SetMany", ctx, func() error {
			values := make(map[string]V)
			for _, key := range w.someKeys() {
				values[key] = v.make(key, w.rng)
			}
			return v.c.SetMany(ctx, values)
		})
	case n < 89:
		w.call("Delete", ctx, func() error { return v.c.Delete(ctx, w.someKeys()[0], key) })
	case n < 95:
		w.call("Refresh", ctx, func() error {
			got, err := v.c.Refresh(ctx, key, v.loader(w, key))
			v.judge(w, key, got, err)
			return err
		})
	case n < 99:
		w.call("Explain", ctx, func() error {
			e, err := v.c.Explain(ctx, key)
			_ = e.String()
			return err
		})
	default:
		if w.rng.IntN(8) == 0 { // else there is nothing to be found
			w.call("Invalidate", ctx, func() error { return second(v.c.Invalidate(ctx)) })
		}
	}
}

// judge looks at a value now and later, if there is one.
func (v *viewOf[V]) judge(w *worker, key string, got V, err error) {
	if err == nil {
		w.keep(func() error { return v.check(key, got) })
	}
}

func (w *worker) callOptions() (out []tier.CallOption) {
	if w.rng.IntN(4) == 0 {
		out = append(out, tier.NoLocal())
	}
	if w.rng.IntN(8) == 0 {
		out = append(out, tier.Fresh())
	}
	return out
}

// behaviour is what a load does, drawn before it runs, since a loader may run in
// another goroutine than the worker's and at any time.
type behaviour struct {
	wait   time.Duration
	fails  int
	source string
	seed   uint64
}

func (w *worker) behaviour() behaviour {
	b := behaviour{fails: w.rng.IntN(60), source: w.source(), seed: w.rng.Uint64()}
	if w.rng.IntN(4) == 0 {
		b.wait = w.moment()
	}
	return b
}

// act is what all loads do.
func (b behaviour) act(ctx context.Context, e *tier.Entry) error {
	e.DependsOn(b.source)
	if b.wait > 0 {
		timer := time.NewTimer(b.wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			if b.fails%2 == 0 {
				return errLoad
			}
		}
	}
	switch b.fails {
	case 0:
		return errLoad
	case 1, 2:
		return tier.ErrNotFound
	case 3:
		panic(panicked)
	case 4:
		e.DoNotStore()
	case 5, 6:
		e.SetTTL(2 * time.Millisecond)
	}
	return nil
}

func (v *viewOf[V]) loader(w *worker, key string) tier.Loader[V] {
	b := w.behaviour()
	return func(ctx context.Context, e *tier.Entry) (V, error) {
		// The value is not this view's only: another worker may have joined.
		if err := b.act(ctx, e); err != nil {
			var zero V
			return zero, err
		}
		return v.make(key, rand.New(rand.NewPCG(b.seed, 1))), nil
	}
}

func (v *viewOf[V]) batch(w *worker) tier.BatchLoader[V] {
	b := w.behaviour()
	return func(ctx context.Context, keys []string, es tier.Entries) (map[string]V, error) {
		rng := rand.New(rand.NewPCG(b.seed, 2))
		out := make(map[string]V, len(keys))
		for i, key := range keys {
			if i == 0 {
				if err := b.act(ctx, es.For(key)); err != nil {
					return out, err
				}
			}
			if rng.IntN(64) > 0 { // else it is not found
				out[strings.Clone(key)] = v.make(key, rng)
			}
		}
		return out, nil
	}
}
