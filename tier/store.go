package tier

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/internal/recovery"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier/internal/background"
	"github.com/tiercache/tiercache/tier/internal/inflight"
	"github.com/tiercache/tiercache/tier/internal/inspect"
	"github.com/tiercache/tiercache/tier/internal/keyspace"
	"github.com/tiercache/tiercache/tier/internal/loads"
	"github.com/tiercache/tiercache/tier/internal/pace"
	"github.com/tiercache/tiercache/tier/internal/record"
	"github.com/tiercache/tiercache/tier/internal/revalidate"
	"github.com/tiercache/tiercache/tier/internal/session"
	"github.com/tiercache/tiercache/tier/internal/sweep"
	"github.com/tiercache/tiercache/tier/internal/unavailable"
	"github.com/tiercache/tiercache/tier/internal/values"
	"github.com/tiercache/tiercache/tier/internal/warmstart"
)

// Store is a process's connection to a shared tier, and its local tier: one per
// process. Caches are typed views of its namespaces, made with [New].
type Store struct {
	cfg     storeConfig
	local   *local.Cache[record.Item]
	table   *inflight.Table
	clock   *mono.Clock // for hits
	watch   inspect.Watch
	session session.Session // its end keeps writes to the fields below from slowing hits, which read the fields above

	tokens    string // the prefix of this store's lease tokens
	lastToken atomic.Uint64

	evictions atomic.Int64
	changes   atomic.Int64
	loading   atomic.Int64 // runs of loaders

	goroutines *background.Group
	events     *background.Queue // of the observer
	closed     atomic.Bool

	mu struct {
		sync.Mutex // guards what follows
		namespaces map[string]*namespace
	}
	ended chan struct{} // Close has finished

	pauses    pace.Table
	suspended revalidate.Background
	warm      warmstart.Names
	seed      uint64              // random: when this process renews an entry early
	places    *loads.Places       // of loads; nil without WithMaxLoads
	stuck     loads.Stuck         // of all views
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
	for _, o := range options {
		if o == nil {
			cfg.Errs = append(cfg.Errs, errors.New("an option is nil"))
			continue
		}
		o.applyStore(&cfg)
	}
	if err := cfg.Validate(local.Overhead + values.OwnSize[struct{}]()); err != nil {
		return nil, fmt.Errorf("tier: open: %w", err)
	}
	if cfg.Backend == nil {
		cfg.Backend = remote.NewEmbedded(0)
	}
	s := &Store{cfg: cfg, ended: make(chan struct{}), fills: semaphore.NewWeighted(maxFilling), seed: rand.Uint64(), refreshes: semaphore.NewWeighted(maxRefreshes), places: loads.NewPlaces(cfg.MaxLoads), tokens: tokenPrefix(), clock: mono.NewClock()}
	panics := recovery.New(cfg.Logger)
	// guard: recover-logger
	s.cfg.Logger = panics.Logger(cfg.Logger)
	s.goroutines = background.NewGroup(panics, s.session.Lost)
	s.events = s.goroutines.NewQueue()
	s.cfg.Trace.Panics = s.tracerPanicked
	s.session.Init(&s.cfg.Store, s.goroutines)
	s.mu.namespaces = make(map[string]*namespace)
	if err := s.start(ctx); err != nil {
		s.abandon()
		return nil, err
	}
	return s, nil
}

func (s *Store) start(ctx context.Context) (err error) {
	caller, limit := ctx, time.Duration(0)
	if _, bounded := ctx.Deadline(); !bounded {
		limit = openTimeout
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, openTimeout)
		defer cancel()
	}
	s.local, err = local.New(local.Config[record.Item]{
		MaxBytes: s.cfg.LocalBytes, MaxEntries: s.cfg.LocalEntries, Policy: s.cfg.LocalPolicy, OnRemove: s.removed,
	})
	if err != nil {
		return fmt.Errorf("tier: open: %w", err)
	}
	s.table = inflight.NewTable(s.local)
	s.table.Largest = s.cfg.LocalBytes / 8
	s.suspended.Session, s.suspended.Table, s.suspended.Local, s.suspended.Goroutines = &s.session, s.table, s.local, s.goroutines
	if err := s.session.Open(ctx, s.onChanged, s.table.WakeAll, s.reads); err != nil {
		if caller.Err() != nil {
			return fmt.Errorf("%w: open: %w", ErrUnavailable, err)
		}
		return unavailable.Request{Doing: "open", Server: s.cfg.Backend.String(), Limit: limit}.Error(ErrUnavailable, nil, err)
	}
	if s.session.Sharded() {
		s.table.ShardOf = s.session.ShardOf
	}
	if s.cfg.report {
		s.report()
	}
	if s.cfg.WarmStart > 0 {
		s.warm.Session, s.warm.Local, s.warm.Goroutines, s.warm.Prefix, s.warm.Count = &s.session, s.local, s.goroutines, s.cfg.Prefix, s.cfg.WarmStart
		s.goroutines.Spawn(s.warm.Run)
	}
	sweeper := sweep.Sweeper{Local: s.local, View: s.session.Tail.View, Gone: s.session.Gone}
	s.goroutines.Spawn(func() {
		sweeper.Run(s.goroutines.Ctx, func(sweep func()) {
			defer s.goroutines.Panics.Recover("a sweep of the local tier", s.session.Lost)
			sweep()
		})
	})
	return nil
}

