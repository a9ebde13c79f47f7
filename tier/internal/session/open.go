package session

import (
	"context"
	"strings"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/tier/internal/background"
	"github.com/tiercache/tiercache/tier/internal/breaker"
	"github.com/tiercache/tiercache/tier/internal/config"
	"github.com/tiercache/tiercache/tier/internal/traced"
)

// Init sets what a session is configured with, and the owner of its goroutines.
func (s *Session) Init(cfg *config.Store, goroutines *background.Group) {
	s.Cfg, s.goroutines = cfg, goroutines
}

// Open connects to the remote tier and reads its change log. onChanged is called with the names
// of remote keys that have changed, and onLost when such calls may be missing; both run on the
// connection's reader goroutine. reads counts the reads of the store. After an error, Conn is to
// be closed if there is one.
func (s *Session) Open(ctx context.Context, onChanged func(names []string), onLost func(), reads func() int64) error {
	s.onLost = onLost
	o := s.Cfg.Connection()
	o.Panics = s.goroutines.Panics
	o.Events = backend.Events{Changed: onChanged, Lost: s.Lost, Moved: s.moved, Published: s.onPublished}
	if s.Cfg.StartOffline {
		return s.openOffline(ctx, o, reads)
	}
	var conn backend.Conn
	err := persist(ctx, func() (err error) {
		conn, err = s.Cfg.Backend.Connect(ctx, o)
		return err
	})
	if err != nil {
		return err
	}
	return s.begin(ctx, conn, o, reads, persist)
}

// begin begins to use a connection.
func (s *Session) begin(ctx context.Context, conn backend.Conn, o backend.Options, reads func() int64, try func(context.Context, func() error) error) error {
	if mode := backend.ModeOf(conn, o); mode.NoTracking && !o.NoTracking {
		s.Cfg.NoTracking = true
		s.Cfg.Logger.Warn("tiercache: the store is as WithoutTracking, since the server does not tell of changed keys", "why", strings.Join(mode.Without, "; "))
	}
	s.use(conn)
	s.Conn.Sharded.Store(conn.Shard(s.Cfg.Prefix) != nil)
	// The first attempt may take a server to be unreachable that is not, in a cluster:
	//
	//	probe:  asks the server, over the connection that the client has just made
	//	client: makes another connection to it, so the probe's answer does not count
	err := try(ctx, func() (err error) {
		s.Tail, err = changelog.Start(ctx, s.Conn, s.tailConfig(reads))
		return err
	})
	if err != nil {
		return err
	}
	if s.Sharded() {
		s.proveAll(ctx)
	}
	s.following.Store(s.Tail)
	// guard: bypass-of-process-that-starts
	if s.bypass.told.Load() {
		s.onBypass()
	}
	s.Tail.Wake() // for messages published while it started
	return nil
}

// use makes Conn of a connection.
func (s *Session) use(conn backend.Conn) {
	conn = traced.Wrap(conn, &s.Cfg.Trace, s.Cfg.Connection(), s.Cfg.Backend.String(), s.goroutines.RunInBackground)
	s.Conn = breaker.NewConn(conn, s.Cfg.Timeout, s.Cfg.Heartbeat, s.OnOutageBegin, s.OnOutageEnd)
	s.Conn.Refusals.Begun = s.onRefusal
	s.Conn.Server.Probe = func(ctx context.Context) {
		// A server that is slow is taken to be away while the log is still being read.
		// guard: open-on-slow-server
		if t := s.following.Load(); t != nil {
			_ = t.CatchUp(ctx) // breaker.Conn records the result
		}
	}
}

func (s *Session) tailConfig(reads func() int64) changelog.Config {
	return changelog.Config{Heartbeat: s.Cfg.Heartbeat, Timeout: s.Cfg.Timeout, Retention: s.Cfg.MaxTTL,
		Logger: s.Cfg.Logger, Reads: reads, Panics: s.goroutines.Panics, OnBypass: s.onBypass}
}

// proveAll has the histories of all servers of a cluster put into the log before a key is written: a
// server that is first seen later may have lost writes, so the namespaces of all
// declarations would change.
func (s *Session) proveAll(ctx context.Context) {
	pctx, cancel := s.ChangeContext(ctx, 1)
	defer cancel()
	_ = s.Conn.Prove(pctx) // a server that does not answer now is seen later
}

// Lost has local copies proven again: invalidations of them may have been lost.
func (s *Session) Lost() {
	if t := s.following.Load(); t != nil {
		t.Lost()
	}
	if s.onLost != nil {
		s.onLost()
	}
}

// moved has what is read judged by a later proof than there is. Callers that wait for an invalidation ask again, since one
// may have been lost.
func (s *Session) moved() {
	if t := s.following.Load(); t != nil {
		t.Moved()
	}
	if s.onLost != nil {
		s.onLost()
	}
}

// onPublished runs on the connection's reader goroutine.
func (s *Session) onPublished(raw string) {
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
