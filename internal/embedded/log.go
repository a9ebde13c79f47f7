package embedded

import (
	"context"
	"fmt"
	"sort"
	"time"

	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/invalidation"
)

// changeLog is the sorted set of a store, kept as the list of its changes in
// order; a change that a later one of the same scope covers stays in the list
// until the next compaction.
type changeLog struct {
	incarnation string
	before      invalidation.AsOf // see changelog.Delta.After
	tick, floor invalidation.Tick
	latest      map[invalidation.Scope]invalidation.Tick
	order       []changelog.ScopeTick
	// lags are those after which changes settle: see changelog.Lag.
	lags map[time.Duration]invalidation.Tick
	pace changelog.Pace
}

func nowTick() invalidation.Tick { return invalidation.Tick(time.Now().UnixMicro()) }

// renewLocked replaces the log if it is absent or ends before known.
func (c *conn) renewLocked(known invalidation.AsOf) *changeLog {
	key := changelog.LogKey(c.o.Prefix)
	l := c.remote.logs[key]
	if l != nil && l.tick >= known.Tick {
		return l
	}
	tick := max(known.Tick+1, nowTick())
	// guard: I6-missing-log-embedded
	l = &changeLog{before: known, incarnation: changelog.NewIncarnation(), tick: tick, floor: tick,
		latest: make(map[invalidation.Scope]invalidation.Tick), lags: make(map[time.Duration]invalidation.Tick)}
	c.remote.logs[key] = l
	return l
}

// Renew implements [changelog.Log].
func (c *conn) Renew(ctx context.Context, lost changelog.Loss) error {
	return c.step(ctx, func() {
		key := changelog.LogKey(c.o.Prefix)
		if l := c.remote.logs[key]; l != nil && lost.Forked != 0 && l.incarnation == changelog.FormatIncarnation(lost.Forked) {
			delete(c.remote.logs, key)
		}
		c.renewLocked(lost.Known)
	})
}

// Append implements [changelog.Log].
func (c *conn) Append(ctx context.Context, ch changelog.Change) (a changelog.Appended, err error) {
	err = c.step(ctx, func() {
		l := c.renewLocked(ch.Known)
		l.trim(nowTick()-invalidation.Tick(c.retentionLocked(ch.Retention).Microseconds()), int(changelog.MostScopes(c.remote.maxBytes)))
		prev := l.tick
		l.tick = max(prev+1, nowTick())
		if ch.All {
			l.floor = l.tick
			for s, tick := range l.latest {
				l.fold(s, tick)
			}
			clear(l.latest) // the floor covers them
			l.order = nil
		}
		for _, s := range ch.Scopes {
			if lag, ok := changelog.LagOf(s); ok {
				l.lags[lag] = max(l.lags[lag], 0)
			}
			l.latest[s] = l.tick
			l.order = append(l.order, changelog.ScopeTick{Scope: s, Tick: l.tick})
		}
		l.compact()
		a.Incarnation, _ = changelog.ParseIncarnation(l.incarnation)
		a.Prev, a.Tick = prev, l.tick
		// guard: missed-of-the-same-log-embedded
		if ch.Known.Tick < prev && ch.Known.Incarnation == a.Incarnation {
			a.Missed = l.message(ch.Known.Tick, l.several(ch.Known.Tick))
		}
		c.tellLocked(l, prev, changelog.Body(ch.Scopes, ch.All))
	})
	return a, err
}

// tellLocked publishes a message of all changes that have not been told, if it is due; body is of the latest, which came after
// prev. If it is not, the first change that waits has it told later.
func (c *conn) tellLocked(l *changeLog, prev invalidation.Tick, body []byte) {
	now := time.Now()
	if l.pace.Told == 0 {
		l.pace.Told = prev
	}
	switch wait := l.pace.Wait(now); {
	case wait > 0 && l.pace.Told == prev:
		c.tellLater(l, wait)
	case wait > 0:
	case l.pace.Told == prev:
		c.publishLocked(l, now, body)
	default:
		c.publishLocked(l, now, l.several(l.pace.Told))
	}
}

// tellLater has what waits told once it is due, unless that has been done. What it was to tell before has been told.
func (c *conn) tellLater(l *changeLog, wait time.Duration) {
	tick := l.tick
	if c.later != nil {
		c.later.Stop()
	}
	c.untold = func() {
		// guard: withheld-changes-are-told-embedded
		if c.remote.logs[changelog.LogKey(c.o.Prefix)] == l && l.pace.Told < tick {
			c.publishLocked(l, time.Now(), l.several(l.pace.Told))
		}
	}
	untold := c.untold
	c.later = time.AfterFunc(wait, func() {
		defer c.o.Panics.Recover("telling of changes", c.lose)
		c.remote.mu.Lock()
		defer c.remote.mu.Unlock()
		if !c.closed {
			untold()
		}
	})
}

