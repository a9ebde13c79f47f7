package changelog

import (
	"context"
	"time"

	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/internal/serverclock"
	"github.com/tiercache/tiercache/invalidation"
)

// Query is a delta read about to be sent, and when it was prepared.
type Query struct {
	DeltaQuery
	sent mono.Time
	view *View
	// witnesses are the last of Scopes. deepCheck: there are up to maxWitnesses of them.
	witnesses []ScopeTick
	deepCheck bool
	horizon   invalidation.Tick // from where on all changes are known
}

// Query prepares a delta read. The caller sends it and gives the answer to Apply.
//
// It also asks for the latest change of a scope that this process knows to have
// changed, the witness. A log without that change goes on from an older copy of
// itself, although it may have grown beyond the watermark again since. A later
// change of the same scope, recorded there since, would hide that:
//
//	A:       knows that x changed, and then y
//	replica: has received neither; it is promoted
//	B:       changes y on it
//	A:       asks for y: it changed, and even later than A knows; but x?
//
// A log is replaced by an older copy of itself only while the connection is lost. So
// the first answer over a new connection is not used, and many witnesses are asked
// for. If all of them have changed since, those later changes cover the ones that
// they were witnesses of. A change that this process does not know, although it has
// applied all changes up to its watermark, shows as much as a change that is missing;
// not below the horizon, where this process may have known and forgotten it.
func (t *Tail) Query(scopes []invalidation.Scope) Query {
	t.mu.Lock()
	t.mu.asked++
	t.mu.Unlock()
	return t.query(scopes)
}

