package changelog

import (
	"sync/atomic"

	"github.com/tiercache/tiercache/internal/shrink"
	"github.com/tiercache/tiercache/invalidation"
)

// Mark is what this process knows of one scope. Entries refer to the marks of all
// scopes they depend on, so a read loads a few atomic words and needs no map.
type Mark struct {
	// last is an upper bound of the tick of the scope's latest change, and Never
	// while a change of it is being sent. Read without a lock.
	last atomic.Int64

	// The rest is guarded by the Tail's mutex.
	scope   invalidation.Scope
	tick    invalidation.Tick // latest change known, 0 if none
	exact   bool              // nothing later than tick can have happened up to the watermark
	refs    int               // pins: by entries and by changes under way
	pending int               // changes that are not acknowledged
	settles *settlement       // nil if it is no scope of a change that settles
}

// Last returns an upper bound of the tick of the scope's latest change.
func (m *Mark) Last() invalidation.Tick { return invalidation.Tick(m.last.Load()) }

// Scope returns the mark's scope.
func (m *Mark) Scope() invalidation.Scope { return m.scope }

// Verdict is the answer to whether a value is still true.
type Verdict uint8

const (
	// Valid: nothing that the value depends on changed after its as-of.
	Valid Verdict = iota
	// Changed: something it depends on changed, or may have (a change is under way).
	Changed
	// Unknown: the value is older than this process's knowledge of a scope;
	// the log must be asked.
	Unknown
)

// markTable is the table of marks. It is complete from its horizon on: a scope
// that is not in it has not changed after the horizon. All of it is guarded by
// the Tail's mutex.
type markTable struct {
	marks   map[invalidation.Scope]*Mark
	peak    shrink.Peak // of marks
	horizon invalidation.Tick
	// order lists the applied changes, oldest first, so that the table forgets
	// the oldest when there are more than limit.
	order []ScopeTick
	limit int
	lags  lagTable
}

func newMarkTable(horizon invalidation.Tick, limit int) markTable {
	return markTable{marks: make(map[invalidation.Scope]*Mark), horizon: horizon, limit: limit, lags: make(lagTable)}
}

// pin returns the mark of s with one more reference.
func (k *markTable) pin(s invalidation.Scope) *Mark {
	m := k.marks[s]
	if m == nil {
		// Not in the table: its last change, if any, is not after the horizon.
		m = &Mark{scope: s, exact: k.horizon == 0}
		k.marks[s] = m
		k.refresh(m)
	}
	m.refs++
	return m
}

// release undoes one pin, and deletes a mark that holds no more than the horizon does.
func (k *markTable) release(m *Mark) {
	m.refs--
	if m.refs == 0 && m.tick <= k.horizon && k.marks[m.scope] == m {
		k.drop(m)
	}
}

func (k *markTable) drop(m *Mark) {
	delete(k.marks, m.scope)
	k.marks = shrink.AfterDelete(k.marks, &k.peak)
	k.dropped(m)
}

// apply records that s changed at t. It reports whether that was not known.
func (k *markTable) apply(s invalidation.Scope, t invalidation.Tick) (news bool) {
	m := k.marks[s]
	if m == nil {
		m = &Mark{scope: s}
		k.marks[s] = m
	}
	if t <= m.tick {
		return false
	}
	// A change at t covers all earlier ones. Below the horizon, t need not be the latest
	// change: the answer may have arrived late.
	m.tick, m.exact = t, m.exact || t > k.horizon
	k.refresh(m)
	k.order = append(k.order, ScopeTick{s, t})
	k.forget()
	return true
}

// learn records that the latest change of s was at t (0: never) when the log ended at
// asked.
func (k *markTable) learn(s invalidation.Scope, t, asked invalidation.Tick) {
	if m := k.marks[s]; m != nil {
		m.tick = max(m.tick, t)
		m.exact = m.exact || asked >= k.horizon
		k.refresh(m)
	}
}

// latest returns the latest known changes that are not after t, newest first, one
// for each scope.
func (k *markTable) latest(t invalidation.Tick, most int) (out []ScopeTick) {
	var seen map[invalidation.Scope]bool
	for i := len(k.order) - 1; i >= 0 && len(out) < most; i-- {
		c := k.order[i]
		// guard: I6-witness-below-horizon
		if c.Tick > t || seen[c.Scope] {
			continue
		}
		if most > 1 {
			if seen == nil {
				seen = make(map[invalidation.Scope]bool)
			}
			seen[c.Scope] = true
		}
		out = append(out, c)
	}
	return out
}

// newest returns the tick of the latest change in the table, or t or the horizon if
// that is later.
func (k *markTable) newest(t invalidation.Tick) invalidation.Tick {
	for _, c := range k.order {
		t = max(t, c.Tick)
	}
	return max(t, k.horizon)
}

// refresh publishes the mark to readers.
func (k *markTable) refresh(m *Mark) {
	switch {
	case m.pending > 0:
		m.last.Store(int64(invalidation.Never))
	case m.exact:
		m.last.Store(int64(m.tick))
	default:
		m.last.Store(int64(max(m.tick, k.horizon)))
	}
}

// forget keeps the table bounded: it drops the oldest changes and raises the horizon to
// them. Pinned marks stay as they are, since what they hold stays true.
func (k *markTable) forget() {
	for len(k.order) > k.limit {
		old := k.order[0]
		k.order = k.order[1:]
		k.horizon = max(k.horizon, old.Tick)
		if m := k.marks[old.Scope]; m != nil && m.refs == 0 && m.tick <= k.horizon {
			k.drop(m)
		}
	}
	if cap(k.order) > 4*k.limit {
		k.order = append(make([]ScopeTick, 0, 2*k.limit), k.order...)
	}
}

// reset forgets everything up to the horizon, except pending changes. Marks that entries
// refer to are no longer updated: the caller also moves the epoch, so that those entries
// are not served again.
func (k *markTable) reset(horizon invalidation.Tick) {
	old, lags := k.marks, k.lags
	*k = newMarkTable(horizon, k.limit)
	k.lags = lags
	for s, m := range old {
		k.dropped(m)
		m.settles = nil
		if m.pending > 0 {
			m.tick, m.exact = 0, horizon == 0
			k.marks[s] = m
			k.refresh(m)
		}
	}
}

// judge decides rule R1 for the marks alone.
func judge(marks []*Mark, t invalidation.Tick) Verdict {
	verdict := Valid
	for _, m := range marks {
		switch {
		case m.Last() <= t:
		case m.pending > 0 || m.tick > t || m.exact:
			return Changed
		default:
			verdict = Unknown
		}
	}
	return verdict
}
