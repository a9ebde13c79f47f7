package tier

import (
	"context"
	"fmt"

	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/fleet"
	"github.com/tiercache/tiercache/tier/internal/core"
	"github.com/tiercache/tiercache/tier/internal/inspect"
)

func init() { inspect.Of = func(store any) *inspect.Store { return store.(*Store).inspect() } }

// inspect returns what tierdebug sees that is no exported method.
func (s *Store) inspect() *inspect.Store {
	return &inspect.Store{
		Prefix: s.core.Config.Prefix, MaxStaleness: s.core.Config.MaxStaleness, LocalBytes: s.core.Config.LocalBytes, LocalEntries: s.core.Config.LocalEntries,
		Watch: &s.core.Watch,
		Explain: func(ctx context.Context, namespace, key string) (any, error) {
			c, err := s.anyView(namespace)
			if err != nil {
				return Explanation{}, err
			}
			e, err := c.Explain(ctx, key)
			return explanationOf(e), err
		},
		Delete: func(ctx context.Context, namespace, key string) error {
			c, err := s.anyView(namespace)
			if err != nil {
				return err
			}
			return c.Delete(ctx, key)
		},
		Sizes: s.localSizes,
		Delta: func(ctx context.Context, q changelog.DeltaQuery) (changelog.Delta, error) {
			rctx := s.core.Session.Request(ctx)
			defer rctx.End()
			return s.core.Session.Conn.Delta(rctx, q)
		},
		Fleet: func(ctx context.Context) ([]fleet.Report, error) {
			return fleet.Read(ctx, s.core.Session.Conn, s.core.Config.Prefix, s.core.Session.ServerTimeIn(0))
		},
		Position: func() (uint64, int64) {
			p := s.AsOf()
			return p.Incarnation, int64(p.Tick)
		},
		Spawn: func(f func(context.Context)) bool {
			return s.core.Goroutines.Spawn(func() { f(s.core.Goroutines.Ctx) })
		},
	}
}

// anyView returns one of the views of a namespace.
func (s *Store) anyView(path string) (*core.Cache, error) {
	if c := s.core.AnyView(path); c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("tier: namespace %.80q: this process has no cache of it in use, and only a cache knows the keys and values of its namespace", path)
}

// localSizes adds up what namespaces hold in the local tier.
func (s *Store) localSizes(most int) inspect.Sizes {
	sizes, seen := inspect.Sizes{Of: make(map[string]inspect.Size)}, 0
	for e, bytes := range s.core.Local.All() {
		if seen++; seen > most {
			sizes.Partial = true
			break
		}
		if ns, ok := e.Value.Space.(*core.Namespace); ok {
			size := sizes.Of[ns.Path]
			size.Entries++
			size.Bytes += bytes
			sizes.Of[ns.Path] = size
		}
	}
	if scale := float64(s.core.Local.Len()) / float64(most); sizes.Partial && scale > 1 {
		for path, size := range sizes.Of {
			sizes.Of[path] = inspect.Size{Entries: int64(float64(size.Entries) * scale), Bytes: int64(float64(size.Bytes) * scale)}
		}
	}
	return sizes
}
