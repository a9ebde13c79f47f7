package invalidation

import (
	"context"
	"time"

	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/internal/serverclock"
)

// Query is a delta read about to be sent, and when it was prepared.
type Query struct {
	DeltaQuery
	sent mono.Time
	view *View
	// witnesses are the last of Scopes; thorough, if they are all that there are.
	witnesses []ScopeTick
	deepCheck bool
	horizon   Tick // from where on all changes are known
}

// Query prepares a delta read: whoever sends it hands the answer to Apply.
//
// It also asks for the latest change of a scope of which this process knows one,
// the witness: a log that says it did not happen goes on from an older copy of
// itself, although it may have grown beyond the watermark again since. Another
// change of the same scope, recorded there since, would hide that:
//
//	A:       knows that x changed, and then y
//	replica: has heard of neither; it is promoted
//	B:       changes y on it
//	A:       asks for y: it changed, and even later than A knows; but x?
//
// A log turns into an older copy of itself while it is out of sight: so the first
// answer over a new connection is not used, and many witnesses are asked for.
// Should all of them have changed since, what they were witnesses of is covered
// by that. A change that this process has not heard of, although it has heard all
// that came up to its watermark, is as telling as one that is missing; below the
// horizon it may have, and forgotten it.
func (t *Tail) Query(scopes []Scope) Query {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.View()
	q := Query{DeltaQuery: DeltaQuery{Since: v.Watermark, Incarnation: v.Incarnation, Limit: t.cfg.MaxKnown},
		sent: mono.Now(), view: v, deepCheck: t.mu.thorough, horizon: t.mu.known.horizon}
	most := 1
	if q.deepCheck {
		most = maxWitnesses
	}
	q.witnesses = t.mu.known.latest(v.Watermark, most)
	q.Scopes = scopes[:len(scopes):len(scopes)]
	for _, w := range q.witnesses {
		q.Scopes = append(q.Scopes, w.Scope)
	}
	return q
}

// maxWitnesses is what a reconnect may cost the server: about a millisecond.
const maxWitnesses = 200

// contradicts reports whether the log that answered does not know of a witness.
func (q *Query) contradicts(d Delta) bool {
	if len(d.Known) != len(q.Scopes) {
		return false
	}
	known := d.Known[len(d.Known)-len(q.witnesses):]
	for i, w := range q.witnesses {
		missing := max(known[i], d.Floor) < w.Tick
		// guard: I6-forgotten-is-not-unheard
		unheard := w.Tick > q.horizon && w.Tick < known[i] && known[i] <= q.Since
		// guard: I6-unheard-change
		if missing || unheard {
			return true
		}
	}
	return false
}

// Apply makes the answer to q known: it moves the watermark and renews the
// proof. If it returns false the answer could not be used (the log lost
// history and was renewed, or was replaced while the answer was on its way),
// and the caller asks again.
func (t *Tail) Apply(ctx context.Context, q Query, d Delta) (bool, error) {
	unreadable := d.read()
	if unreadable != nil && unreadable != errForeign {
		return false, unreadable
	}
	done, lost := t.apply(q, d, mono.Now(), unreadable != nil)
	if done || !lost {
		return done, nil
	}
	if !t.mayRenew() {
		return false, ErrUnstable
	}
	t.mu.Lock()
	forked := t.mu.forked
	t.mu.Unlock()
	if q.view.Incarnation != 0 || unreadable != nil { // else the store is new
		found := "none"
		if d.Incarnation != 0 {
			found = AsOf{d.Incarnation, d.Tick}.String()
		}
		t.cfg.Logger.Warn("tiercache: the change log lost history, starting a new one",
			"knew", q.view.AsOf().String(), "found", found)
	}
	return false, t.log.Renew(ctx, Loss{Known: q.view.AsOf(), Forked: forked})
}

// renewWithin is the time in which a log is renewed at most maxRenewals times by one
// process. Where it is lost as soon as it is renewed (a program adds to it what is no
// member, two servers answer in turns) reads would else renew it eight times each.
const (
	renewWithin = 100 * time.Millisecond
	maxRenewals = 2 * maxRounds
)

