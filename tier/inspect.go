package tier

import (
	"context"
	"fmt"

	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/fleet"
	"github.com/tiercache/tiercache/tier/internal/inflight"
	"github.com/tiercache/tiercache/tier/internal/inspect"
)

func init() { inspect.Of = func(store any) *inspect.Store { return store.(*Store).inspect() } }

// inspect returns what tierdebug sees that is no exported method.
func (s *Store) inspect() *inspect.Store {
	return &inspect.Store{
		Prefix: s.cfg.Prefix, MaxStaleness: s.cfg.MaxStaleness, LocalBytes: s.cfg.LocalBytes, LocalEntries: s.cfg.LocalEntries,
		Watch: &s.watch,
		Explain: func(ctx context.Context, namespace, key string) (any, error) {
			c, err := s.anyView(namespace)
			if err != nil {
				return Explanation{}, err
			}
			return c.explain(ctx, key)
		},
		Delete: func(ctx context.Context, namespace, key string) error {
			c, err := s.anyView(namespace)
			if err != nil {
				return err
			}
			return c.delete(ctx, key)
		},
		Sizes: s.localSizes,
		Delta: func(ctx context.Context, q changelog.DeltaQuery) (changelog.Delta, error) {
			rctx := s.session.Request(ctx)
			defer rctx.End()
			return s.session.Conn.Delta(rctx, q)
		},
		Fleet: func(ctx context.Context) ([]fleet.Report, error) {
			return fleet.Read(ctx, s.session.Conn, s.cfg.Prefix, s.session.ServerTimeIn(0))
		},
		Position: func() (uint64, int64) {
			p := s.AsOf()
			return p.Incarnation, int64(p.Tick)
		},
		Spawn: func(f func(context.Context)) bool {
			return s.goroutines.Spawn(func() { f(s.goroutines.Ctx) })
		},
	}
}

// kindOfRead returns what a read that no fast path answered is counted as.
func kindOfRead(got *inflight.Served, err error) inspect.Kind {
	switch {
	case err == nil && got.Origin == inflight.FromRemote:
		return inspect.KindRemoteHit
	case err == nil && got.Origin == inflight.FromLoader:
		return inspect.KindLoadedRead
	}
	return inspect.KindNone
}

// anyView returns one of the views of a namespace.
func (s *Store) anyView(path string) (*core, error) {
	s.mu.Lock()
	ns := s.mu.namespaces[path]
	s.mu.Unlock()
	if ns != nil {
		if w := ns.anyView.Load(); w != nil {
			if c := w.Value(); c != nil {
				return c, nil
			}
		}
	}
	return nil, fmt.Errorf("tier: namespace %.80q: this process has no cache of it in use, and only a cache knows the keys and values of its namespace", path)
}

// localSizes adds up what namespaces hold in the local tier.
func (s *Store) localSizes(most int) inspect.Sizes {
	sizes, seen := inspect.Sizes{Of: make(map[string]inspect.Size)}, 0
	for e, bytes := range s.local.All() {
		if seen++; seen > most {
			sizes.Partial = true
			break
		}
		if ns, ok := e.Value.Space.(*namespace); ok {
			size := sizes.Of[ns.Path]
			size.Entries++
			size.Bytes += bytes
			sizes.Of[ns.Path] = size
		}
	}
	if scale := float64(s.local.Len()) / float64(most); sizes.Partial && scale > 1 {
		for path, size := range sizes.Of {
			sizes.Of[path] = inspect.Size{Entries: int64(float64(size.Entries) * scale), Bytes: int64(float64(size.Bytes) * scale)}
		}
	}
	return sizes
}