// abandon ends everything that a failed start has begun.
func (s *Store) abandon() {
	s.goroutines.Close()
	s.goroutines.Cancel()
	if s.session.Conn != nil {
		_ = s.session.Conn.Close()
	}
	s.goroutines.Wait() // a probe, if the server was taken to be away
}

// removed is called by the local tier for every entry that leaves it.
func (s *Store) removed(e *local.Entry[record.Item], why local.Reason) {
	if why == local.Evicted {
		s.evictions.Add(1)
	}
	e.Value.Release(s.session.Tail)
}

// onChanged runs on the connection's reader goroutine.
func (s *Store) onChanged(names []string) {
	for _, name := range names {
		h, lease, ok := keyspace.Parse(name)
		switch {
		case !ok: // another program's key, which a store never reads
		case lease:
			s.table.WakeCall(h)
		default:
			s.table.ApplyInvalidation(h)
		}
	}
}

// Close ends all goroutines and connections that the store owns and waits for
// them. Loads under way are cancelled; a loader that ignores that for 5 s is
// left behind. Later calls of all methods return ErrClosed; closing twice is fine.
// In a loader, an observer, a tracer or a codec, for which it would wait, Close does nothing and
// returns an error: it is to be called in another goroutine. So it is in a function of WithSize.
func (s *Store) Close() error {
	if s == nil {
		return nil // the result of an Open that failed
	}
	// guard: close-from-inside
	if calledFromInside() {
		return errCloseInside
	}
	if !s.goroutines.Close() {
		<-s.ended
		return nil
	}
	s.closed.Store(true)
	s.goroutines.Cancel()
	for _, p := range s.table.Participants() {
		p.End(ErrClosed)
	}
	s.goroutines.Wait()
	if !s.goroutines.AwaitLoaders(loaderGrace) {
		s.cfg.Logger.Warn("tiercache: a loader ignores the end of its context and was left behind")
	}
	s.session.Tail.Close()
	err := s.session.Conn.Close()
	s.local.Clear()
	s.session.EndDeadline()
	close(s.ended)
	return err
}

// namespace returns the namespace that all views of a path share.
func (s *Store) namespace(path string) *namespace {
	s.mu.Lock()
	defer s.mu.Unlock()
	ns := s.mu.namespaces[path]
	if ns == nil {
		ns = &namespace{}
		ns.Init(&s.session, path)
		s.mu.namespaces[path] = ns
	}
	return ns
}

// spaces returns all namespaces that have had a view, by their paths.
func (s *Store) spaces() []*namespace {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.mu.namespaces), func(a, b *namespace) int { return strings.Compare(a.Path, b.Path) })
}

// AsOf returns the present position in the change log: take it before reading a
// source and give it to Set with [WithAsOf] afterwards. It sends nothing.
func (s *Store) AsOf() AsOf { return s.session.Tail.TakeAsOf() }

// Sync returns once this process has applied every change that was acknowledged, in any
// process, before the call. It is one round trip, or two in a cluster, where every
// primary must answer. It fails for as long as the change log cannot be read: the user
// lacks a right, or a later version has written a format that this one does not know.
func (s *Store) Sync(ctx context.Context) error {
	if s.closed.Load() {
		return ErrClosed
	}
	begun := mono.Now()
	rctx, cancel := s.session.ChangeContext(ctx, 1)
	defer cancel()
	err := s.session.Tail.CatchUp(rctx)
	if err == nil {
		err = s.session.Conn.Prove(rctx)
	}
	if err == nil {
		s.table.Sync(begun)
	}
	return s.remoteError(ctx, "sync", err)
}
