package session

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/recovery"
)

// firstTry bounds the attempt that a store makes that may start offline before it does.
const firstTry = 2 * time.Second

// errTracking: a store that has begun with tracking cannot go on without, so one that starts offline has to be told before.
var errTracking = errors.New("the server does not tell of changed keys, which a store that starts offline has to know before: open it WithoutTracking")

// openOffline tries once, and if that may pass goes on without a connection, which is made in the background.
func (s *Session) openOffline(ctx context.Context, o backend.Options, reads func() int64) error {
	tctx, cancel := context.WithTimeout(ctx, firstTry)
	defer cancel()
	conn, err := s.connectOnce(tctx, o)
	if err == nil {
		once := func(_ context.Context, f func() error) error { return f() }
		if err = s.begin(tctx, conn, o, reads, once); err == nil {
			return nil
		}
		_ = conn.Close()
		s.Conn = nil
	}
	// guard: offline-fails-for-good
	if !mayPass(err) || errors.Is(ctx.Err(), context.Canceled) {
		return err
	}
	l := &lateConn{}
	l.why.Store(&err)
	s.use(l)
	s.Conn.Sharded.Store(true) // as long as it is not known: see Sharded
	s.Tail = changelog.StartLate(s.Conn, s.tailConfig(reads))
	s.Cfg.Logger.Warn("tiercache: the store has started without its remote tier, reads go to their loaders, and it is tried again", "error", err)
	begun := time.Now()
	s.goroutines.Spawn(func() {
		for pause := firstPause; ; pause = min(2*pause, lastPause) {
			done, err := s.connectLate(l, o)
			if done {
				s.Cfg.Logger.Info("tiercache: the remote tier is connected", "after", time.Since(begun).Round(time.Millisecond))
				return
			}
			l.noted(s, err)
			select {
			case <-time.After(pause/2 + rand.N(pause/2+1)):
			case <-s.goroutines.Ctx.Done():
				return
			}
		}
	})
	return nil
}

// connectOnce connects, in the mode that was asked for.
func (s *Session) connectOnce(ctx context.Context, o backend.Options) (backend.Conn, error) {
	conn, err := s.Cfg.Backend.Connect(ctx, o)
	if err == nil && backend.ModeOf(conn, o).NoTracking != o.NoTracking {
		_ = conn.Close()
		err = forGood{errTracking}
	}
	return conn, err
}

type forGood struct{ error }

func (forGood) MayPass() bool   { return false }
func (e forGood) Unwrap() error { return e.error }

// connectLate makes the connection of a store that has started without, and has it used. Until the log was read over it, nothing but the
// log is asked for:
//
//	A:    takes the store for one of one server
//	late: is connected, to a cluster
//	A:    reads a key, and keeps a copy that no server of the cluster has to prove
//
// So it is known which it is before the first key is read.
func (s *Session) connectLate(l *lateConn, o backend.Options) (done bool, err error) {
	err = recovery.ErrPanicked // unless it returns
	defer s.goroutines.Panics.Recover("connecting", s.Lost)
	ctx, cancel := context.WithTimeout(s.goroutines.Ctx, max(openTimeout, s.Cfg.Timeout))
	defer cancel()
	conn, err := s.connectOnce(ctx, o)
	if err != nil {
		return false, err
	}
	l.log.Store(&conn)
	sharded := conn.Shard(s.Cfg.Prefix) != nil
	if err = s.Tail.CatchUp(ctx); err == nil && sharded {
		s.proveAll(ctx)
	}
	if err != nil {
		l.log.Store(nil)
		_ = conn.Close()
		return false, err
	}
	s.Conn.Sharded.Store(sharded)
	s.following.Store(s.Tail)
	l.all.Store(&conn)
	s.Lost() // it has heard of nothing so far
	return true, nil
}

// openTimeout bounds one attempt to connect late.
const openTimeout = 10 * time.Second

// lateConn is a connection that is made later. Until then every request fails at once, as to a server that cannot be reached.
type lateConn struct {
	log  atomic.Pointer[backend.Conn] // over which the log alone is read; nil: there is none
	all  atomic.Pointer[backend.Conn] // over which all is asked; nil: nothing is
	why  atomic.Pointer[error]        // there is none
	said string                       // of the connecting goroutine: what was logged
}

// noted keeps why there is no connection, and logs what no waiting mends, once.
func (l *lateConn) noted(s *Session, err error) {
	l.why.Store(&err)
	if text := err.Error(); !mayPass(err) && text != l.said && s.goroutines.Ctx.Err() == nil {
		l.said = text
		s.Cfg.Logger.Error("tiercache: the remote tier refuses the store, which goes on without it and tries again", "error", err)
	}
}

// none is the error of a request without a connection. It is none of the server's, so the server counts as away.
func (l *lateConn) none() error { return unconnected{*l.why.Load()} }

type unconnected struct{ error }

func (e unconnected) Error() string { return fmt.Sprintf("not connected yet: %v", e.error) }

// NotSent: see [remoteerr.NotSent].
func (unconnected) NotSent() bool { return true }

func (l *lateConn) conn() (backend.Conn, error) {
	if c := l.all.Load(); c != nil {
		return *c, nil
	}
	return nil, l.none()
}

