package changelog

import (
	"github.com/tiercache/tiercache/invalidation"
)

// declared is a declaration (a scope of [Written]) that this process has recorded at tick.
// It stays in the log as long as the incarnation does. But processes of the release before
// trim it like other scopes, so it is there for sure only while the log's floor is below
// it. Without it, a server that loses writes to single keys goes unnoticed:
//
//	A:      has declared
//	B:      trims the declaration; A does not know that yet
//	server: saves its file
//	A:      sets a key of the namespace
//	server: is restarted, without that Set; the namespace should change and does not
//
// So a process that finds such a floor declares again. If a server was found meanwhile that
// may have lost writes, the process also has the namespace change. That makes the time in
// which this can happen short, but does not remove it.
type declared struct {
	tick      invalidation.Tick
	queued    bool  // it is to be recorded again
	absent    bool  // it was not in the log when the latest delta was read
	histories int64 // Delta.Histories of that delta
}

// declaredLocked notes the declarations among the scopes of a change that was recorded at
// tick.
func (t *Tail) declaredLocked(scopes []invalidation.Scope, tick invalidation.Tick) {
	for _, s := range scopes {
		if s[0] != 'w' {
			continue
		}
		d := t.mu.declared[s]
		if d == nil {
			d = &declared{histories: t.mu.histories}
			t.mu.declared[s] = d
		}
		d.tick, d.queued = max(d.tick, tick), false
	}
}

// renewDeclarationsLocked is called for each delta. It reports whether it made a change
// pending, of a namespace.
func (t *Tail) renewDeclarationsLocked(histories int64) (pending bool) {
	t.mu.histories = histories
	for s, d := range t.mu.declared {
		absent := d.tick <= t.mu.floor
		// If the declaration is there now and was not before, the server may have been found
		// before it was there.
		// guard: I6-history-while-undeclared
		if (absent || d.absent) && d.histories != histories {
			t.makePendingLocked("n" + s[1:])
			pending = true
		}
		// guard: I6-declare-again-below-floor
		if absent && !d.queued {
			t.makePendingLocked(s)
			d.queued = true
		}
		d.absent, d.histories = absent, histories
	}
	return pending
}

// declareAgainLocked is called when the process turns to a log of another incarnation, in
// which no earlier entry is valid. That log holds none of the process's declarations. They
// are recorded at once, not only before the next Set. Until then, for one heartbeat, this
// can happen:
//
//	B:      finds the log lost, and renews it
//	A:      sets a key, and does not know of the new log
//	server: saves its file
//	A:      sets the key again
//	server: is restarted from the file; the log does not say that keys were written
func (t *Tail) declareAgainLocked(histories int64) {
	for s, d := range t.mu.declared {
		// guard: I6-declared-before-new-log
		d.tick, d.absent, d.histories = 0, true, histories
		if !d.queued {
			t.makePendingLocked(s)
			d.queued = true
		}
	}
}

// makePendingLocked makes a change of a scope pending, and wakes the heartbeat goroutine, which
// records it at once.
func (t *Tail) makePendingLocked(s invalidation.Scope) {
	m := t.mu.known.pin(s)
	m.pending++
	t.mu.known.refresh(m)
	t.mu.undelivered.add([]*Mark{m}, 0, nil)
	t.Wake()
}
