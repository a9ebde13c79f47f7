package changelog

import (
	"context"
	"slices"
	"time"

	"github.com/tiercache/tiercache/invalidation"
)

// scopeSet is a set of changes that are still to be recorded. Several changes
// of one scope are one: the newest wins, and covers the older.
type scopeSet struct {
	marks   map[*Mark]owed
	all     int
	allLags []time.Duration // after which a change of everything settles
	// overflowed: there were too many marks, and all covers them, and those that follow.
	overflowed bool
}

// owed is what is still to be recorded of one scope.
type owed struct {
	count int             // how many acknowledgements the mark waits for
	lags  []time.Duration // after which the change settles
}

// maxLags bounds the lags of one scope that are recorded together. The shortest are left out: a longer one covers
// them, and has values end somewhat later.
const maxLags = 8

func joinLags(a, b []time.Duration) []time.Duration {
	if len(b) == 0 || len(a) == len(b) && slices.Equal(a, b) {
		return a
	}
	all := slices.Concat(a, b)
	slices.Sort(all)
	all = slices.Compact(all)
	return all[max(0, len(all)-maxLags):]
}

// maxUndelivered bounds the scopes kept for sending again; beyond it they are
// replaced by a change of everything, which covers them.
const maxUndelivered = 10_000

func (c *scopeSet) empty() bool { return len(c.marks) == 0 && c.all == 0 }

func (c *scopeSet) add(marks []*Mark, all int, lags []time.Duration) {
	if c.marks == nil {
		c.marks = make(map[*Mark]owed)
	}
	for _, m := range marks {
		o := c.marks[m]
		c.marks[m] = owed{o.count + 1, joinLags(o.lags, lags)}
	}
	if c.all += all; all > 0 {
		c.allLags = joinLags(c.allLags, lags)
	}
}

// scopes returns what the log is to record. What settles has one scope more for each lag, in the same step (S1):
// a caller may end at any time.
func (c *scopeSet) scopes() []invalidation.Scope {
	scopes := make([]invalidation.Scope, 0, len(c.marks))
	for m, o := range c.marks {
		scopes = append(scopes, m.scope)
		// guard: S1-same-step
		for _, lag := range o.lags {
			scopes = append(scopes, settlingScope(lag, m.scope))
		}
	}
	if c.all > 0 {
		for _, lag := range c.allLags {
			scopes = append(scopes, settlingScope(lag, everything))
		}
	}
	return scopes
}

// Change records that the scopes changed, or everything if all is set. It returns the
// change's position; a load that begins afterwards is true as of that or a later one.
// After an error the change stays pending: no value that depends on the scopes is valid
// in this process, and the change is sent again until it is acknowledged or the tail is
// closed. With a settle time the change settles after it (rule R12): what is loaded meanwhile may
// come from a replica of the source that lags, and ends then.
func (t *Tail) Change(ctx context.Context, scopes []invalidation.Scope, all bool, settle time.Duration) (invalidation.AsOf, error) {
	if settle <= 0 {
		return t.Begin(scopes, all).Record(ctx)
	}
	settle = RoundLag(settle)
	// Also if the change cannot be recorded now: resend may do it too early.
	defer func() {
		if !t.mixed.add(scopes, all, settle) {
			t.cfg.Logger.Warn("tiercache: more changes settle than are recorded again: processes of the release before may keep what lagging replicas gave them")
		}
	}()
	return Pending{t, t.markPending(scopes, all, []time.Duration{settle})}.Record(ctx)
}

// Pending is a change that holds in this process and is not yet recorded.
type Pending struct {
	t   *Tail
	own scopeSet
}

// Begin is the first part of Change: from now on no value that depends on the scopes is
// valid in this process. Record must follow.
func (t *Tail) Begin(scopes []invalidation.Scope, all bool) Pending {
	return Pending{t, t.markPending(scopes, all, nil)}
}

// MaxRecorded bounds the scopes that the server records in one step, in which it serves no other client: 1,000 take it some
// ten milliseconds.
const MaxRecorded = 1000

