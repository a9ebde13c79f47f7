package tier

import (
	"context"
	"fmt"

	"github.com/tiercache/tiercache/invalidation"
	"github.com/tiercache/tiercache/remote"
)

// PurgeProgress is how far a Purge has come.
type PurgeProgress = remote.PurgeProgress

// PurgeOption configures a Purge.
type PurgeOption interface{ applyPurge(*remote.PurgeRequest) }

type purgeOption func(*remote.PurgeRequest)

func (f purgeOption) applyPurge(r *remote.PurgeRequest) { f(r) }

// ResumeAt continues an interrupted Purge of the same namespace at the
// PurgeProgress.Resume that it returned.
func ResumeAt(resume string) PurgeOption {
	return purgeOption(func(r *remote.PurgeRequest) { r.Resume = resume })
}

// Purge invalidates a namespace and all below it, and then really frees their
// memory in the remote tier, which an invalidation leaves to expiry: it scans
// all keys of the server and removes the namespace's in batches, pipelined, so
// that other clients are served in between. progress, if not nil, is called
// after each batch. When ctx ends first, the returned progress says where to
// resume. Entries stored while it runs may be removed too.
func (s *Store) Purge(ctx context.Context, path string, progress func(PurgeProgress), options ...PurgeOption) (PurgeProgress, error) {
	if s.closed.Load() {
		return PurgeProgress{}, ErrClosed
	}
	if err := invalidation.CheckNamespace(path); err != nil {
		return PurgeProgress{}, fmt.Errorf("tier: purge: %w", err)
	}
	req := remote.PurgeRequest{Prefixes: []string{newNamespace(s.cfg.prefix, path).name}, Progress: progress}
	for _, o := range options {
		if o != nil {
			o.applyPurge(&req)
		}
	}
	if req.Resume == "" {
		if _, err := s.InvalidateNamespace(ctx, path); err != nil {
			return PurgeProgress{}, err
		}
	}
	done, err := s.conn.Purge(ctx, req)
	return done, remoteError(ctx, "purge", err)
}
