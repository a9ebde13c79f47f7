package wire

import (
	"context"
	"time"
)

// endsLocked ends a request that nobody waits for, once, and reports whether it is to be
// told now. It is not while queued runs, and so still tells callers what the answer may
// undo:
//
//	A: puts a request out, and is in queued
//	B: writes it along with its own, and reads the answer
func (r *request) endsLocked(err error) (now bool) {
	if r.left {
		return false
	}
	r.left, r.err = true, err
	return !r.queuing
}

// tell is called once r is ended, without locks.
func (c *Conn) tell(r *request) { c.call(func() { r.then(r.err == nil, r.err) }) }

// timeLocked has requests that nobody waits for looked at when one is to be given up.
func (c *Conn) timeLocked(at time.Time) {
	if !c.dueAt.IsZero() && !at.Before(c.dueAt) {
		return
	}
	c.dueAt = at
	if d := time.Until(at); c.late == nil {
		c.late = time.AfterFunc(d, c.giveUp)
	} else {
		c.late.Reset(d)
	}
}

// giveUp gives up those that were to be answered by now. Their answers may still come.
func (c *Conn) giveUp() {
	defer c.recovered("giving up what a connection was asked")
	for _, r := range c.takeLate() {
		c.tell(r)
	}
}

// takeLate ends them, and returns those that are to be told.
func (c *Conn) takeLate() (late []*request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dueAt = time.Time{}
	now := time.Now()
	look := func(r *request) {
		switch {
		case r == nil || r.then == nil || r.left:
		case now.Before(r.until):
			c.timeLocked(r.until)
		case r.endsLocked(context.DeadlineExceeded):
			late = append(late, r)
		}
	}
	for i := range c.owed.n {
		look(c.owed.at(i).r)
	}
	for _, d := range c.waiting {
		look(d.r)
	}
	return late
}