// Parts is in how many steps so many scopes are recorded.
func Parts(scopes int) int { return max(1, (scopes+MaxRecorded-1)/MaxRecorded) }

// Record is the rest of Change: it records that the scopes changed. It is called once. More than MaxRecorded scopes it records
// in parts, at rising positions, each of which has its share of the time; the last position is returned. If one part cannot
// be recorded, those after it are not sent either, and all of these stay pending.
func (p Pending) Record(ctx context.Context) (a invalidation.AsOf, err error) {
	parts := p.own.split(MaxRecorded)
	if len(parts) == 1 {
		return p.t.recordPart(ctx, p.own)
	}
	share := time.Duration(0)
	if deadline, ok := ctx.Deadline(); ok {
		share = time.Until(deadline) / time.Duration(len(parts))
	}
	for i, part := range parts {
		if err != nil {
			// guard: I1-parts-of-change-stay-pending
			p.t.requeue(part)
			continue
		}
		within, cancel := ctx, func() {}
		if share != 0 && i < len(parts)-1 {
			within, cancel = context.WithTimeout(ctx, share)
		}
		a, err = p.t.recordPart(within, part)
		cancel()
	}
	return a, err
}

// split returns changes of at most n scopes each.
func (c scopeSet) split(n int) (parts []scopeSet) {
	if len(c.marks) <= n/(1+maxLags) {
		return []scopeSet{c}
	}
	part, weight := scopeSet{all: c.all, allLags: c.allLags}, 0
	for m, o := range c.marks {
		w := 1 + len(o.lags) // recorded in one step
		if weight+w > n {
			parts = append(parts, part)
			part, weight = scopeSet{}, 0
		}
		if part.marks == nil {
			part.marks = make(map[*Mark]owed, n)
		}
		part.marks[m] = o
		weight += w
	}
	return append(parts, part)
}

func (t *Tail) recordPart(ctx context.Context, own scopeSet) (invalidation.AsOf, error) {
	a, gap, err := t.record(ctx, own)
	if err != nil {
		return invalidation.AsOf{}, err
	}
	// guard: I5-change-after-gap
	if gap && t.missed(a) {
		// Other processes recorded changes just before. Without those the watermark
		// stays behind this change, and loads that begin now would not be valid. The
		// heartbeat does the same if this fails.
		_ = t.CatchUp(ctx)
	}
	return invalidation.AsOf{Incarnation: a.Incarnation, Tick: a.Tick}, nil
}

// missed applies what came with the acknowledgement, and reports whether there are changes before it all the same that
// are not known here.
func (t *Tail) missed(a Appended) bool {
	m, err := ParseMessage(a.Missed)
	if err != nil || t.receive(m) {
		return true
	}
	return t.View().Watermark < a.Tick
}

// markPending makes the scopes invalid in this process, before the change is sent.
func (t *Tail) markPending(scopes []invalidation.Scope, all bool, lags []time.Duration) scopeSet {
	t.mu.Lock()
	defer t.mu.Unlock()
	marks := make([]*Mark, len(scopes))
	for i, s := range scopes {
		m := t.mu.known.pin(s)
		// guard: I1-pending-before-send
		m.pending++
		t.mu.known.refresh(m)
		marks[i] = m
	}
	var own scopeSet
	if all {
		t.mu.allPending++
		own.add(marks, 1, lags)
	} else {
		own.add(marks, 0, lags)
	}
	v := *t.View()
	t.touchLocked(&v)
	return own
}

// record puts the changes into the log and applies them; if that fails it keeps them for
// resend. gap reports whether the log holds changes before them that are not known here.
func (t *Tail) record(ctx context.Context, own scopeSet) (a Appended, gap bool, err error) {
	recorded := false
	defer func() {
		// guard: resend-after-panic
		if !recorded { // after a panic, too
			t.requeue(own)
		}
	}()
	for range maxRounds {
		v := t.View()
		if a, err = t.append(ctx, own, v.AsOf()); err != nil {
			break
		}
		var done bool
		if gap, done = t.acknowledge(own, a); done {
			recorded = true
			return a, gap, nil
		}
		err = ErrUnstable
		if t.View().Incarnation != v.Incarnation {
			continue
		}
		// The log was lost and has begun anew, with this change or before it; or one
		// server records changes and another one is read.
		if caught := t.CatchUp(ctx); caught != nil {
			err = caught
		}
		// guard: other-log-ends-resend
		if t.View().Incarnation == v.Incarnation {
			break
		}
	}
	return Appended{}, false, err
}

