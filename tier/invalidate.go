package tier

import (
	"context"
	"fmt"
	"time"

	"github.com/tiercache/tiercache/invalidation"
	"github.com/tiercache/tiercache/tier/internal/config"
)

// InvalidateSource makes every value that was made from one of the sources
// unbelievable, in every process, with one command for each 1,000 of them. When
// it returns, no read in this process sees one; other processes follow within
// one push, and in any case within the maximum staleness. Up to 1,000 ids change at
// one position, which is returned.
//
// More are recorded 1,000 at a time, one step after another, in each of which the server
// serves no other client for some ten milliseconds. So other processes learn of the
// changes one after another, and the position of the last is returned. In this process all
// of them hold from the beginning. A step has a second, or the remote timeout if that is
// longer. What could not be recorded of more than 10,000 ids is sent again as a change of
// everything.
//
// After an error (ErrUnavailable) no read in this process sees one either, and
// the change is sent again in the background until it is acknowledged or the
// store is closed.
func (s *Store) InvalidateSource(ctx context.Context, ids ...string) (AsOf, error) {
	scopes := make([]invalidation.Scope, len(ids))
	for i, id := range ids {
		if err := invalidation.CheckSource(id); err != nil {
			return AsOf{}, fmt.Errorf("tier: invalidate source: %w", err)
		}
		scopes[i] = invalidation.Source(id)
	}
	return s.change(ctx, "invalidate source", scopes, false, nil)
}

// InvalidateNamespace does as InvalidateSource, for all entries of the
// namespaces and of those below them: "docs" covers "docs:technical".
func (s *Store) InvalidateNamespace(ctx context.Context, paths ...string) (AsOf, error) {
	scopes := make([]invalidation.Scope, len(paths))
	for i, path := range paths {
		if err := invalidation.CheckNamespace(path); err != nil {
			return AsOf{}, fmt.Errorf("tier: invalidate namespace: %w", err)
		}
		scopes[i] = invalidation.Namespace(path)
	}
	return s.change(ctx, "invalidate namespace", scopes, false, nil)
}

// InvalidateAll, the version bump, does as InvalidateSource for every entry of
// the store.
func (s *Store) InvalidateAll(ctx context.Context, options ...ChangeOption) (AsOf, error) {
	return s.change(ctx, "invalidate all", nil, true, options)
}

func (s *Store) change(ctx context.Context, doing string, scopes []invalidation.Scope, all bool, options []ChangeOption) (AsOf, error) {
	return s.core.Change(ctx, doing, scopes, all, changeOptions(s.core.Config.Settle, options))
}

func changeOptions(settle time.Duration, options []ChangeOption) config.Change {
	cfg := config.Change{Settle: settle}
	for _, o := range options {
		if o != nil {
			o.applyChange(&cfg)
		}
	}
	return cfg
}
