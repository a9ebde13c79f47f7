package tier

import (
	"context"
	"fmt"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/invalidation"
	"github.com/tiercache/tiercache/tier/internal/keyspace"
)

// PurgeProgress is how far a Purge has come.
type PurgeProgress struct {
	Scanned int64 // keys looked at, of the whole server; with Valkey about 1000 more each time
	Removed int64 // keys removed, leases included
	// Resume continues the purge after the last finished batch; it is empty
	// when the purge is complete.
	Resume string
}

// PurgeOption configures a Purge.
type PurgeOption interface{ applyPurge(*backend.PurgeRequest) }

type purgeOption func(*backend.PurgeRequest)

func (f purgeOption) applyPurge(r *backend.PurgeRequest) { f(r) }

// ResumeAt continues an interrupted Purge of the same namespace at the
// PurgeProgress.Resume that it returned.
func ResumeAt(resume string) PurgeOption {
	return purgeOption(func(r *backend.PurgeRequest) { r.Resume = resume })
}

// Purge invalidates a namespace and all below it, and then really frees their
// memory in the remote tier, which an invalidation leaves to expiry: it scans
// all keys of the server and removes the namespace's in batches, pipelined, so
// that other clients are served in between. progress, if not nil, is called
// after each batch. When ctx ends first, the returned progress says where to
// resume. Entries stored while it runs may be removed too.
func (s *Store) Purge(ctx context.Context, path string, progress func(PurgeProgress), options ...PurgeOption) (PurgeProgress, error) {
	if s.core.Closed.Load() {
		return PurgeProgress{}, ErrClosed
	}
	if err := invalidation.CheckNamespace(path); err != nil {
		return PurgeProgress{}, fmt.Errorf("tier: purge: %w", err)
	}
	req := backend.PurgeRequest{Prefixes: []string{keyspace.New(s.core.Config.Prefix, path).Prefix}}
	if progress != nil {
		req.Progress = func(p backend.PurgeProgress) { progress(PurgeProgress(p)) }
	}
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
	done, err := s.core.Session.Conn.Purge(ctx, req)
	return PurgeProgress(done), s.core.RemoteError(ctx, "purge", err)
}