func (t *Tail) append(ctx context.Context, c scopeSet, known invalidation.AsOf) (Appended, error) {
	return t.log.Append(ctx, Change{
		Scopes: c.scopes(), All: c.all > 0, Retention: t.cfg.Retention, Known: known,
	})
}

// acknowledge applies a change of this process that has been recorded. gap reports whether
// the log holds changes before it that are not known here. If the log is another one than
// the one that is followed, done is false and the change has to be recorded again:
//
//	this change: is recorded in the log, which is then lost
//	heartbeat:   finds that, and turns to a new log
//	this change: its answer arrives, from the log that was lost
func (t *Tail) acknowledge(own scopeSet, a Appended) (gap, done bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := *t.View()
	if a.Incarnation != v.Incarnation {
		return false, false
	}
	// guard: I6-own-change-forked
	if a.Prev < v.Watermark && a.Tick > v.Watermark {
		// Nothing can come between two neighbours of one log, and we are there: see receive. The log went back
		// while this was on its way, so that it was not too short for what was known when it was sent:
		//
		//	A:      begins to record that x changed, knowing of all up to 100; hears of a change at 101
		//	server: goes back to 100
		//	A:      is told that x changed at 102, and 100 came before
		t.mu.forked = a.Incarnation
		return false, false
	}
	for m, o := range own.marks {
		m.pending -= o.count
	}
	// guard: bypass-is-applied-nowhere
	scopes := slices.DeleteFunc(own.scopes(), isBypass)
	t.mu.allPending -= own.all
	// guard: I1-apply-own-change
	gap = t.recordLocked(&v, scopes, own.all > 0, a, false)
	t.declaredLocked(scopes, a.Tick)
	for m, o := range own.marks {
		t.mu.known.refresh(m)
		for range o.count {
			t.mu.known.release(m)
		}
	}
	return gap, true
}

// requeue keeps changes that could not be recorded for resend. They stay pending.
func (t *Tail) requeue(own scopeSet) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.requeueLocked(own)
}

func (t *Tail) requeueLocked(own scopeSet) {
	u := &t.mu.undelivered
	u.add(nil, own.all, own.allLags)
	for m, o := range own.marks {
		was := u.marks[m]
		u.marks[m] = owed{was.count + o.count, joinLags(was.lags, o.lags)}
	}
	if len(u.marks) <= maxUndelivered && !u.overflowed {
		return
	}
	if !u.overflowed { // else everything is pending already, and so are the other parts of one change
		u.overflowed = true
		u.all++
		t.mu.allPending++
		v := *t.View()
		t.touchLocked(&v) // before the marks: a reader in between must not find the scopes valid
	}
	for m, o := range u.marks {
		m.pending -= o.count
		for range o.count {
			t.mu.known.release(m)
		}
		t.mu.known.refresh(m)
		u.allLags = joinLags(u.allLags, o.lags)
	}
	u.marks = nil
}

// resend records in one change all that could not be recorded before.
func (t *Tail) resend(ctx context.Context) error {
	t.mu.Lock()
	own := t.mu.undelivered
	t.mu.undelivered = scopeSet{}
	t.mu.resending = own
	t.mu.Unlock()
	if own.empty() {
		return nil
	}
	defer func() {
		t.mu.Lock()
		t.mu.resending = scopeSet{}
		t.mu.Unlock()
	}()
	_, gap, err := t.record(ctx, own)
	if err != nil {
		return err
	}
	t.cfg.Logger.Info("tiercache: pending changes recorded", "scopes", len(own.marks), "all", own.all > 0)
	if gap {
		return t.CatchUp(ctx)
	}
	return nil
}
