package changelog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/internal/recovery"
	"github.com/tiercache/tiercache/internal/unawaited"
	"github.com/tiercache/tiercache/invalidation"
)

// Config of a Tail. All durations must be positive.
type Config struct {
	Heartbeat time.Duration // between delta reads
	Timeout   time.Duration // of one request to the log
	Retention time.Duration // see Change.Retention
	Logger    *slog.Logger  // not nil
	// MaxKnown bounds the changes remembered and the length of a delta worth
	// reading; 0 means 1<<16.
	MaxKnown int
	// Reads counts reads, for Health.Idle. Those that use Query need not be counted. It is
	// called with every heartbeat. nil: the tail is never idle.
	Reads func() int64
	// OnBypass is called, without a lock, when the list of bypassed namespaces may be another than before. It must be quick. nil: it is
	// not called.
	OnBypass func()
	// Panics counts and logs panics in the tail's goroutines, each of which moves the
	// epoch as Lost does; nil: they are not counted or logged.
	Panics *recovery.Panics
}

const defaultKnown = 1 << 16

// A process without reads for idleAfter needs no proof: its next read takes a delta along. It reads
// the log every idleHeartbeat then, and not less often: it stays enrolled (which lasts a minute), its
// bounds on the server's clock stay narrow, its declarations and the histories are looked after, and
// the next delta is short.
const (
	idleAfter     = time.Minute
	idleHeartbeat = 20 * time.Second
)

// Tail follows the change log. Its methods may be called from any goroutine.
type Tail struct {
	log  Log
	cfg  Config
	view atomic.Pointer[View]
	// generation counts the tables of marks that were discarded; it moves under mu.
	generation atomic.Uint64
	// unsettledUntil is when all changes have settled that were heard of, or may have been missed; 0: none was ever. It
	// is stored before the view that covers them.
	unsettledUntil atomic.Int64
	_              [64]byte // keeps the locking of mu from slowing readers of view

	// mu guards what the process knows and the publishing of views. Nothing is
	// called under it.
	mu struct {
		sync.Mutex
		known            markTable
		connection       int64
		lost             mono.Time         // when pushes may last have been lost
		deepCheck        bool              // the next query asks for many witnesses
		undelivered      scopeSet          // to be sent again; pending until acknowledged
		resending        scopeSet          // those being sent again now, for Health
		allPending       int               // changes of everything that are not acknowledged
		floor            invalidation.Tick // of the log
		failures         int               // heartbeats in a row
		failing          mono.Time         // when the first of them began
		told             bool              // they are logged
		answered         mono.Time         // when the latest query was sent whose answer was applied
		unread           int               // of those, the ones that could not read the log
		renewals         int               // since renewing
		renewing         mono.Time         // when the first of them began
		lastErr          error
		forked           uint64 // incarnation of a log that is not the one that was followed
		stranger         stranger
		losses           int64     // of logs that were followed
		lostAt           time.Time // when that was found last
		renewed          uint64    // incarnation of the log that this process found lost, and logged
		lag              lag
		otherIncarnation uint64 // incarnation of another log, of the latest message from one
		closed           bool
		idle             bool // see Health.Idle
		arrivals         arrivals
		asked            int64 // queries of callers

		// declared are the scopes of [Written] that this process has recorded, and
		// histories is Delta.Histories of the latest delta.
		declared  map[invalidation.Scope]*declared
		histories int64
	}

	// Of the heartbeat goroutine.
	reads       int64     // and queries of callers, when they were last counted
	read        mono.Time // when that changed
	heartbeatAt mono.Time // when the latest began

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wake   chan struct{} // a delta read is wanted now
	mixed  mixedFleet
	done   sync.WaitGroup
}

// Start reads the log, creating it if there is none, and begins to follow it.
// It returns an error if the log could not be read within ctx. Close ends it.
func Start(ctx context.Context, log Log, cfg Config) (*Tail, error) {
	t := newTail(log, cfg)
	if err := t.CatchUp(ctx); err != nil {
		t.cancel()
		return nil, fmt.Errorf("reading the change log: %w", err)
	}
	t.spawn(t.run)
	return t, nil
}

