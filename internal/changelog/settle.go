package changelog

import (
	"context"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/internal/readtime"
	"github.com/tiercache/tiercache/invalidation"
)

// A change can settle for a lag (rules S1 to S6): loaders read from replicas of the source that
// lag by up to that, so what is loaded within the lag may be old although its as-of covers the
// change. Only the process that loads can tell, and it has applied the change by then. So it limits the
// life of what it stores to the end of the lag, and readers judge nothing more than before.
//
// The log says that a change settles by one more scope, of the same tick: see settlingScope. To
// processes of the release before that is a scope on which nothing depends.

// MaxSettle is the longest lag.
const MaxSettle = time.Hour

// everything stands for the scope of a change of everything.
const everything invalidation.Scope = "*"

// settlingScope is the scope that says that the change of x at its tick settles after lag.
func settlingScope(lag time.Duration, x invalidation.Scope) invalidation.Scope {
	h := xxh3.HashString128(string(x)).Bytes()
	return invalidation.Scope(lagMember(lag) + ":" + base64.RawURLEncoding.EncodeToString(h[:]))
}

// lagMember is the member of the log, with the score -1, that says that there are such scopes with that lag.
func lagMember(lag time.Duration) string { return "z" + strconv.FormatInt(lag.Milliseconds(), 36) }

// LagOf returns the lag of a scope that says that a change settles.
func LagOf(s invalidation.Scope) (lag time.Duration, ok bool) {
	if len(s) == 0 || s[0] != 'z' {
		return 0, false
	}
	member, _, _ := strings.Cut(string(s), ":")
	return parseLag(member)
}

func parseLag(member string) (time.Duration, bool) {
	ms, err := strconv.ParseInt(strings.TrimPrefix(member, "z"), 36, 64)
	if err != nil || ms < 1 || ms > MaxSettle.Milliseconds() {
		return 0, false
	}
	return time.Duration(ms) * time.Millisecond, true
}

// RoundLag rounds a lag up to two decimal digits of milliseconds. A log has a member for each lag
// that is in use, and a fill looks at all of them: so there are at most some six hundred.
func RoundLag(lag time.Duration) time.Duration {
	if lag <= 0 {
		return 0
	}
	ms, unit := int64((lag+time.Millisecond-1)/time.Millisecond), int64(1)
	for ms > 99*unit {
		unit *= 10
	}
	return time.Duration((ms+unit-1)/unit*unit) * time.Millisecond
}

// Lag says of a log that it has, or has had, changes that settle after a lag.
type Lag struct {
	Lag time.Duration
	// Trimmed is the tick of the latest of them that the log has forgotten before it had settled; 0: none.
	Trimmed invalidation.Tick
}

// ParseLag reads a member z<lag>, or z<lag>@<tick> if some were forgotten.
func ParseLag(member string) (l Lag, ok bool) {
	name, tick, trimmed := strings.Cut(member, "@")
	if l.Lag, ok = parseLag(name); !ok || !trimmed {
		return l, ok
	}
	n, err := strconv.ParseInt(tick, 10, 64)
	if err != nil || n < 0 || invalidation.Tick(n) >= maxTick {
		return Lag{}, false
	}
	l.Trimmed = invalidation.Tick(n)
	return l, true
}

// heard is when a change that settles had happened (S2): by at the latest, as the local clock has
// it, and early at the earliest, as the server's clock has it. That can be set, so it alone would
// not do: set forwards, everything would have settled too early. And by alone would not do either: a process
// that was cut off hears of the change late, and would keep old values for that much longer.
type heard struct{ by, early mono.Time }

// unsettled are the changes of one scope that settle after one lag.
type unsettled struct {
	lag     time.Duration
	changes []heard
	over    mono.Time // what was loaded from before that on is not kept: older changes that are left out
}

// mostHeard bounds the changes of one scope that are looked at. With more of them within one
// lag little would be kept anyway.
const mostHeard = 8

