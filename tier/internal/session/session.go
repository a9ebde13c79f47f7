// Package session is a store's side of its remote tier: requests with a deadline, writes that are
// performed in their time window or never, and whether an answer can be judged.
package session

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/tier/internal/background"
	"github.com/tiercache/tiercache/tier/internal/breaker"
	"github.com/tiercache/tiercache/tier/internal/config"
	"github.com/tiercache/tiercache/tier/internal/record"
)

// Session is what a store has of its remote tier: the connection, what is known of the change
// log, and the limits of requests.
type Session struct {
	Cfg  *config.Store
	Conn *breaker.Conn
	Tail *changelog.Tail
	// following is Tail once it has started: invalidations can come before.
	following  atomic.Pointer[changelog.Tail]
	goroutines *background.Group
	onLost     func()                 // is called when invalidations may have been lost
	_          [record.CacheLine]byte // keeps writes to the fields below from slowing hits, which read the fields above

	bypass   bypass
	deadline atomic.Pointer[requestDeadline]
	// unanswered is since when the server has not told of itself when it was asked; 0: it has.
	unanswered atomic.Int64
	Activity   atomic.Int64 // grows with each write, and while loads run: see Store.reads
	_          [record.CacheLine]byte
}

// Sharded reports whether the keys are on several servers, each of which proves its own part. Of a store that has started
// offline, and is not connected yet, no key has a known server: what is read then could never be proven.
func (s *Session) Sharded() bool { return s.Conn.Sharded.Load() }

// ServerTimeIn returns what the server's clock will show in d, or a little more: it is
// computed from the latest answered delta read.
func (s *Session) ServerTimeIn(d time.Duration) time.Time {
	return s.Tail.View().ServerTime(mono.Now()).Add(d)
}

// RecordContext bounds the recording of a write to keys. The caller's cancellation does not end it: it is a change like
// any other. A caller that has given up has waited for the write already, so the time is shorter then.
func (s *Session) RecordContext(caller context.Context, scopes int) (context.Context, context.CancelFunc) {
	// guard: G3-record-abandoned-write
	ctx := context.WithoutCancel(caller)
	if caller.Err() != nil {
		return context.WithTimeout(ctx, s.Cfg.Timeout)
	}
	return s.ChangeContext(ctx, scopes)
}

// ChangeContext gives a change more time than a read, since there is no loader to fall
// back on. While the server is away the change is sent all the same, but its caller does
// not wait long: the change is sent again in the background anyway. Each part of a change
// has that time, and none is sent after one that had no answer.
func (s *Session) ChangeContext(ctx context.Context, scopes int) (context.Context, context.CancelFunc) {
	// guard: I8-brief-change-in-outage
	if s.Conn.OpenOutage() != nil {
		return context.WithTimeout(ctx, s.Cfg.Timeout)
	}
	return context.WithTimeout(ctx, time.Duration(changelog.Parts(scopes))*max(s.Cfg.Timeout, time.Second))
}