func (t *Tail) mayRenew() bool {
	now := mono.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.renewing == 0 || now.Sub(t.mu.renewing) > renewWithin {
		t.mu.renewing, t.mu.renewals = now, 0
	}
	t.mu.renewals++
	// guard: I8-pace-of-renewals
	return t.mu.renewals <= maxRenewals
}

// apply is the part of Apply that sends nothing; heard is when the answer was there.
func (t *Tail) apply(q Query, d Delta, heard mono.Time, damaged bool) (done, lost bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := *t.View()
	if v.Incarnation != q.view.Incarnation {
		// Another answer brought a new log meanwhile; Since is no position of it.
		return false, false
	}
	// guard: I6-witness-contradicts
	if damaged || d.Incarnation == v.Incarnation && q.contradicts(d) {
		t.mu.forked = d.Incarnation
	}
	// guard: I6-deep-check
	if t.mu.connection != d.Connection && d.Incarnation == v.Incarnation && !q.deepCheck && len(t.mu.known.order) > len(q.witnesses) {
		t.mu.thorough = true
		return false, false
	}
	if d.Incarnation == 0 || d.Tick < q.Since || d.Incarnation == t.mu.forked {
		// No log, or one that ends before what had been applied when the
		// question was sent. (That the watermark of now is ahead of the answer
		// is no loss: a message overtook it.)
		return false, true
	}
	switch {
	case d.Incarnation != v.Incarnation:
		t.adoptLocked(&v, d)
	case d.Overflow && d.Tick > v.Watermark: // else a later answer was here first
		// Not d.Tick: messages and later answers may have told of what came
		// after it, and that is forgotten too.
		t.resetLocked(&v, t.mu.known.newest(d.Tick))
	}
	t.followLocked(&v, q, d)
	if t.renewDeclarationsLocked(d.Histories) {
		v.Seq++
	}
	// guard: I2-connection-moves-epoch
	if t.mu.connection != d.Connection {
		// Pushes sent between the two connections are lost. The client says so
		// too, but possibly after the new connection has answered this read,
		// and the proof must not be renewed before the epoch has moved.
		t.mu.connection, t.mu.thorough = d.Connection, false
		v.Epoch++
	}
	if q.sent > v.clock.Asked {
		v.clock, v.told = serverclock.Reading{At: d.ServerTime, Asked: q.sent, Answered: heard}, d.Connection
		// guard: I6-query-before-connection
		if q.sent > t.mu.lost {
			v.Proof = q.sent
		}
	}
	t.publishLocked(&v)
	return true, false
}

// adoptLocked turns to a log of another incarnation. Where two primaries answer
// for a while, each to some, changes went on in the log that is given up:
//
//	A:       follows the log of the old primary
//	C:       finds that the replica, promoted, lacks changes, and renews its log
//	C:       loads x
//	A:       changes x; the old primary acknowledges it
//	A:       turns to C's log, which has not heard of that
//
// What C had applied by then came before its log. So whoever has heard of more has
// everything change there. No clock is asked which of both came first.
func (t *Tail) adoptLocked(v *View, d Delta) {
	horizon := d.Tick
	if v.Incarnation == 0 && !d.Overflow {
		horizon = 0 // the first read of this process asked for all there is
	}
	// guard: I5-floor-heard-after-gap
	heard := max(t.mu.known.newest(v.Watermark), t.mu.floor)
	// guard: I5-new-log-after-other-log
	// guard: I5-new-log-begun-too-early
	// guard: I5-abandoned-log
	if v.Incarnation != 0 && (d.After.Incarnation != v.Incarnation || d.After.Tick < heard) {
		t.mu.undelivered.add(nil, 1)
		t.mu.allPending++
		t.Wake()
	}
	v.Incarnation, v.Watermark, t.mu.floor = d.Incarnation, 0, 0
	t.resetLocked(v, horizon)
	// guard: I6-declare-in-new-log
	t.declareAgainLocked(d.Histories)
}

// resetLocked gives up what is known up to the horizon, and with it every
// local copy: they hold marks that will no longer be updated.
func (t *Tail) resetLocked(v *View, horizon Tick) {
	t.mu.known.reset(horizon)
	t.generation.Add(1)
	v.Epoch++
}