func (u *unsettled) add(h heard) {
	if len(u.changes) == mostHeard {
		u.over = max(u.over, u.changes[0].by.Add(u.lag))
		u.changes = append(u.changes[:0], u.changes[1:]...)
	}
	u.changes = append(u.changes, h)
}

// until is when all of them have settled.
func (u *unsettled) until() mono.Time {
	until := u.over
	for _, h := range u.changes {
		until = max(until, h.by.Add(u.lag))
	}
	return until
}

// end is when a value ends whose load began at begun (S3).
func (u *unsettled) end(begun mono.Time) mono.Time {
	if begun < u.over {
		return 0
	}
	end := Endless
	for _, h := range u.changes {
		// guard: S3-limit
		if begun < h.by.Add(u.lag) {
			// guard: S3-early
			end = min(end, h.early.Add(u.lag), h.by.Add(u.lag))
		}
	}
	return end
}

// Endless is the end of what is not limited.
const Endless mono.Time = 1<<63 - 1

// settlement is what a mark has to say of a scope's changes that settle.
type settlement struct {
	unsettled
	of invalidation.Scope // what changed; empty if that is not known
}

// lagState is what is known of all changes with one lag. Guarded by the Tail's mutex.
type lagState struct {
	until     mono.Time // when all that were heard of, or may have been missed, have settled
	forgotten mono.Time // likewise those whose scopes are not known any more: the log is to be asked
	trimmed   unsettled // those whose scopes the log does not know any more either: any scope
	tick      invalidation.Tick
}

// lagTable has the lags in use.
type lagTable map[time.Duration]*lagState

func (t lagTable) of(lag time.Duration) *lagState {
	l := t[lag]
	if l == nil {
		l = &lagState{trimmed: unsettled{lag: lag}}
		t[lag] = l
	}
	return l
}

// settle notes that the change of z at tick, which apply has just applied, settles.
func (k *markTable) settle(z invalidation.Scope, of invalidation.Scope, h heard) {
	lag, ok := LagOf(z)
	if !ok {
		return
	}
	l := k.lags.of(lag)
	l.until = max(l.until, h.by.Add(lag))
	m := k.marks[z]
	if m == nil { // forgotten already
		l.forgotten = max(l.forgotten, h.by.Add(lag))
		return
	}
	if m.settles == nil {
		m.settles = &settlement{unsettled: unsettled{lag: lag}}
	}
	m.settles.add(h)
	m.settles.of = of
}

// dropped notes that the table does not have a mark any more.
func (k *markTable) dropped(m *Mark) {
	if s := m.settles; s != nil {
		l := k.lags.of(s.lag)
		l.forgotten = max(l.forgotten, s.until())
	}
}

// hearLags notes which lags are in use, at a time when changes may have been missed: any of them may have
// happened just now. answered is when the log said so.
func (k *markTable) hearLags(lags []Lag, missed bool, answered mono.Time, at func(invalidation.Tick) heard) {
	for _, in := range lags {
		l := k.lags.of(in.Lag)
		if missed {
			l.forgotten = max(l.forgotten, answered.Add(in.Lag))
			l.until = max(l.until, l.forgotten)
		}
		if in.Trimmed > l.tick {
			l.tick = in.Trimmed
			l.trimmed.add(at(in.Trimmed))
			l.until = max(l.until, l.trimmed.until())
		}
	}
}

// latestSettling is when all changes that were heard of have settled.
func (k *markTable) latestSettling() (until mono.Time) {
	for _, l := range k.lags {
		until = max(until, l.until)
	}
	return until
}

// applyAll applies changes, and what they say of settling. at says when a change had happened.
func (k *markTable) applyAll(changes []ScopeTick, at func(invalidation.Tick) heard) {
	var settles []ScopeTick
	for _, c := range changes {
		if k.apply(c.Scope, c.Tick) && c.Scope[0] == 'z' {
			settles = append(settles, c)
		}
	}
	if len(settles) == 0 {
		return
	}
	of := map[string]invalidation.Scope{hashOf(settlingScope(time.Millisecond, everything)): everything}
	for _, c := range changes {
		if c.Scope[0] != 'z' {
			of[hashOf(settlingScope(time.Millisecond, c.Scope))] = c.Scope
		}
	}
	for _, z := range settles {
		k.settle(z.Scope, of[hashOf(z.Scope)], at(z.Tick))
	}
}

