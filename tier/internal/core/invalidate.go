package core

import (
	"context"
	"fmt"
	"time"

	"github.com/tiercache/tiercache/invalidation"
	"github.com/tiercache/tiercache/tier/internal/config"
)

// Change records changes of scopes, or of everything.
func (s *Store) Change(ctx context.Context, doing string, scopes []invalidation.Scope, all bool, cfg config.Change) (invalidation.AsOf, error) {
	if s.Closed.Load() {
		return invalidation.AsOf{}, ErrClosed
	}
	if err := config.CheckSettle(cfg.Settle, s.Config.MaxTTL); err != nil {
		return invalidation.AsOf{}, fmt.Errorf("tier: %s: %w", doing, err)
	}
	if len(scopes) == 0 && !all {
		return s.AsOf(), nil // nothing named, nothing changed
	}
	begun := time.Now()
	ctx, traced := s.traceChange(ctx, doing, "", len(scopes))
	recorded := len(scopes)
	if cfg.Settle > 0 {
		recorded *= 2
	}
	rctx, cancel := s.Session.ChangeContext(ctx, recorded)
	defer cancel()
	asOf, err := s.Session.Tail.Change(rctx, scopes, all, cfg.Settle)
	if err != nil {
		err = s.RemoteError(ctx, doing, err)
	}
	s.Changes.Add(1)
	traced(err)
	s.observe(Event{Kind: EventInvalidate, Took: time.Since(begun), Err: err})
	return asOf, err
}
