package tier

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/internal/recovery"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier/internal/breaker"
)

// Store is a process's connection to a shared tier, and its local tier: one per
// process. Caches are typed views of its namespaces, made with [New].
type Store struct {
	cfg  storeConfig
	conn *breaker.Conn
	tail *changelog.Tail
	// panics counts and logs panics in goroutines of the store, and does not panic itself.
	panics *recovery.Panics
	local  *local.Cache[item]
	table  *table
	clock  *mono.Clock // for hits
	// sharded: the keys are on several servers, each of which proves its own part.
	sharded bool
	// following is tail once it has started: invalidations can come before.
	following atomic.Pointer[changelog.Tail]
	_         [cacheLine]byte // keeps writes to the fields below from slowing hits, which read the fields above

	tokens    string // the prefix of this store's lease tokens
	lastToken atomic.Uint64

	evictions atomic.Int64
	changes   atomic.Int64
	activity  atomic.Int64 // grows with each write, and while loads run: see reads

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	closed atomic.Bool

	mu struct {
		sync.Mutex // guards what follows
		namespaces map[string]*namespace
		background sync.WaitGroup // loads until their fills are answered, refreshes, and other goroutines of the store
		loading    sync.WaitGroup // goroutines of loaders
		closing    bool
	}
	ended    chan struct{} // Close has finished
	deadline atomic.Pointer[requestDeadline]

	fills *semaphore.Weighted // bytes on their way to the remote tier whose callers were answered
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
			cfg.errs = append(cfg.errs, errors.New("an option is nil"))
			continue
		}
		o.applyStore(&cfg)
	}
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("tier: open: %w", err)
	}
	if cfg.backend == nil {
		cfg.backend = remote.NewEmbedded(0)
	}
	s := &Store{cfg: cfg, ended: make(chan struct{}), fills: semaphore.NewWeighted(maxFilling), tokens: tokenPrefix(), clock: mono.NewClock()}
	s.panics = recovery.New(cfg.logger)
	// guard: recover-logger
	s.cfg.logger = s.panics.Logger(cfg.logger)
	s.mu.namespaces = make(map[string]*namespace)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if err := s.start(ctx); err != nil {
		s.abandon()
		return nil, err
	}
	return s, nil
}

func (s *Store) start(ctx context.Context) (err error) {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, openTimeout)
		defer cancel()
	}
	s.local, err = local.New(local.Config[item]{
		MaxBytes: s.cfg.localBytes, MaxEntries: s.cfg.localEntries, Policy: s.cfg.localPolicy, OnRemove: s.removed,
	})
	if err != nil {
		return fmt.Errorf("tier: open: %w", err)
	}
	s.table = newTable(s.local)
	o := s.cfg.connection()
	o.Panics = s.panics
	o.Events = backend.Events{Changed: s.onChanged, Lost: s.onLost, Published: s.onPublished}
	var conn backend.Conn
	err = persist(ctx, func() (err error) {
		conn, err = s.cfg.backend.Connect(ctx, o)
		return err
	})
	if err != nil {
		return fmt.Errorf("%w: open: %w", ErrUnavailable, err)
	}
	if mode := backend.ModeOf(conn, o); mode.NoTracking && !o.NoTracking {
		s.cfg.noTracking = true
		s.cfg.logger.Warn("tiercache: the store is as WithoutTracking, since the server does not tell of changed keys", "why", strings.Join(mode.Without, "; "))
	}
	if s.sharded = conn.Shard(s.cfg.prefix) != nil; s.sharded {
		s.table.shardOf = conn.Shard
	}
	s.conn = breaker.NewConn(conn, s.cfg.timeout, s.cfg.heartbeat, s.onOutageBegin, s.onOutageEnd)
	s.conn.Sharded = s.sharded
	s.conn.Refusals.Tell = s.onRefusal
	s.conn.Server.Probe = func(ctx context.Context) {
		// A server that is slow is taken to be away while the log is still being read.
		// guard: open-on-slow-server
		if t := s.following.Load(); t != nil {
			_ = t.CatchUp(ctx) // breaker.Conn records the result
		}
	}
	if err = s.follow(ctx); err != nil {
		return fmt.Errorf("%w: open: %w", ErrUnavailable, err)
	}
	if s.sharded {
		// The histories of all servers are to be in the log before a key is written: a
		// server that is first seen later may have lost writes, so the namespaces of all
		// declarations would change.
		pctx, cancel := s.changeContext(ctx)
		_ = s.conn.Prove(pctx) // a server that does not answer now is seen later
		cancel()
	}
	s.following.Store(s.tail)
	s.tail.Wake() // for messages published while it started
	return nil
}

// abandon ends everything that a failed start has begun.
func (s *Store) abandon() {
	s.mu.Lock()
	s.mu.closing = true
	s.mu.Unlock()
	s.cancel()
	if s.conn != nil {
		_ = s.conn.Close()
	}
	s.mu.background.Wait() // a probe, if the server was taken to be away
}