// hashOf is what the name of a settling scope says of its change.
func hashOf(z invalidation.Scope) string {
	_, hash, _ := strings.Cut(string(z), ":")
	return hash
}

// Begun returns the time from which on a value that is as of a was read, at the earliest (S6). Without a time
// of its own an as-of was taken when the watermark got there.
func (t *Tail) Begun(a invalidation.AsOf, now mono.Time) mono.Time {
	if t.unsettledUntil.Load() == 0 {
		return now // it does not matter
	}
	if at := readtime.Of(a); at != 0 {
		return min(now, at)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return min(now, t.mu.arrivals.of(a.Tick))
}

// TakeAsOf returns the present position, with the time at which it was taken where that matters.
func (t *Tail) TakeAsOf() invalidation.AsOf {
	a := t.View().AsOf() // first: what is heard of from here on is not covered by it
	until := mono.Time(t.unsettledUntil.Load())
	if until == 0 {
		return a // no change settles
	}
	at := mono.Now()
	if at >= until {
		at = readtime.Settled
	}
	return readtime.With(a, at).(invalidation.AsOf)
}

// arrivals says when the watermark got somewhere, roughly.
type arrivals []arrival

type arrival struct {
	tick invalidation.Tick
	at   mono.Time
}

const (
	maxArrivals  = 256
	arrivalsEach = time.Second
)

func (a *arrivals) note(tick invalidation.Tick, at mono.Time) {
	if n := len(*a); n > 0 && at.Sub((*a)[n-1].at) < arrivalsEach {
		return // a tick is then taken to have arrived up to that much sooner than it has
	} else if n == maxArrivals {
		*a = append((*a)[:0], (*a)[n/2:]...)
	}
	*a = append(*a, arrival{tick, at})
}

// of returns a time at which the watermark had not got to tick, or just had.
func (a arrivals) of(tick invalidation.Tick) mono.Time {
	for i := len(a) - 1; i >= 0; i-- {
		if a[i].tick <= tick {
			return a[i].at
		}
	}
	return 0
}

// MayBeUnsettled reports whether End may limit what was begun to be loaded at begun.
func (t *Tail) MayBeUnsettled(begun mono.Time) bool {
	return begun < mono.Time(t.unsettledUntil.Load())
}

// End returns when the life of a value ends that depends on the scopes, because a change of one of them has not
// settled that its as-of a covers (S3): Endless if nothing limits it, and 0 or a time that is past if
// it must not be kept. begun is when its load began.
//
// It is the beginning that counts, not the end: a load that ends after the lag may have read the replica
// before. And it is not the as-of: the watermark stands still while nothing changes, so that the load of
// an hour later has the as-of of the change itself.
//
// If the log is to be asked, and asks is false, the value must not be kept.
func (t *Tail) End(ctx context.Context, a invalidation.AsOf, begun mono.Time, scopes []invalidation.Scope, asks bool) (mono.Time, error) {
	end, unknown := t.end(begun, append(scopes, everything))
	if len(unknown) == 0 || end <= mono.Now() {
		return end, nil
	}
	if !asks {
		return 0, nil
	}
	sent := mono.Now()
	d, err := t.log.Delta(ctx, DeltaQuery{Since: t.View().Watermark, Incarnation: a.Incarnation, Limit: 1, Scopes: unknown})
	if err != nil {
		return 0, err
	}
	answered := mono.Now()
	if d.Incarnation != a.Incarnation || len(d.Known) != len(unknown) {
		return 0, nil
	}
	at := func(tick invalidation.Tick) heard { return d.heard(tick, sent, answered, true) }
	for i, z := range unknown {
		if lag, ok := LagOf(z); ok && d.Known[i] > 0 {
			u := unsettled{lag: lag, changes: []heard{at(d.Known[i])}}
			end = min(end, u.end(begun))
		}
	}
	for _, l := range d.Lags {
		if l.Trimmed > 0 {
			u := unsettled{lag: l.Lag, changes: []heard{at(l.Trimmed)}}
			end = min(end, u.end(begun))
		}
	}
	return end, nil
}

// end is End by what is known locally; the log is to be asked for unknown.
func (t *Tail) end(begun mono.Time, scopes []invalidation.Scope) (end mono.Time, unknown []invalidation.Scope) {
	t.mu.Lock()
	defer t.mu.Unlock()
	end = Endless
	for lag, l := range t.mu.known.lags {
		if begun >= l.until {
			continue
		}
		end = min(end, l.trimmed.end(begun))
		for _, x := range scopes {
			z := settlingScope(lag, x)
			if m := t.mu.known.marks[z]; m != nil && m.settles != nil {
				end = min(end, m.settles.end(begun))
			} else if begun < l.forgotten {
				// guard: S3-unknown-asks-log
				unknown = append(unknown, z)
			}
		}
	}
	return end, unknown
}

// heard places a tick of the log that answered on the local clock. A process that did not follow the
// log (first) has nothing but the server's clock to go by.
func (d *Delta) heard(tick invalidation.Tick, sent, answered mono.Time, first bool) heard {
	ago := max(0, d.ServerTime.Sub(time.UnixMicro(int64(tick))))
	h := heard{by: answered, early: sent.Add(-ago)}
	// guard: S2-first-delta
	// guard: S2-heard-by-own-clock
	if first {
		h.by = answered.Add(-ago)
	}
	return h
}

// noteUnsettledLocked publishes until when a fill has to look closer.
func (t *Tail) noteUnsettledLocked() {
	if until := t.mu.known.latestSettling(); until > mono.Time(t.unsettledUntil.Load()) {
		t.unsettledUntil.Store(int64(until))
	}
}

// settling counts the scopes whose changes have not settled, and says how long that takes.
func (k *markTable) settling(now mono.Time) (scopes int, longest time.Duration) {
	if k.latestSettling() <= now {
		return 0, 0
	}
	for _, m := range k.marks {
		if m.settles != nil && m.settles.until() > now {
			scopes++
			longest = max(longest, m.settles.until().Sub(now))
		}
	}
	return scopes, longest
}

// settlingAgain is a change that has not settled, to be recorded in another log (S5).
type settlingAgain struct {
	of   invalidation.Scope
	left time.Duration
}

// unsettled returns the changes that have not settled yet. They settle in a new log when they would
// have in this one: what began to be loaded before early and the lag is to end then. What begins
// later, until by and the lag, is limited too, since the server's clock may be wrong.
func (k *markTable) unsettled(now mono.Time) (again []settlingAgain) {
	for _, m := range k.marks {
		s := m.settles
		if s == nil || s.of == "" {
			continue
		}
		for _, h := range s.changes {
			for _, left := range []time.Duration{h.early.Add(s.lag).Sub(now), h.by.Add(s.lag).Sub(now)} {
				if left > 0 {
					again = append(again, settlingAgain{s.of, left})
				}
			}
		}
	}
	return again
}

// settleAgainLocked makes changes pending that the log which this process turns to does not have:
//
//	A:   changes x, which settles after a minute; the log is lost
//	B:   knows of that; turns to the new log
//	C:   starts, and knows nothing of it; loads x from a replica that lags
func (t *Tail) settleAgainLocked(again []settlingAgain) {
	own := scopeSet{}
	for _, c := range again {
		lags := []time.Duration{RoundLag(c.left)}
		if c.of == everything {
			t.mu.allPending++
			own.add(nil, 1, lags)
			continue
		}
		m := t.mu.known.pin(c.of)
		m.pending++
		t.mu.known.refresh(m)
		own.add([]*Mark{m}, 0, lags)
	}
	if !own.empty() {
		t.requeueLocked(own)
		t.Wake()
	}
}