func (l *lateConn) logConn() (backend.Conn, error) {
	if c := l.log.Load(); c != nil {
		return *c, nil
	}
	return nil, l.none()
}

func (l *lateConn) Mode() backend.Mode {
	if c, err := l.conn(); err == nil {
		return backend.ModeOf(c, backend.Options{})
	}
	return backend.Mode{Kind: "not connected yet"}
}

func (l *lateConn) Get(ctx context.Context, keys []string, q *changelog.DeltaQuery) ([]backend.Item, changelog.Delta, error) {
	c, err := l.conn()
	if err != nil {
		return nil, changelog.Delta{}, err
	}
	return c.Get(ctx, keys, q)
}

func (l *lateConn) GetHeads(ctx context.Context, heads, keys []string, q *changelog.DeltaQuery) ([]backend.Item, changelog.Delta, error) {
	c, err := l.conn()
	if err != nil {
		return nil, changelog.Delta{}, err
	}
	return c.GetHeads(ctx, heads, keys, q)
}

func (l *lateConn) GetUntracked(ctx context.Context, keys []string) ([]backend.Item, error) {
	c, err := l.conn()
	if err != nil {
		return nil, err
	}
	return c.GetUntracked(ctx, keys)
}

func (l *lateConn) GetOne(ctx context.Context, key string) (backend.Item, error) {
	c, err := l.conn()
	if err != nil {
		return backend.Item{}, err
	}
	return c.GetOne(ctx, key)
}

func (l *lateConn) Lease(ctx context.Context, reqs []backend.LeaseRequest) ([]backend.Lease, error) {
	c, err := l.conn()
	if err != nil {
		return nil, err
	}
	return c.Lease(ctx, reqs)
}

func (l *lateConn) Extend(ctx context.Context, keys []string, token string, ttl time.Duration) error {
	c, err := l.conn()
	if err != nil {
		return err
	}
	return c.Extend(ctx, keys, token, ttl)
}

// Release succeeds without a connection: no lease was taken.
func (l *lateConn) Release(ctx context.Context, keys []string, token string) error {
	c, err := l.conn()
	if err != nil {
		return nil
	}
	return c.Release(ctx, keys, token)
}

func (l *lateConn) Discard(ctx context.Context, keys []string, token string) error {
	c, err := l.conn()
	if err != nil {
		return err
	}
	return c.Discard(ctx, keys, token)
}

func (l *lateConn) Stage(ctx context.Context, w *backend.Write) error {
	c, err := l.conn()
	if err != nil {
		return err
	}
	return c.Stage(ctx, w)
}

func (l *lateConn) Write(ctx context.Context, writes []backend.Write) ([]backend.Written, error) {
	c, err := l.conn()
	if err != nil {
		return nil, err
	}
	return c.Write(ctx, writes)
}

func (l *lateConn) WriteLater(ctx context.Context, writes []backend.Write, then func([]backend.Written, error)) {
	c, err := l.conn()
	if err != nil {
		then(nil, err)
		return
	}
	c.WriteLater(ctx, writes, then)
}

func (l *lateConn) Delete(ctx context.Context, keys []backend.Deletion) ([]backend.Deleted, error) {
	c, err := l.conn()
	if err != nil {
		return nil, err
	}
	return c.Delete(ctx, keys)
}

func (l *lateConn) Shard(key string) *backend.Shard {
	c, err := l.conn()
	if err != nil {
		return backend.NoShard
	}
	return c.Shard(key)
}

func (l *lateConn) Prove(ctx context.Context, keys ...string) error {
	c, err := l.logConn()
	if err != nil {
		return err
	}
	return c.Prove(ctx, keys...)
}

func (l *lateConn) Delta(ctx context.Context, q changelog.DeltaQuery) (changelog.Delta, error) {
	c, err := l.logConn()
	if err != nil {
		return changelog.Delta{}, err
	}
	return c.Delta(ctx, q)
}

func (l *lateConn) Renew(ctx context.Context, lost changelog.Loss) error {
	c, err := l.logConn()
	if err != nil {
		return err
	}
	return c.Renew(ctx, lost)
}

// Append needs the position that was applied, and so a log that was read.
func (l *lateConn) Append(ctx context.Context, ch changelog.Change) (changelog.Appended, error) {
	c, err := l.conn()
	if err != nil {
		return changelog.Appended{}, err
	}
	return c.Append(ctx, ch)
}

func (l *lateConn) Info(ctx context.Context) (backend.Info, error) {
	c, err := l.conn()
	if err != nil {
		return backend.Info{}, err
	}
	return c.Info(ctx)
}

func (l *lateConn) Trackers(ctx context.Context) (int64, error) {
	c, err := l.conn()
	if err != nil {
		return 0, err
	}
	return c.Trackers(ctx)
}

// LosesWrites: as long as it is not known.
func (l *lateConn) LosesWrites() bool {
	c, err := l.conn()
	return err != nil || c.LosesWrites()
}

func (l *lateConn) Purge(ctx context.Context, p backend.PurgeRequest) (backend.PurgeProgress, error) {
	c, err := l.conn()
	if err != nil {
		return backend.PurgeProgress{}, err
	}
	return c.Purge(ctx, p)
}

func (l *lateConn) Close() error {
	if c, err := l.logConn(); err == nil {
		return c.Close()
	}
	return nil
}