// follow begins to follow the change log. The first attempt may take a server to be unreachable that is not, in a cluster:
//
//	probe:  asks the server, over the connection that the client has just made
//	client: makes another connection to it, so the probe's answer does not count
func (s *Store) follow(ctx context.Context) error {
	// guard: open-asks-again
	return persist(ctx, func() (err error) {
		s.tail, err = changelog.Start(ctx, s.conn, changelog.Config{
			Heartbeat: s.cfg.heartbeat, Timeout: s.cfg.timeout, Retention: s.cfg.maxTTL,
			Settle: s.cfg.settle, Logger: s.cfg.logger, Reads: s.reads, Panics: s.panics,
		})
		return err
	})
}

// removed is called by the local tier for every entry that leaves it.
func (s *Store) removed(e *local.Entry[item], why local.Reason) {
	if why == local.Evicted {
		s.evictions.Add(1)
	}
	e.Value.release(s.tail)
}

// onChanged, onLost and onPublished run on the connection's reader goroutine.
func (s *Store) onChanged(names []string) {
	for _, name := range names {
		h, lease, ok := parseRemoteName(name)
		switch {
		case !ok: // another program's key, which a store never reads
		case lease:
			s.table.wakeCall(h)
		default:
			s.table.applyInvalidation(h)
		}
	}
}

func (s *Store) onLost() {
	if t := s.following.Load(); t != nil {
		t.Lost()
	}
	s.table.wakeAll()
}

func (s *Store) onPublished(raw string) {
	t := s.following.Load()
	if t == nil {
		return
	}
	m, err := changelog.ParseMessage(raw)
	if err != nil {
		t.Wake() // the change is in the log
		return
	}
	t.Receive(m)
}

// Close ends all goroutines and connections that the store owns and waits for
// them. Loads under way are cancelled; a loader that ignores that for 5 s is
// left behind. Later calls of all methods return ErrClosed; closing twice is fine.
func (s *Store) Close() error {
	if s == nil {
		return nil // the result of an Open that failed
	}
	s.mu.Lock()
	first := !s.mu.closing
	s.mu.closing = true
	s.mu.Unlock()
	if !first {
		<-s.ended
		return nil
	}
	s.closed.Store(true)
	s.cancel()
	for _, p := range s.table.participants() {
		p.run.end(ErrClosed)
	}
	s.mu.background.Wait()
	s.awaitLoaders()
	s.tail.Close()
	err := s.conn.Close()
	s.local.Clear()
	s.endDeadline()
	close(s.ended)
	return err
}

func (s *Store) awaitLoaders() {
	ended := make(chan struct{})
	go func() {
		s.mu.loading.Wait()
		close(ended)
	}()
	timer := time.NewTimer(loaderGrace)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
		s.cfg.logger.Warn("tiercache: a loader ignores the end of its context and was left behind")
	}
}

// spawn runs f in a goroutine that Close waits for. It returns false, without
// running it, once the store is closing.
func (s *Store) spawn(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closing {
		return false
	}
	s.runInBackground(f)
	return true
}

// runInBackground is spawn for background work that Close waits for in any case, since the
// caller is part of it. After a panic of f no local copy is believed: it is not known what
// f left half done.
func (s *Store) runInBackground(f func()) {
	s.mu.background.Go(func() {
		// guard: recover-store-goroutine
		defer s.panics.Recover("a goroutine of the store", s.onLost)
		f()
	})
}

// spawnLoad runs f, the run of a loader, in a goroutine for which Close waits no longer
// than loaderGrace, since the loader may never return. Until loadRun.finish, Close waits
// for it in any case.
func (s *Store) spawnLoad(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closing {
		return false
	}
	s.mu.background.Add(1)
	s.mu.loading.Go(func() {
		// guard: recover-load
		defer s.panics.Recover("a load", s.onLost)
		f()
	})
	return true
}

// namespace returns the namespace that all views of a path share.
func (s *Store) namespace(path string) *namespace {
	s.mu.Lock()
	defer s.mu.Unlock()
	ns := s.mu.namespaces[path]
	if ns == nil {
		ns = newNamespace(s.cfg.prefix, path)
		ns.pins = s.tail.PinForever(ns.scopes)
		s.mu.namespaces[path] = ns
	}
	return ns
}

// serverTimeIn returns what the server's clock will show in d, or a little more: it is
// computed from the latest answered delta read.
func (s *Store) serverTimeIn(d time.Duration) time.Time {
	return s.tail.View().ServerTime(mono.Now()).Add(d)
}

// AsOf returns the present position in the change log: take it before reading a
// source and give it to Set with [WithAsOf] afterwards. It sends nothing.
func (s *Store) AsOf() AsOf { return s.tail.View().AsOf() }

// Sync returns once this process has applied every change that was acknowledged, in any
// process, before the call. It is one round trip, or two in a cluster, where every
// primary must answer. It fails for as long as the change log cannot be read: the user
// lacks a right, or a later version has written a format that this one does not know.
func (s *Store) Sync(ctx context.Context) error {
	if s.closed.Load() {
		return ErrClosed
	}
	begun := mono.Now()
	rctx, cancel := s.changeContext(ctx)
	defer cancel()
	err := s.tail.CatchUp(rctx)
	if err == nil {
		err = s.conn.Prove(rctx)
	}
	if err == nil {
		s.table.sync(begun)
	}
	return remoteError(ctx, "sync", err)
}
