package invalidation

// declared is a scope of [Written] that this process has recorded at tick. What it says
// stays in the log as long as the incarnation does. But processes of the release before
// trim it with the scope, which leaves it in place for sure only while the log's floor is
// below it, and then nothing tells a server that lost what was written to single keys since:
//
//	A:      has declared; B trims that, of which A does not know yet
//	server: saves; A sets a key of the namespace
//	server: is restarted, without that Set; nothing says that the namespace changes
//
// So who hears of such a floor declares again, and if a server came meanwhile that may
// have lost something, has the namespace change. That narrows the hole which those
// processes leave, and does not close it.
type declared struct {
	tick      Tick
	queued    bool  // it is to be recorded again
	absent    bool  // it was not in the log when the latest delta was read
	histories int64 // Delta.Histories of that
}

// declaredLocked notes those among the scopes of a change that was recorded at tick.
func (t *Tail) declaredLocked(scopes []Scope, tick Tick) {
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

// renewDeclarationsLocked is called with each delta. It reports whether it distrusts
// anything.
func (t *Tail) renewDeclarationsLocked(histories int64) (distrusts bool) {
	t.mu.histories = histories
	for s, d := range t.mu.declared {
		absent := d.tick <= t.mu.floor
		// If it stands there now and did not before, the server may have come before that.
		// guard: I6-history-while-undeclared
		if (absent || d.absent) && d.histories != histories {
			t.requeueLocked("n" + s[1:])
			distrusts = true
		}
		// guard: I6-declare-again-below-floor
		if absent && !d.queued {
			t.requeueLocked(s)
			d.queued = true
		}
		d.absent, d.histories = absent, histories
	}
	return distrusts
}

// declareAgainLocked is called when the process turns to a log of another incarnation, of
// which no entry of before is believed. That log holds none of its declarations, and is
// told of them at once, not only before the next Set. Until then this can happen, so for one
// heartbeat:
//
//	B:      finds the log lost, and renews it
//	A:      sets a key, and has not heard of that; the server saves; A sets it again
//	server: is restarted from the file; nothing says that keys were written
func (t *Tail) declareAgainLocked(histories int64) {
	for s, d := range t.mu.declared {
		// guard: I6-declared-before-new-log
		d.tick, d.absent, d.histories = 0, true, histories
		if !d.queued {
			t.requeueLocked(s)
			d.queued = true
		}
	}
}

// requeueLocked has a scope distrusted until it is recorded that it changed, which
// is done at once, but by another goroutine.
func (t *Tail) requeueLocked(s Scope) {
	m := t.mu.known.pin(s)
	m.pending++
	t.mu.known.refresh(m)
	t.mu.undelivered.add([]*Mark{m}, 0)
	t.Wake()
}