func (t *Tail) followLocked(v *View, q Query, d Delta) {
	for _, c := range d.Changes {
		t.mu.known.apply(c.Scope, c.Tick)
	}
	t.mu.floor = max(t.mu.floor, d.Floor)
	v.Watermark = max(v.Watermark, d.Tick)
	for i, s := range q.Scopes {
		if i < len(d.Known) {
			t.mu.known.learn(s, d.Known[i], d.Tick)
		}
	}
}

// publishLocked makes v the present view. Marks are written before it, so a
// reader that finds the new Seq finds them too.
func (t *Tail) publishLocked(v *View) {
	v.Floor = t.mu.floor
	if t.mu.allPending > 0 {
		v.Floor = Never
	}
	if t.mu.closed {
		v.Proof = 0
	}
	old := t.View()
	if v.Seq == old.Seq && (v.Watermark != old.Watermark || v.Floor != old.Floor || v.Epoch != old.Epoch || v.Incarnation != old.Incarnation) {
		v.Seq = old.Seq + 1
	}
	t.view.Store(v)
}

// touchLocked publishes that marks changed though nothing in the view did.
func (t *Tail) touchLocked(v *View) {
	v.Seq = t.View().Seq + 1
	t.publishLocked(v)
}

// Receive applies a published message, or has the log read if something is
// missing before it. It is quick and calls nothing back.
func (t *Tail) Receive(m Message) {
	// guard: I3-apply-message
	if t.receive(m) {
		t.Wake()
	}
}

// maxAhead is how far a tick may be ahead of the server's clock in a message
// that is applied without looking: whoever may publish could otherwise move
// every watermark to the end of time.
const maxAhead = time.Hour

// receive reports whether the log has to be read.
func (t *Tail) receive(m Message) (gap bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := *t.View()
	switch {
	case m.Incarnation != v.Incarnation:
		// Once: should the log still be ours, messages and deltas come from different
		// servers, and what we record there would wake us for ever.
		news := t.mu.foreign != m.Incarnation
		t.mu.foreign = m.Incarnation
		// guard: other-log-is-news-once
		return news
	case m.Tick <= v.Watermark:
		return false // read from the log already, or our own
	// guard: I6-message-before-watermark
	case m.Prev < v.Watermark:
		// Nothing can come between two neighbours of one log, and we are there:
		// an older copy of the log took over, and went on without what we know.
		t.mu.forked = m.Incarnation
		return true
	case m.Tick > Tick(v.ServerTime(mono.Now()).Add(maxAhead).UnixMicro()):
		return true
	}
	return t.recordLocked(&v, m.Scopes, m.All, Appended{m.Incarnation, m.Prev, m.Tick}, m.Partial)
}

// recordLocked applies one change of the present log. A change that comes
// after a gap is applied too (it did happen), but does not move the watermark.
func (t *Tail) recordLocked(v *View, scopes []Scope, all bool, a Appended, partial bool) (gap bool) {
	for _, s := range scopes {
		t.mu.known.apply(s, a.Tick)
	}
	if all {
		t.mu.floor = max(t.mu.floor, a.Tick)
	}
	// guard: I2-gap-keeps-watermark
	gap = a.Tick > v.Watermark && (partial || a.Prev > v.Watermark)
	if !gap {
		v.Watermark = max(v.Watermark, a.Tick)
	}
	t.touchLocked(v)
	return gap
}

// Lost is told that pushes may have been lost, or that another connection is
// about to be used: no local copy is believed until it has been read again, and
// nothing is proven until a question that is sent from here on is answered. The
// answer to an earlier one may come from the server that was:
//
//	heartbeat: is answered by the old primary
//	the client: turns to the new one, which has an older log
//	a reader:   reads an older value there, and has proof of the old primary
func (t *Tail) Lost() {
	t.mu.Lock()
	t.mu.lost = mono.Now()
	v := *t.View()
	v.Epoch++
	// guard: I1-flush-ends-proof
	v.Proof = 0
	t.publishLocked(&v)
	t.mu.Unlock()
	t.Wake()
}