// query is Query, of the tail itself.
func (t *Tail) query(scopes []invalidation.Scope) Query {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.View()
	q := Query{DeltaQuery: DeltaQuery{Since: v.Watermark, Incarnation: v.Incarnation, Limit: t.cfg.MaxKnown},
		sent: mono.Now(), view: v, deepCheck: t.mu.deepCheck, horizon: t.mu.known.horizon}
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

// maxWitnesses bounds the server's work for a reconnect: about a millisecond.
const maxWitnesses = 200

// contradicts reports whether the answer shows that the log is not the one that this
// process followed:
//
//   - A witness is missing: neither its change nor a later one of its scope is in the log,
//     nor is that forgotten, below the floor.
//   - The log has a change that this process should have applied and did not: one of a
//     witness's scope, after the witness, that is no later than the watermark. It is no sign
//     if the process may have applied and forgotten it: if the witness is below the horizon.
func (q *Query) contradicts(d Delta) bool {
	if len(d.Known) != len(q.Scopes) {
		return false
	}
	known := d.Known[len(d.Known)-len(q.witnesses):]
	for i, w := range q.witnesses {
		missing := max(known[i], d.Floor) < w.Tick
		// guard: I6-forgotten-is-not-unheard
		notApplied := w.Tick > q.horizon && w.Tick < known[i] && known[i] <= q.Since
		// guard: I6-unheard-change
		if missing || notApplied {
			return true
		}
	}
	return false
}

// Apply applies the answer to q: it moves the watermark and renews the proof. If it
// returns false the answer could not be used (the log lost history and was renewed,
// or was replaced while the answer was on its way), and the caller asks again.
func (t *Tail) Apply(ctx context.Context, q Query, d Delta) (bool, error) {
	unreadable := d.read()
	if unreadable != nil && unreadable != errForeign {
		return false, unreadable
	}
	switch t.apply(q, d, mono.Now(), unreadable != nil) {
	case applied:
		// guard: bypass-is-read-from-delta
		if (d.bypass || d.Overflow) && t.cfg.OnBypass != nil {
			t.cfg.OnBypass()
		}
		t.tellOfLoss(q.view, d)
		return true, nil
	case askAgain:
		return false, nil
	}
	if !t.mayRenew() {
		return false, ErrUnstable
	}
	t.mu.Lock()
	forked, told := t.mu.forked, t.mu.renewed == q.view.Incarnation && t.mu.renewed != 0
	t.mu.renewed = q.view.Incarnation
	t.mu.Unlock()
	// A full server that evicts the new log at once has it renewed with each request.
	// guard: loss-is-logged-once
	if !told && (q.view.Incarnation != 0 || unreadable != nil) { // else the store is new
		found := "none"
		if d.Incarnation != 0 {
			found = invalidation.AsOf{Incarnation: d.Incarnation, Tick: d.Tick}.String()
		}
		t.cfg.Logger.Warn("tiercache: the change log lost history, starting a new one",
			"knew", q.view.AsOf().String(), "found", found)
	}
	return false, t.log.Renew(ctx, Loss{Known: q.view.AsOf(), Forked: forked})
}

// renewWithin is the time in which one process renews a log at most maxRenewals times.
// Where the log is lost as soon as it is renewed (another program adds invalid members,
// or two servers answer in turns) each read would otherwise renew it eight times.
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

// result is what the answer to a query has come to.
type result uint8

const (
	applied  result = iota // the watermark and the proof are those of the answer
	askAgain               // another answer was applied meanwhile, or more witnesses are needed
	lostLog                // there is no log, or it lost history
)

// apply is the part of Apply that sends nothing; answered is when the answer arrived.
func (t *Tail) apply(q Query, d Delta, answered mono.Time, damaged bool) result {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := *t.View()
	if v.Incarnation != q.view.Incarnation {
		// Another answer brought a new log meanwhile; Since is no position of it.
		return askAgain
	}
	// guard: I6-witness-contradicts
	if damaged || d.Incarnation == v.Incarnation && q.contradicts(d) {
		t.mu.forked = d.Incarnation
	}
	// guard: I6-deep-check
	if t.mu.connection != d.Connection && d.Incarnation == v.Incarnation && !q.deepCheck && len(t.mu.known.order) > len(q.witnesses) {
		t.mu.deepCheck = true
		return askAgain
	}
	if d.Incarnation == 0 || d.Tick < q.Since || d.Incarnation == t.mu.forked {
		// No log, or one that ends before the position that had been applied when the
		// query was sent. (It is no loss if the present watermark is ahead of the
		// answer: a message overtook it.)
		return lostLog
	}
	switch {
	case d.Incarnation != v.Incarnation:
		t.adoptLocked(&v, d, answered)
	case d.Overflow && d.Tick > v.Watermark: // else a later answer was applied first
		// Not d.Tick: changes after it may be known from messages and later answers,
		// and they are forgotten too.
		t.resetLocked(&v, t.mu.known.newest(d.Tick))
	}
	t.followLocked(&v, q, d, answered)
	if t.renewDeclarationsLocked(d.Histories) {
		v.Seq++
	}
	// guard: I2-connection-moves-epoch
	if t.mu.connection != d.Connection {
		// Pushes sent between the two connections are lost. The client reports that
		// too (see Lost), but possibly after the new connection has answered this
		// read, and the proof must not be renewed before the epoch has moved.
		t.mu.connection, t.mu.deepCheck = d.Connection, false
		// guard: V1-connection-of-log
		if d.Sharded {
			v.Moves++
		} else {
			v.Epoch++
		}
	}
	t.mu.answered = max(t.mu.answered, q.sent)
	if q.sent > v.clock.Asked {
		v.clock, v.told = serverclock.Reading{At: d.ServerTime, Asked: q.sent, Answered: answered}, d.Connection
		// guard: I6-query-before-connection
		if q.sent > t.mu.lost {
			v.Proof = q.sent
		}
	}
	t.publishLocked(&v)
	return applied
}

// adoptLocked turns to a log of another incarnation. Where two primaries answer
// for a while, each to some processes, changes may have been recorded in the log that
// this process leaves:
//
//	A:       follows the log of the old primary
//	C:       finds that the replica, promoted, lacks changes, and renews its log
//	C:       loads x
//	A:       changes x; the old primary acknowledges it
//	A:       turns to C's log, which does not have that change
//
// All changes that C had applied by then came before its log. So a process that knows of
// a later one has everything change in the new log. No clock decides which came first.
func (t *Tail) adoptLocked(v *View, d Delta, answered mono.Time) {
	horizon := d.Tick
	if v.Incarnation == 0 && !d.Overflow {
		horizon = 0 // the first read of this process asked for the whole log
	}
	// guard: I5-floor-heard-after-gap
	latest := max(t.mu.known.newest(v.Watermark), t.mu.floor)
	// guard: I5-new-log-after-other-log
	// guard: I5-new-log-begun-too-early
	// guard: I5-abandoned-log
	if v.Incarnation != 0 && (d.After.Incarnation != v.Incarnation || d.After.Tick < latest) {
		t.mu.undelivered.add(nil, 1, nil)
		t.mu.allPending++
		t.Wake()
	}
	if v.Incarnation != 0 {
		t.mu.losses++
		t.mu.lostAt = time.Now()
	}
	again := t.mu.known.unsettled(answered)
	v.Incarnation, v.Watermark, t.mu.floor = d.Incarnation, 0, 0
	t.resetLocked(v, horizon)
	// guard: S5-record-in-new-log
	t.settleAgainLocked(again)
	// guard: I6-declare-in-new-log
	t.declareAgainLocked(d.Histories)
}

// resetLocked discards all that is known up to the horizon, and with it every local
// copy: they hold marks that will no longer be updated.
func (t *Tail) resetLocked(v *View, horizon invalidation.Tick) {
	t.mu.known.reset(horizon)
	// guard: V2-marks-discarded
	v.Generation = t.generation.Add(1)
	v.Epoch++
}

func (t *Tail) followLocked(v *View, q Query, d Delta, answered mono.Time) {
	first := q.view.Incarnation == 0
	at := func(tick invalidation.Tick) heard { return d.heard(tick, q.sent, answered, first) }
	for _, c := range d.Changes {
		// guard: lag-of-delta
		if c.Tick > v.Watermark && d.Incarnation == q.Incarnation { // else it is applied already, or has not been followed so far
			t.mu.lag.add(v.ServerTime(answered).Sub(time.UnixMicro(int64(c.Tick))), answered)
		}
	}
	t.mu.known.applyAll(d.Changes, at)
	t.mu.known.hearLags(d.Lags, d.Overflow || !first && d.Incarnation != q.view.Incarnation, answered,
		func(tick invalidation.Tick) heard { return d.heard(tick, q.sent, answered, true) })
	t.noteUnsettledLocked()
	t.mu.floor = max(t.mu.floor, d.Floor)
	v.Watermark = max(v.Watermark, d.Tick)
	for i, s := range q.Scopes {
		if i < len(d.Known) {
			t.mu.known.learn(s, d.Known[i], d.Tick)
		}
	}
}

// publishLocked makes v the present view. Marks are written before it, so a reader
// that finds the new Seq also finds the new marks.
func (t *Tail) publishLocked(v *View) {
	v.Floor = t.mu.floor
	if t.mu.allPending > 0 {
		v.Floor = invalidation.Never
	}
	if t.mu.closed {
		v.Proof = 0
	}
	old := t.View()
	if v.Watermark > old.Watermark && t.unsettledUntil.Load() != 0 {
		t.mu.arrivals.note(v.Watermark, mono.Now())
	}
	if v.Seq == old.Seq && (v.Watermark != old.Watermark || v.Floor != old.Floor || v.Epoch != old.Epoch || v.Incarnation != old.Incarnation) {
		v.Seq = old.Seq + 1
	}
	t.view.Store(v)
}

// touchLocked publishes a change of marks, though nothing else in the view changed.
func (t *Tail) touchLocked(v *View) {
	v.Seq = t.View().Seq + 1
	t.publishLocked(v)
}

// Receive applies a published message, or has the log read if a change before it is
// missing. It is quick and makes no callbacks.
func (t *Tail) Receive(m Message) {
	// guard: I3-apply-message
	if t.receive(m) {
		t.Wake()
	}
	// guard: bypass-is-read-from-message
	if m.bypass && t.cfg.OnBypass != nil {
		t.cfg.OnBypass()
	}
}

// maxAhead is how far the tick of a message may be ahead of the server's clock if the
// message is applied without reading the log: any client that may publish could
// otherwise move every watermark to the end of time.
const maxAhead = time.Hour

// receive reports whether the log has to be read.
func (t *Tail) receive(m Message) (gap bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := *t.View()
	switch {
	case m.Incarnation != v.Incarnation:
		// Once: if deltas still come from the log that is followed, messages and deltas
		// come from different servers, and this process's own changes would wake it
		// for ever.
		t.mu.stranger.hear(m.Incarnation, v.Incarnation, mono.Now())
		news := t.mu.otherIncarnation != m.Incarnation
		t.mu.otherIncarnation = m.Incarnation
		// guard: other-log-is-news-once
		return news
	case m.Tick <= v.Watermark:
		return false // read from the log already, or this process's own
	// guard: I6-message-before-watermark
	// guard: several-is-no-other-history
	case m.Prev < v.Watermark && !m.Several:
		// In one log nothing can come between Prev and Tick, but the watermark does: an
		// older copy of the log took over, and went on without changes that are known here.
		t.mu.forked = m.Incarnation
		return true
	case m.Tick > invalidation.Tick(v.ServerTime(mono.Now()).Add(maxAhead).UnixMicro()):
		return true
	}
	if m.Several {
		return t.receiveSeveralLocked(&v, m)
	}
	// guard: lag-of-message
	t.mu.lag.add(v.ServerTime(mono.Now()).Sub(time.UnixMicro(int64(m.Tick))), mono.Now())
	return t.recordLocked(&v, m.Scopes, m.All, Appended{Incarnation: m.Incarnation, Prev: m.Prev, Tick: m.Tick}, m.Partial)
}

// receiveSeveralLocked applies a message of several changes. The watermark may be among them, where this process has
// recorded one, or has read the log. It is then one of their positions; if it is none of them, the scope that changed
// there has changed again since, or an older copy of the log went on, without what is known here:
//
//	A:       hears of all up to 100, and records that x changed, at 101, which waits for the next message
//	replica: has received all up to 100; it is promoted
//	B:       changes y on it, at 102, which waits too
//	A:       is told of what changed after 100, up to 102: of y, and not of x
//
// The log tells which.
func (t *Tail) receiveSeveralLocked(v *View, m Message) (gap bool) {
	follows := m.Prev >= v.Watermark || m.Floor == v.Watermark
	news := m.Changes[:0:0]
	for _, c := range m.Changes {
		follows = follows || c.Tick == v.Watermark
		if c.Tick > v.Watermark {
			news = append(news, c)
		}
	}
	// guard: I6-several-beside-watermark
	if !follows {
		return true
	}
	now := mono.Now()
	for _, c := range news {
		t.mu.lag.add(v.ServerTime(now).Sub(time.UnixMicro(int64(c.Tick))), now)
	}
	return t.recordAllLocked(v, news, m.Floor, m.Prev, m.Tick, m.Partial)
}

// recordLocked applies one change of the present log. A change that comes
// after a gap is applied too (it did happen), but does not move the watermark.
func (t *Tail) recordLocked(v *View, scopes []invalidation.Scope, all bool, a Appended, partial bool) (gap bool) {
	changes := make([]ScopeTick, len(scopes))
	for i, s := range scopes {
		changes[i] = ScopeTick{s, a.Tick}
	}
	floor := invalidation.Tick(0)
	if all {
		floor = a.Tick
	}
	return t.recordAllLocked(v, changes, floor, a.Prev, a.Tick, partial)
}

// recordAllLocked applies changes that are all those after prev, up to tick, and a floor.
func (t *Tail) recordAllLocked(v *View, changes []ScopeTick, floor, prev, tick invalidation.Tick, partial bool) (gap bool) {
	now := mono.Now()
	t.mu.known.applyAll(changes, func(tick invalidation.Tick) heard {
		return heard{by: now, early: now.Add(-max(0, v.ServerTime(now).Sub(time.UnixMicro(int64(tick)))))}
	})
	t.noteUnsettledLocked()
	t.mu.floor = max(t.mu.floor, floor)
	// guard: I2-gap-keeps-watermark
	gap = tick > v.Watermark && (partial || prev > v.Watermark)
	if !gap {
		v.Watermark = max(v.Watermark, tick)
	}
	t.touchLocked(v)
	return gap
}

// Lost is called when pushes may have been lost, or another connection is about to be
// used. No local copy is believed until it has been read again, and there is no proof
// until a query that is sent from here on is answered. The answer to an earlier query
// may come from the server before:
//
//	heartbeat: is answered by the old primary
//	client:    turns to the new one, which has an older log
//	reader:    reads an older value there, and has proof of the old primary
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

// Moved is called when a server of a cluster, or another connection to one, may answer from here on. What was read before
// stays believed by the proof that there is: had the loss not been noticed, it would be. But what is read without a delta is
// judged only by the answer to a query that is sent from here on, as after Lost:
//
//	heartbeat: is answered by the old primary
//	client:    turns to the new one, of which writes were lost, and has that recorded in the log
//	reader:    reads an older value there, and knows what the old primary's log had
func (t *Tail) Moved() {
	t.mu.Lock()
	v := *t.View()
	v.Moves, v.MovedAt = v.Moves+1, mono.Now()
	t.publishLocked(&v)
	t.mu.Unlock()
	t.Wake()
}