// StartLate begins to follow a log that cannot be read yet. Until it was, nothing is known and
// nothing proven; changes are pending.
func StartLate(log Log, cfg Config) *Tail {
	t := newTail(log, cfg)
	t.spawn(t.run)
	return t
}

func newTail(log Log, cfg Config) *Tail {
	if cfg.MaxKnown == 0 {
		cfg.MaxKnown = defaultKnown
	}
	t := &Tail{log: log, cfg: cfg, wake: make(chan struct{}, 1)}
	t.mu.known = newMarkTable(0, cfg.MaxKnown)
	t.mu.declared = make(map[invalidation.Scope]*declared)
	t.view.Store(&View{})
	t.ctx, t.cancel = context.WithCancel(unawaited.Background()) // and so without the values of the caller that opens the store
	t.mixed.tail = t
	return t
}

// spawn runs f in a goroutine that Close waits for; after Close it does nothing. A panic
// of f has the effect of Lost.
func (t *Tail) spawn(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.mu.closed {
		t.done.Go(func() {
			// guard: recover-following
			defer t.cfg.Panics.Recover("following the change log", t.Lost)
			f()
		})
	}
}

// Close ends the heartbeat and waits for it. Changes that were never
// acknowledged are given up, and no proof is valid any more.
func (t *Tail) Close() {
	t.mu.Lock()
	t.mu.closed = true
	v := *t.View()
	t.publishLocked(&v)
	t.mu.Unlock()
	t.cancel()
	t.mixed.end()
	t.done.Wait()
}

// View returns the present view. It is never nil.
func (t *Tail) View() *View { return t.view.Load() }

func (t *Tail) run() {
	tick := time.NewTicker(t.cfg.Heartbeat)
	defer tick.Stop()
	t.read, t.heartbeatAt = mono.Now(), mono.Now()
	for idle := false; ; {
		select {
		case <-t.ctx.Done():
			return
		// guard: I2-heartbeat
		case <-tick.C:
			now := mono.Now()
			if idle = t.becomesIdle(now); idle && now.Sub(t.heartbeatAt) < idleHeartbeat {
				continue
			}
		case <-t.wake:
			// guard: I8-pace-of-lost-connections
			t.backOff(tick.C)
		}
		t.heartbeatAt = mono.Now()
		t.heartbeat()
		if !idle { // and not before there is a proof again
			t.setIdle(false)
		}
	}
}

// becomesIdle reports whether there was no read for so long that no heartbeat is needed. The first
// read is noticed by the next tick, soon enough:
//
//	reader: finds nothing proven; takes a delta along, which proves its copy
//	tick:   comes, at most one Config.Heartbeat later; the heartbeats go on
//
// While changes are pending, or the log could not be read, every tick is a heartbeat.
func (t *Tail) becomesIdle(now mono.Time) bool {
	if t.cfg.Reads == nil {
		return false
	}
	n := t.cfg.Reads()
	t.mu.Lock()
	defer t.mu.Unlock()
	// guard: idle-ends-with-read
	if n += t.mu.asked; n != t.reads {
		t.reads, t.read = n, now
	}
	// guard: idle-without-reads
	if now.Sub(t.read) < idleAfter {
		return false
	}
	// guard: no-idling-without-log
	// guard: I1-no-idling-with-pending-changes
	if t.mu.failures > 0 || !t.mu.undelivered.empty() {
		return false
	}
	t.mu.idle = true
	return true
}

// Idle is Health.Idle.
func (t *Tail) Idle() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.idle && t.mu.failures == 0
}

func (t *Tail) setIdle(idle bool) {
	t.mu.Lock()
	t.mu.idle = idle
	t.mu.Unlock()
}

