package changelog

import (
	"context"
	"time"

	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/invalidation"
)

// Pin returns the marks of scopes, which stay up to date until Release.
func (t *Tail) Pin(scopes []invalidation.Scope) []*Mark {
	if len(scopes) == 0 {
		return nil
	}
	marks := make([]*Mark, len(scopes))
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, s := range scopes {
		marks[i] = t.mu.known.pin(s)
	}
	return marks
}

// Release ends a Pin; the marks must not be used after it.
func (t *Tail) Release(marks []*Mark) {
	if len(marks) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, m := range marks {
		t.mu.known.release(m)
	}
}

// Judge decides rule R1 for a value as of a that depends on the pinned marks,
// from local knowledge.
func (t *Tail) Judge(a invalidation.AsOf, marks []*Mark) Verdict {
	if !t.View().Covers(a) {
		return Changed
	}
	if upTo(marks, a.Tick) {
		return Valid
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return judge(marks, a.Tick)
}

// upTo reports whether none of the marks can have changed after tick.
func upTo(marks []*Mark, tick invalidation.Tick) bool {
	for _, m := range marks {
		if m.Last() > tick {
			return false
		}
	}
	return true
}

// LastChanges returns the ticks of the scopes' latest changes, as the log has
// them now; 0 means never (or forgotten, below the floor).
func (t *Tail) LastChanges(ctx context.Context, scopes []invalidation.Scope) ([]invalidation.Tick, error) {
	d, err := t.log.Delta(ctx, DeltaQuery{Since: t.View().Watermark, Limit: 1, Scopes: scopes})
	return d.Known, err
}

// Health describes how well the tail follows its log.
type Health struct {
	// ProofAge is the age of the latest proof: the longest time for which a change
	// made elsewhere can have been missed.
	ProofAge time.Duration
	// Silence is the time since the latest query was sent whose answer was applied. Unlike
	// ProofAge it does not end with the connection.
	Silence time.Duration
	// Failing is for how long heartbeats have failed: since the first in a row began.
	Failing time.Duration
	// Failures counts the heartbeats that have failed in a row; Err is the error of
	// the latest.
	Failures int
	Err      error
	// Undelivered counts scopes whose change could not be recorded yet;
	// UndeliveredAll is set if a change of everything could not.
	Undelivered    int
	UndeliveredAll bool
	// Settling counts the scopes whose change has not settled yet, as far as this process has heard, and SettlesIn is how long the
	// last of them takes.
	Settling  int
	SettlesIn time.Duration
	// Scopes counts the scopes known to this process.
	Scopes int
	// Stranger: messages of another change log come on the store's channel, while this one lasts.
	Stranger bool
	// Idle: there was no read for a minute, and the log is read every 20 s, or as often as
	// Config.Heartbeat if that is more seldom.
	Idle bool
	// Losses counts the change logs that were followed and lost history, LostAt says when the latest loss was found.
	Losses int64
	LostAt time.Time
	// Lag is the longest time from a change's tick until it was applied here, within the last 10 to 20 s, by the server's
	// clock as far as it is known here.
	Lag time.Duration
}

// Health returns the present state; it sends nothing.
func (t *Tail) Health() Health {
	t.mu.Lock()
	defer t.mu.Unlock()
	var failing time.Duration
	if t.mu.failures > 0 {
		failing = mono.Now().Sub(t.mu.failing)
	}
	settling, settlesIn := t.mu.known.settling(mono.Now())
	return Health{
		Losses:         t.mu.losses,
		LostAt:         t.mu.lostAt,
		Lag:            t.mu.lag.longest(mono.Now()),
		Settling:       settling,
		SettlesIn:      settlesIn,
		Failing:        failing,
		Stranger:       t.mu.stranger.goesOn(t.View().Incarnation, t.mu.answered, mono.Now()),
		ProofAge:       t.View().Age(mono.Now()),
		Silence:        mono.Now().Sub(t.mu.answered),
		Failures:       t.mu.failures,
		Err:            t.mu.lastErr,
		Undelivered:    t.undeliveredLocked(),
		UndeliveredAll: t.mu.undelivered.all+t.mu.resending.all > 0,
		Scopes:         len(t.mu.known.marks),
		Idle:           t.mu.idle && t.mu.failures == 0,
	}
}

// undeliveredLocked counts each scope once, even if its change is being sent and it has
// changed again.
func (t *Tail) undeliveredLocked() int {
	n := len(t.mu.undelivered.marks)
	for m := range t.mu.resending.marks {
		if _, twice := t.mu.undelivered.marks[m]; !twice {
			n++
		}
	}
	return n
}
