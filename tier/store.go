package tier

import (
	"context"
	"fmt"

	"github.com/tiercache/tiercache/tier/internal/core"
)

// Store is a process's connection to a shared tier, and its local tier: one per
// process. Caches are typed views of its namespaces, made with [New].
type Store struct{ core core.Store }

// Open connects to the shared tier, reads its change log and returns a store, or one
// error that names every bad option, or the server that could not be reached; never a
// half-open store. Without an option that chooses a remote tier the store has one of its
// own in this process. It fails if stores of the prefix are open that differ in
// WithoutTracking, or if the change log is of a format that only later versions know.
//
// Where a later attempt may succeed (the server starts, or loads its data, or is being
// replaced, or has no connection to spare) Open tries again until ctx ends; without a
// deadline of ctx, for 10 s. Where it cannot, Open fails at once: a bad option, a refused
// password, a right that the user lacks, a server that will never do. It tries each kind of request
// once, on a key of its own. What the server withholds and the store can do
// without is in [Health].
func Open(ctx context.Context, options ...Option) (*Store, error) {
	cfg := defaultStoreConfig()
	for i, o := range options {
		if o == nil {
			cfg.Errs = append(cfg.Errs, fmt.Errorf("option %d is nil", i+1))
			continue
		}
		o.applyStore(&cfg)
	}
	s := &Store{}
	if err := s.core.Open(ctx, cfg.Settings); err != nil {
		return nil, err
	}
	if cfg.report {
		s.report()
	}
	return s, nil
}

// Drain returns when what the store owes to others has been delivered: the values that callers have been given and that were being
// stored remotely, and invalidations that could not be recorded at first. It is for the time between the last request and
// Close. If ctx ends first, or the store is closed, the error says how much is left; Close gives that up.
// It does not wait for loads.
func (s *Store) Drain(ctx context.Context) error { return s.core.Drain(ctx) }

// Close ends all goroutines and connections that the store owns and waits for
// them. Other processes are told at once of invalidations of which a message had to wait, in a large fleet; if Valkey does not answer,
// that takes up to a second, or the remote timeout if that is longer. What it gives up of invalidations that are not recorded yet is logged; see [Store.Drain]. Loads under way are cancelled; a loader that ignores that for 5 s is
// left behind. Later calls of all methods return ErrClosed; closing twice is fine.
// In a loader, an observer, a tracer or a codec, for which it would wait, Close does nothing and
// returns an error: it is to be called in another goroutine. So it is in a function of WithSize or WithOnEvict.
func (s *Store) Close() error {
	if s == nil {
		return nil // the result of an Open that failed
	}
	return s.core.Close()
}

// AsOf returns the present position in the change log: take it before reading a
// source and give it to Set with [WithAsOf] afterwards. It sends nothing.
func (s *Store) AsOf() AsOf { return s.core.AsOf() }

// Sync returns once this process has applied every change that was acknowledged, in any
// process, before the call. It is one round trip, or two in a cluster, where every
// primary must answer. It fails for as long as the change log cannot be read: the user
// lacks a right, or a later version has written a format that this one does not know.
func (s *Store) Sync(ctx context.Context) error { return s.core.Sync(ctx) }
