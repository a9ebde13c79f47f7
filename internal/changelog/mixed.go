package changelog

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tiercache/tiercache/invalidation"
)

// mixedFleet records changes that settle once more, after their lag, for processes of the release before: those do
// not limit the lives of what they load. It has one timer, and is to go with the release after this.
type mixedFleet struct {
	tail *Tail

	mu     sync.Mutex // guards what follows
	due    []dueChange
	scopes int // in due
	timer  *time.Timer
	ended  bool
	told   bool
}

type dueChange struct {
	at     time.Time
	scopes []invalidation.Scope
	all    bool
}

// add has a change recorded again. It reports false if there are too many to be kept, the first time.
func (f *mixedFleet) add(scopes []invalidation.Scope, all bool, lag time.Duration) (kept bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.ended:
		return true
	case f.scopes+len(scopes) > maxUndelivered:
		kept, f.told = f.told, true
		return kept
	}
	f.scopes += len(scopes)
	c := dueChange{time.Now().Add(lag), scopes, all}
	i := len(f.due)
	for i > 0 && c.at.Before(f.due[i-1].at) {
		i--
	}
	f.due = slices.Insert(f.due, i, c)
	if i == 0 {
		f.setTimerLocked()
	}
	return true
}

func (f *mixedFleet) setTimerLocked() {
	if f.timer != nil {
		f.timer.Stop()
	}
	if len(f.due) > 0 && !f.ended {
		f.timer = time.AfterFunc(time.Until(f.due[0].at), func() { f.tail.spawn(f.record) })
	}
}

// take returns all that is due, as one change.
func (f *mixedFleet) take() (scopes []invalidation.Scope, all bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	for len(f.due) > 0 && !f.due[0].at.After(now) {
		scopes, all = append(scopes, f.due[0].scopes...), all || f.due[0].all
		f.scopes -= len(f.due[0].scopes)
		f.due = slices.Delete(f.due, 0, 1)
	}
	f.setTimerLocked()
	slices.Sort(scopes)
	return slices.Compact(scopes), all
}

func (f *mixedFleet) record() {
	scopes, all := f.take()
	if len(scopes) == 0 && !all {
		return
	}
	t := f.tail
	ctx, cancel := context.WithTimeout(t.ctx, max(t.cfg.Timeout, t.cfg.Heartbeat))
	defer cancel()
	_, _ = t.Change(ctx, scopes, all, 0) // if it fails, resend repeats it
}

func (f *mixedFleet) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended, f.due = true, nil
	f.setTimerLocked()
}
