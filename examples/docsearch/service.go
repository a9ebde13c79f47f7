package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// Service is the documents and the replicas that answer questions about them. In a real service
// each replica would be a process on a machine of its own; here each is a store of its own, and they
// share nothing but the remote tier and the documents.
type Service struct {
	corpus   *Corpus
	replicas []*Replica

	goroot              string
	started             time.Time
	readTime, indexTime time.Duration
}

// prefix keeps the example's keys apart from whatever else is on the server.
const prefix = "docsearch"

// Both tiers are bounded: what was used least recently gives way. A server has its own bound and
// policy (maxmemory, maxmemory-policy).
const (
	localBytes    = 16 << 20
	embeddedBytes = 64 << 20
)

// openTimeout bounds the wait for a server that does not answer.
const openTimeout = 5 * time.Second

// remoteTimeout and maxStaleness are longer than by default: the replicas, their server and all else that a demonstration is
// shown beside share one machine, which may be busy.
const (
	remoteTimeout = 5 * time.Second
	maxStaleness  = 5 * time.Second
)

// Open connects the replicas, and reads the documents if they could be connected.
func (s *Service) Open(ctx context.Context, cfg config) error {
	if err := s.openStores(ctx, cfg); err != nil {
		return err
	}
	if err := s.readDocuments(ctx); err != nil {
		return err
	}
	if err := s.openCaches(); err != nil {
		return err
	}
	// The documents were read anew, so whatever an earlier run left on the server may be made from
	// others: one version bump and none of it is believed.
	_, err := s.replicas[0].Store.InvalidateAll(ctx)
	return errors.Join(err, s.Sync(ctx))
}

func (s *Service) openStores(ctx context.Context, cfg config) error {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	shared := tier.WithRemote(remote.NewEmbedded(embeddedBytes))
	if cfg.valkey != "" {
		shared = tier.WithValkey(cfg.valkey)
	}
	for i := range cfg.replicas {
		store, err := tier.Open(ctx, shared, tier.WithPrefix(prefix), tier.WithLocalBytes(localBytes),
			tier.WithRemoteTimeout(remoteTimeout), tier.WithMaxStaleness(maxStaleness))
		if err != nil {
			return err
		}
		s.replicas = append(s.replicas, &Replica{Name: strconv.Itoa(i + 1), Store: store})
	}
	return nil
}

func (s *Service) readDocuments(ctx context.Context) (err error) {
	if s.goroot, err = findGoroot(ctx); err != nil {
		return err
	}
	start := time.Now()
	docs, err := readGoroot(ctx, s.goroot)
	if err != nil {
		return err
	}
	s.readTime = time.Since(start)
	start = time.Now()
	if s.corpus, err = newCorpus(docs); err != nil {
		return err
	}
	s.indexTime = time.Since(start)
	return nil
}

func (s *Service) openCaches() error {
	for _, r := range s.replicas {
		if err := r.openCaches(s.corpus); err != nil {
			return err
		}
	}
	return nil
}

// Replica returns the replica of that name.
func (s *Service) Replica(name string) (*Replica, error) {
	for _, r := range s.replicas {
		if r.Name == name {
			return r, nil
		}
	}
	return nil, fmt.Errorf("no replica %q: want 1 to %d", name, len(s.replicas))
}

// Sync returns once every replica knows of every change acknowledged before the call.
func (s *Service) Sync(ctx context.Context) error {
	var errs []error
	for _, r := range s.replicas {
		errs = append(errs, r.Store.Sync(ctx))
	}
	return errors.Join(errs...)
}

// Close closes whatever was opened.
func (s *Service) Close() error {
	var errs []error
	for _, r := range s.replicas {
		errs = append(errs, r.Store.Close())
	}
	if s.corpus != nil {
		errs = append(errs, s.corpus.Close())
	}
	return errors.Join(errs...)
}