// several is the body of a message of all that changed after told.
func (l *changeLog) several(told invalidation.Tick) []byte {
	floor := invalidation.Tick(0)
	if l.floor > told {
		floor = l.floor
	}
	return changelog.BodyOfSeveral(l.after(told), floor, l.tick)
}

// message is one of what changed after told.
func (l *changeLog) message(told invalidation.Tick, body []byte) string {
	return fmt.Sprintf("%s %d %d %s", l.incarnation, told, l.tick, body)
}

// retentionLocked returns the longest retention of the stores that are open.
func (c *conn) retentionLocked(own time.Duration) time.Duration {
	for other := range c.remote.conns {
		if other.o.Prefix == c.o.Prefix {
			// guard: R13-longest-retention-embedded
			own = max(own, other.o.MaxTTL)
		}
	}
	return own
}

// publishLocked publishes a message of what changed after l.pace.Told.
func (c *conn) publishLocked(l *changeLog, now time.Time, body []byte) {
	message, receivers := l.message(l.pace.Told, body), 0
	for other := range c.remote.conns {
		if other.o.Prefix == c.o.Prefix {
			other.queueLocked(func() { other.o.Events.Published(message) })
			receivers++
		}
	}
	l.pace.Sent(l.tick, now, receivers*c.remote.weight)
}

// trim forgets the oldest scopes: those that last changed at or before cut, and those
// beyond the number most. It raises the floor to the latest of them.
func (l *changeLog) trim(cut invalidation.Tick, most int) {
	n := 0
	// guard: log-is-bounded-embedded
	for ; n < len(l.order) && (l.order[n].Tick <= cut || len(l.latest) > most); n++ {
		if s := l.order[n]; l.latest[s.Scope] == s.Tick {
			delete(l.latest, s.Scope)
			l.fold(s.Scope, s.Tick)
			l.floor = max(l.floor, s.Tick)
		}
	}
	l.order = l.order[n:]
}

// fold notes that a scope is forgotten, if it says that a change settles and that has not settled yet.
func (l *changeLog) fold(s invalidation.Scope, tick invalidation.Tick) {
	lag, ok := changelog.LagOf(s)
	// guard: S3-trimmed-before-settled-embedded
	if ok && tick+invalidation.Tick(lag.Microseconds()) > nowTick() {
		l.lags[lag] = max(l.lags[lag], tick)
	}
}

func (l *changeLog) compact() {
	if len(l.order) < 2*len(l.latest)+64 {
		return
	}
	kept := make([]changelog.ScopeTick, 0, len(l.latest))
	for _, s := range l.order {
		if l.latest[s.Scope] == s.Tick {
			kept = append(kept, s)
		}
	}
	l.order = kept
}

// after returns the latest changes that come after since.
func (l *changeLog) after(since invalidation.Tick) []changelog.ScopeTick {
	i := sort.Search(len(l.order), func(i int) bool { return l.order[i].Tick > since })
	var out []changelog.ScopeTick
	for _, s := range l.order[i:] {
		if l.latest[s.Scope] == s.Tick {
			out = append(out, s)
		}
	}
	return out
}

// Delta implements [changelog.Log].
func (c *conn) Delta(ctx context.Context, q changelog.DeltaQuery) (d changelog.Delta, err error) {
	err = c.step(ctx, func() { d = c.deltaLocked(q) })
	return d, err
}

func (c *conn) deltaLocked(q changelog.DeltaQuery) changelog.Delta {
	d := changelog.Delta{Connection: c.id, ServerTime: time.Now()}
	l := c.remote.logs[changelog.LogKey(c.o.Prefix)]
	if l == nil {
		return d
	}
	d.Incarnation, _ = changelog.ParseIncarnation(l.incarnation)
	d.Tick, d.Floor = l.tick, l.floor
	if d.Incarnation != q.Incarnation {
		// guard: I5-log-predecessor-embedded
		d.After = l.before
	}
	d.Changes = l.after(q.Since)
	if len(d.Changes) > q.Limit {
		d.Changes, d.Overflow = nil, true
	}
	settles := d.Overflow || d.Incarnation != q.Incarnation
	for _, s := range q.Scopes {
		d.Known = append(d.Known, l.latest[s])
		settles = settles || s[0] == 'z'
	}
	if settles {
		for lag, trimmed := range l.lags {
			d.Lags = append(d.Lags, changelog.Lag{Lag: lag, Trimmed: trimmed})
		}
	}
	return d
}
