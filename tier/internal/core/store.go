package core

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/internal/recovery"
	"github.com/tiercache/tiercache/invalidation"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier/internal/background"
	"github.com/tiercache/tiercache/tier/internal/config"
	"github.com/tiercache/tiercache/tier/internal/evict"
	"github.com/tiercache/tiercache/tier/internal/evictions"
	"github.com/tiercache/tiercache/tier/internal/inflight"
	"github.com/tiercache/tiercache/tier/internal/inspect"
	"github.com/tiercache/tiercache/tier/internal/keyspace"
	"github.com/tiercache/tiercache/tier/internal/loads"
	"github.com/tiercache/tiercache/tier/internal/pace"
	"github.com/tiercache/tiercache/tier/internal/record"
	"github.com/tiercache/tiercache/tier/internal/revalidate"
	"github.com/tiercache/tiercache/tier/internal/session"
	"github.com/tiercache/tiercache/tier/internal/stripe"
	"github.com/tiercache/tiercache/tier/internal/sweep"
	"github.com/tiercache/tiercache/tier/internal/unavailable"
	"github.com/tiercache/tiercache/tier/internal/values"
	"github.com/tiercache/tiercache/tier/internal/warmstart"
)

// Settings are what the options of a store say.
type Settings struct {
	config.Store
	Observer func(Event) // nil: none
	// NewPanic returns the error of a load whose loader panicked with value, or ended its goroutine (nil).
	NewPanic func(value any, stack []byte) error
}

// Store is a process's connection to a shared tier, and its local tier.
type Store struct {
	Config  Settings
	Local   *local.Cache[record.Item]
	Table   *inflight.Table
	clock   *mono.Clock // for hits
	Watch   inspect.Watch
	Session session.Session // its end keeps writes to the fields below from slowing hits, which read the fields above

	tokens    string // the prefix of this store's lease tokens
	lastToken atomic.Uint64

	Evictions evictions.Counts
	Changes   atomic.Int64
	Loading   atomic.Int64 // runs of loaders

	Goroutines *background.Group
	events     *background.Queue // of the observer
	Closed     atomic.Bool

	Namespaces Namespaces
	plans      plans
	Hits       stripe.Set    // of all namespaces
	Total      Counters      // of all namespaces, without local hits
	ended      chan struct{} // Close has finished

	left evict.Queue
	// puts is held for reading while a value that is to be told of is put into the local tier by Set, and for writing when
	// the store is closed: Close then finds all of them there.
	puts sync.RWMutex

	pauses    pace.Table
	Suspended revalidate.Background
	warm      warmstart.Names
	seed      uint64              // random: when this process renews an entry early
	places    *loads.Places       // of loads; nil without WithMaxLoads
	Stuck     loads.Stuck         // of all views
	refreshes *semaphore.Weighted // refreshes in the background
	fills     *semaphore.Weighted // bytes on their way to the remote tier whose callers were answered
}

const (
	openTimeout = 10 * time.Second
	// maxFilling bounds the bytes that are still being stored after their callers
	// were answered; beyond it callers wait for the store.
	maxFilling = 64 << 20
	// loaderGrace is how long Close waits for loaders that ignore their context.
	loaderGrace = 5 * time.Second
)

// Open connects to the shared tier, and reads its change log.
func (s *Store) Open(ctx context.Context, cfg Settings) error {
	if err := cfg.Validate(local.Overhead + values.OwnSize[struct{}]()); err != nil {
		return fmt.Errorf("tier: open: %w", err)
	}
	if cfg.Backend == nil {
		cfg.Backend = remote.NewEmbedded(0)
	}
	s.Config, s.ended, s.fills, s.seed = cfg, make(chan struct{}), semaphore.NewWeighted(maxFilling), rand.Uint64()
	s.refreshes, s.places = semaphore.NewWeighted(maxRefreshes), loads.NewPlaces(cfg.MaxLoads)
	s.tokens, s.clock = tokenPrefix(), mono.NewClock()
	panics := recovery.New(cfg.Logger)
	// guard: recover-logger
	s.Config.Logger = panics.Logger(cfg.Logger)
	s.left.Logger = s.Config.Logger
	s.Goroutines = background.NewGroup(panics, s.Session.Lost)
	s.events = s.Goroutines.NewQueue()
	s.Config.Trace.Panics = s.tracerPanicked
	s.Session.Init(&s.Config.Store, s.Goroutines)
	if err := s.start(ctx); err != nil {
		s.abandon()
		return err
	}
	return nil
}

func (s *Store) start(ctx context.Context) (err error) {
	caller, limit := ctx, time.Duration(0)
	if _, bounded := ctx.Deadline(); !bounded {
		limit = openTimeout
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, openTimeout)
		defer cancel()
	}
	s.Local, err = local.New(local.Config[record.Item]{
		MaxBytes: s.Config.LocalBytes, MaxEntries: s.Config.LocalEntries, Policy: s.Config.LocalPolicy, OnRemove: s.removed,
	})
	if err != nil {
		return fmt.Errorf("tier: open: %w", err)
	}
	s.Table = inflight.NewTable(s.Local)
	s.Table.Largest = s.Config.LocalBytes / 8
	s.Suspended.Session, s.Suspended.Table, s.Suspended.Local, s.Suspended.Goroutines = &s.Session, s.Table, s.Local, s.Goroutines
	if err := s.Session.Open(ctx, s.onChanged, s.Table.WakeAll, s.reads); err != nil {
		if caller.Err() != nil {
			return fmt.Errorf("%w: open: %w", ErrUnavailable, err)
		}
		return unavailable.Request{Doing: "open", Server: s.Config.Backend.String(), Limit: limit}.Error(ErrUnavailable, nil, err)
	}
	if s.Session.Sharded() {
		s.Table.ShardOf = s.Session.ShardOf
	}
	if s.Config.WarmStart > 0 {
		s.warm.Session, s.warm.Local, s.warm.Goroutines, s.warm.Prefix, s.warm.Count = &s.Session, s.Local, s.Goroutines, s.Config.Prefix, s.Config.WarmStart
		s.Goroutines.Spawn(s.warm.Run)
	}
	sweeper := sweep.Sweeper{Local: s.Local, View: s.Session.Tail.View, Gone: s.Session.Gone}
	s.Goroutines.Spawn(func() {
		sweeper.Run(s.Goroutines.Ctx, func(sweep func()) {
			defer s.Goroutines.Panics.Recover("a sweep of the local tier", s.Session.Lost)
			sweep()
			s.CloseIdleViews()
		})
	})
	return nil
}

