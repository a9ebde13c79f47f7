package invalidation

import (
	"context"
	"time"
)

// changes is a set of changes that are still to be recorded. Several changes
// of one scope are one: the newest wins, and covers the older.
type changes struct {
	marks map[*Mark]int // how many acknowledgements each mark waits for
	all   int
}

// maxUndelivered bounds the scopes kept for sending again; beyond it they are
// given up for a change of everything, which covers them.
const maxUndelivered = 10_000

func (c *changes) empty() bool { return len(c.marks) == 0 && c.all == 0 }

func (c *changes) add(marks []*Mark, all int) {
	if c.marks == nil {
		c.marks = make(map[*Mark]int)
	}
	for _, m := range marks {
		c.marks[m]++
	}
	c.all += all
}

// Change records that the scopes changed, or everything if all is set. It
// returns the change's position, which a load that begins afterwards is true
// as of. After an error the scopes stay distrusted in this process, and the
// change is sent again until it is acknowledged or the tail is closed.
func (t *Tail) Change(ctx context.Context, scopes []Scope, all bool) (AsOf, error) {
	return t.change(ctx, scopes, all, t.cfg.Settle)
}

// ChangeSettled is Change, recorded once more after d (rule R12): it cuts off
// what was loaded meanwhile from a replica of the source that lags by up to d.
func (t *Tail) ChangeSettled(ctx context.Context, scopes []Scope, all bool, d time.Duration) (AsOf, error) {
	return t.change(ctx, scopes, all, d)
}

func (t *Tail) change(ctx context.Context, scopes []Scope, all bool, settle time.Duration) (AsOf, error) {
	own := t.distrust(scopes, all)
	a, err := t.append(ctx, own)
	if err != nil {
		t.postpone(own)
		return AsOf{}, err
	}
	if t.acknowledge(own, a) {
		// Others changed something just before; without their changes the
		// watermark stays behind ours, and loads that begin now would not be
		// believed. The heartbeat does the same if this fails.
		_ = t.CatchUp(ctx)
	}
	if settle > 0 {
		t.spawn(func() { t.settle(scopes, all, settle) })
	}
	return AsOf{a.Incarnation, a.Tick}, nil
}

// distrust makes the scopes unbelievable before anybody is told of the change.
func (t *Tail) distrust(scopes []Scope, all bool) changes {
	t.mu.Lock()
	defer t.mu.Unlock()
	marks := make([]*Mark, len(scopes))
	for i, s := range scopes {
		m := t.mu.known.hold(s)
		m.pending++
		t.mu.known.refresh(m)
		marks[i] = m
	}
	var own changes
	if all {
		t.mu.allPending++
		own.add(marks, 1)
	} else {
		own.add(marks, 0)
	}
	v := *t.View()
	t.touchLocked(&v)
	return own
}

func (t *Tail) append(ctx context.Context, c changes) (Appended, error) {
	scopes := make([]Scope, 0, len(c.marks))
	for m := range c.marks {
		scopes = append(scopes, m.scope)
	}
	return t.log.Append(ctx, Change{
		Scopes: scopes, All: c.all > 0, Retention: t.cfg.Retention, Known: t.View().AsOf(),
	})
}

// acknowledge applies a change of ours that the log has taken. It reports
// whether the log holds changes before it that are not known here.
func (t *Tail) acknowledge(own changes, a Appended) (gap bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := *t.View()
	if a.Incarnation != v.Incarnation {
		// The log was lost and has begun anew with this change, or somebody
		// else had renewed it. Nothing of the old one is believed from here on.
		v.Incarnation, v.Watermark, t.mu.floor = a.Incarnation, a.Tick, a.Tick
		t.resetLocked(&v, a.Tick)
	}
	scopes := make([]Scope, 0, len(own.marks))
	for m, n := range own.marks {
		m.pending -= n
		scopes = append(scopes, m.scope)
	}
	t.mu.allPending -= own.all
	gap = t.recordLocked(&v, scopes, own.all > 0, a, false)
	for m, n := range own.marks {
		t.mu.known.refresh(m)
		for range n {
			t.mu.known.release(m)
		}
	}
	return gap
}

// postpone keeps what could not be recorded, still distrusted, for resend.
func (t *Tail) postpone(own changes) {
	t.mu.Lock()
	defer t.mu.Unlock()
	u := &t.mu.undelivered
	u.add(nil, own.all)
	for m, n := range own.marks {
		u.marks[m] += n
	}
	if len(u.marks) <= maxUndelivered {
		return
	}
	u.all++
	t.mu.allPending++
	for m, n := range u.marks {
		m.pending -= n
		for range n {
			t.mu.known.release(m)
		}
		t.mu.known.refresh(m)
	}
	u.marks = nil
	v := *t.View()
	t.touchLocked(&v)
}

// resend records in one change all that could not be recorded before.
func (t *Tail) resend(ctx context.Context) error {
	t.mu.Lock()
	own := t.mu.undelivered
	t.mu.undelivered = changes{}
	t.mu.Unlock()
	if own.empty() {
		return nil
	}
	a, err := t.append(ctx, own)
	if err != nil {
		t.postpone(own)
		return err
	}
	t.cfg.Logger.Info("tiercache: postponed changes recorded", "scopes", len(own.marks), "all", own.all > 0)
	if t.acknowledge(own, a) {
		return t.CatchUp(ctx)
	}
	return nil
}

// settle records a change again after d, unless the tail is closed before.
func (t *Tail) settle(scopes []Scope, all bool, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-t.ctx.Done():
		return
	case <-timer.C:
	}
	ctx, cancel := context.WithTimeout(t.ctx, max(t.cfg.Timeout, t.cfg.Heartbeat))
	defer cancel()
	_, _ = t.change(ctx, scopes, all, 0) // postponed if it fails
}