// backOff delays a heartbeat that was asked for with Wake, if the log could not be read
// twice in a row, or once and no delta was answered since a loss: the failure itself may
// have asked for it. Where connections are accepted and ended, as by a proxy without its
// server, each attempt ends in a loss, and a loss asks for an attempt: a thousand a second,
// which takes a core. And where the server refuses to read the log, each message after the
// first asks for an attempt. The delay is 64 ms at most, so that a server that is back is
// found soon.
func (t *Tail) backOff(tick <-chan time.Time) {
	t.mu.Lock()
	failures := t.mu.unread
	t.mu.Unlock()
	// guard: I8-unreadable-log-and-messages
	if failures == 0 || failures == 1 && t.View().Proof != 0 {
		return
	}
	select {
	case <-time.After(min(time.Millisecond<<min(failures, 6), t.cfg.Heartbeat/4)):
	case <-tick:
	case <-t.ctx.Done():
	}
}

// heartbeat reads a delta and resends pending changes. A panic does not keep run from the
// next one.
func (t *Tail) heartbeat() {
	// guard: recover-heartbeat
	defer t.cfg.Panics.Recover("a heartbeat", func() { t.recordHeartbeat(recovery.ErrPanicked) }, t.Lost)
	ctx, cancel := context.WithTimeout(t.ctx, max(t.cfg.Timeout, t.cfg.Heartbeat))
	defer cancel()
	err := t.CatchUp(ctx)
	t.mu.Lock()
	if t.mu.unread++; err == nil {
		t.mu.unread = 0
	}
	t.mu.Unlock()
	if err == nil {
		// guard: I1-resend-change
		err = t.resend(ctx)
	}
	t.recordHeartbeat(err)
	t.tellOfStranger()
}

// brief is for how long heartbeats may fail before that is logged: a stall is shorter.
const brief = time.Second

// recordHeartbeat keeps the result for Health, and logs changes of state, not every
// heartbeat.
func (t *Tail) recordHeartbeat(err error) {
	now := mono.Now()
	t.mu.Lock()
	was, told := t.mu.failures, t.mu.told
	t.mu.lastErr = err
	switch {
	case err == nil:
		t.mu.failures, t.mu.told = 0, false
	case was == 0:
		t.mu.failures, t.mu.failing = 1, t.heartbeatAt
	default:
		t.mu.failures++
	}
	// guard: stall-is-not-logged
	begins := err != nil && !told && now.Sub(t.mu.failing) >= brief
	if begins {
		t.mu.told = true
	}
	t.mu.Unlock()
	switch {
	case t.ctx.Err() != nil:
	case begins:
		t.cfg.Logger.Warn("tiercache: change log unreachable, local copies will not be trusted", "error", err)
	case err == nil && told:
		t.cfg.Logger.Info("tiercache: change log reachable again", "failed_heartbeats", was)
	}
}

// Wake asks for a delta read soon. It never blocks.
func (t *Tail) Wake() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// CatchUp returns once every change acknowledged before the call has been
// applied, or with the error that prevented it.
func (t *Tail) CatchUp(ctx context.Context) error {
	return t.Fetch(ctx, nil)
}

// Fetch is CatchUp that also asks for the latest changes of the scopes (rule R6): it reads a delta until its
// answer could be applied. In each round except the last the log was found lost, or was replaced meanwhile, or
// more witnesses were needed.
func (t *Tail) Fetch(ctx context.Context, scopes []invalidation.Scope) error {
	for range maxRounds {
		q := t.query(scopes)
		d, err := t.log.Delta(ctx, q.DeltaQuery)
		if err != nil {
			return err
		}
		done, err := t.Apply(ctx, q, d)
		if done || err != nil {
			return err
		}
	}
	return ErrUnstable
}

const maxRounds = 8

// ErrUnstable is returned when the change log was replaced again and again
// while it was being read: several servers answer for one store.
var ErrUnstable = errors.New("the change log is replaced faster than it can be read")