// abandon ends everything that a failed start has begun.
func (s *Store) abandon() {
	s.Goroutines.Close()
	s.Goroutines.Cancel()
	if s.Session.Conn != nil {
		_ = s.Session.Conn.Close()
	}
	s.Goroutines.Wait() // a probe, if the server was taken to be away
}

// removed is called by the local tier for every entry that leaves it.
func (s *Store) removed(e *local.Entry[record.Item], why local.Reason) {
	it := &e.Value
	s.Evictions.Count(it.Meta().Expires, why)
	// guard: evicted-value-is-told-of
	if it.Left != nil {
		if why == local.Removed {
			why = s.whyRemoved(it)
		}
		it.Once(record.Left)
		s.left.Add(it, why)
	}
	it.Release(s.Session.Tail)
}

// whyRemoved tells an item that was removed since it would not be served any more from one that was deleted. Its marks
// must not have been released.
func (s *Store) whyRemoved(it *record.Item) local.Reason {
	switch {
	case !it.Recheck(s.Session.Tail.View()):
		return local.Invalidated
	case mono.Now() >= it.Meta().Expires:
		return local.Expired
	}
	return local.Removed
}

// onChanged runs on the connection's reader goroutine.
func (s *Store) onChanged(names []string) {
	for _, name := range names {
		h, lease, ok := keyspace.Parse(name)
		switch {
		case !ok: // another program's key, which a store never reads
		case lease:
			s.Table.WakeCall(h)
		default:
			s.Table.ApplyInvalidation(h)
		}
	}
}

// Drain is Store.Drain of package tier.
func (s *Store) Drain(ctx context.Context) error {
	if s.Closed.Load() {
		return ErrClosed
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.Goroutines.Ctx, func() { cancel(ErrClosed) })()
	// guard: drain-waits-for-fills
	err := s.fills.Acquire(ctx, maxFilling)
	if err == nil {
		s.fills.Release(maxFilling)
	}
	scopes, all := s.Session.Tail.Drain(ctx)
	// The tail has been stopped by Close as well, and may return before the context above has ended.
	// guard: drain-tells-of-close
	if s.Goroutines.Ctx.Err() != nil {
		cancel(ErrClosed)
	}
	switch {
	case err == nil && scopes == 0 && !all:
		return nil
	case all:
		return fmt.Errorf("tier: drain: the invalidation of everything, and of %d scopes, is not recorded: %w", scopes, endOf(ctx))
	case scopes > 0:
		return fmt.Errorf("tier: drain: the invalidation of %d scopes is not recorded: %w", scopes, endOf(ctx))
	}
	return fmt.Errorf("tier: drain: not all values are stored: %w", endOf(ctx))
}

// Close is Store.Close of package tier.
func (s *Store) Close() error {
	// guard: close-from-inside
	if calledFromInside() {
		return errCloseInside
	}
	if !s.Goroutines.Close() {
		<-s.ended
		return nil
	}
	s.puts.Lock()
	s.Closed.Store(true)
	s.puts.Unlock()
	s.Goroutines.Cancel()
	for _, p := range s.Table.Participants() {
		p.End(ErrClosed)
	}
	s.Goroutines.Wait()
	if !s.Goroutines.AwaitLoaders(loaderGrace) {
		s.Config.Logger.Warn("tiercache: a loader ignores the end of its context and was left behind")
	}
	s.Session.Tail.Close()
	if h := s.Session.Tail.Health(); h.Undelivered > 0 || h.UndeliveredAll {
		// guard: close-tells-what-it-gave-up
		s.Config.Logger.Warn("tiercache: closed before all changes were recorded: other processes may serve what those were to invalidate, until its TTL ends",
			"scopes", h.Undelivered, "all", h.UndeliveredAll)
	}
	err := s.Session.Conn.Close()
	s.Local.Clear()
	// guard: close-waits-for-evictions
	s.left.Wait()
	s.Session.EndDeadline()
	close(s.ended)
	return err
}

// AsOf is the present position in the change log.
func (s *Store) AsOf() invalidation.AsOf { return s.Session.Tail.TakeAsOf() }

// Sync is Store.Sync of package tier.
func (s *Store) Sync(ctx context.Context) error {
	if s.Closed.Load() {
		return ErrClosed
	}
	begun := mono.Now()
	rctx, cancel := s.Session.ChangeContext(ctx, 1)
	defer cancel()
	err := s.Session.Tail.CatchUp(rctx)
	if err == nil {
		err = s.Session.Conn.Prove(rctx)
	}
	if err == nil {
		s.Table.Sync(begun)
	}
	return s.RemoteError(ctx, "sync", err)
}

// maxRefreshes bounds the calls to loaders that renew values in the background, in a store. What
// is due beyond it is renewed when it is read again.
const maxRefreshes = 64
