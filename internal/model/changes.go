package model

// A is the process that changes the source and the key. Both change something else.
const a, b = 0, 1

func (g *Guards) changes(s *State, next step) {
	if s.P[a].Change.Phase == Idle {
		within(s, &s.Left.Invalidations, a, "the source has changed; an invalidation is called", next, func(s *State, p *Process) {
			s.Truth++
			p.Pending = true
			p.Change = Change{Phase: Sent, Version: s.Truth, From: p.Know}
		})
	}
	for i := range s.P {
		if s.P[i].Change.Phase == Idle {
			within(s, &s.Left.Others[i], i, "something else is invalidated", next, func(s *State, p *Process) {
				p.Change = Change{Phase: Sent, Other: true, From: p.Know}
			})
		}
	}
	for i := range s.P {
		g.writes(s, i, next)
	}
	for i := range s.P {
		g.change(s, i, next)
	}
}

// writes are the calls of Set and Delete. There is one at a time: which of two
// that overlap comes last is not promised.
func (g *Guards) writes(s *State, i int, next step) {
	if l := s.P[i].Late; l.Version > 0 {
		then(s, i, "its write that was given up arrives", next, func(s *State, p *Process) {
			s.write(i, l.Delete, Entry{Version: l.Version, Inc: l.Inc, Tick: l.Tick})
			p.Late = Late{}
		})
	}
	for j := range s.P {
		if c := s.P[j].Change; c.Set && c.Phase != Idle || j == i && c.Phase != Idle {
			return
		}
	}
	within(s, &s.Left.Sets[i], i, "sets the key to a new version", next, func(s *State, _ *Process) { g.begins(s, i, false) })
	within(s, &s.Left.Deletes[i], i, "the source has changed; the key is deleted", next, func(s *State, _ *Process) { g.begins(s, i, true) })
}

// begins calls Set or Delete.
func (g *Guards) begins(s *State, i int, deletes bool) {
	p := &s.P[i]
	s.Truth++
	s.of(i).declare()
	g.disturb(p)
	p.Change = Change{Phase: Sent, Set: true, Delete: deletes, Version: s.Truth, From: p.Know}
}

// write is what Set and Delete do to the server of process i.
func (s *State) write(i int, deletes bool, e Entry) {
	v := s.of(i)
	s.changed(v)
	s.Nonces++
	v.Lease = 0
	if deletes {
		e = Entry{}
	} else {
		e.Nonce = s.Nonces
	}
	v.Entry = e
}

// giveUp returns from a Set or a Delete without its answer. The server refuses the
// write from then on; without that guard it may still come.
func (g *Guards) giveUp(s *State, i int) {
	p := &s.P[i]
	if c := p.Change; c.Phase == Sent && !g.GiveUp {
		p.Late = Late{c.Delete, c.Version, c.From.Inc, c.From.Tick}
	}
	p.Change = Change{} // it promised nothing, and may have been done
	g.disturb(p)
}

// disturb has a process forget what it knows of a key that it is changing.
func (g *Guards) disturb(p *Process) {
	p.Local, p.Susp, p.Owed, p.SuspOwed, p.Read.Invalidated = Entry{}, Entry{}, false, false, true
	p.Back.Invalidated = p.Back.Phase != Idle
}

func (g *Guards) change(s *State, i int, next step) {
	c := s.P[i].Change
	if c.Set && c.Phase != Idle && s.P[i].Late.Version == 0 {
		within(s, &s.Left.GiveUps, i, "the caller gives up", next, func(s *State, _ *Process) { g.giveUp(s, i) })
	}
	switch c.Phase {
	case Sent:
		then(s, i, "the change arrives", next, func(s *State, p *Process) {
			if c.Set {
				s.write(i, c.Delete, Entry{Version: c.Version, Inc: c.From.Inc, Tick: c.From.Tick})
			} else {
				g.append(s, i, !c.Other, false)
			}
			p.Change.Phase = Answered
		})
		if !c.Set {
			within(s, &s.Left.Waits, i, "the change arrives, its message has to wait", next, func(s *State, p *Process) {
				g.append(s, i, !c.Other, true)
				p.Change.Phase = Answered
			})
			within(s, &s.Left.Fails, i, "the call fails before the change arrives", next, func(_ *State, p *Process) { g.fail(p) })
		}
	case Answered:
		then(s, i, "the call returns", next, func(s *State, p *Process) { g.returns(s, i) })
		if !c.Set {
			within(s, &s.Left.Fails, i, "the answer is lost, the call fails", next, func(_ *State, p *Process) { g.fail(p) })
		}
	case Postponed:
		then(s, i, "the change is sent again", next, func(s *State, p *Process) {
			p.Change.Phase, p.Change.From = Sent, p.Know
		})
	}
}

func (g *Guards) fail(p *Process) {
	if !p.Change.Other {
		p.Own = p.Change.Version // an error is no excuse here
	}
	p.Change.Phase, p.Change.Failed = Postponed, true
	if !g.Distrust {
		p.Pending, p.Change = false, Change{}
	}
}

// returns ends a change that was answered.
func (g *Guards) returns(s *State, i int) {
	p := &s.P[i]
	c := p.Change
	if c.Set {
		g.disturb(p)
	} else if !g.acknowledge(p) {
		if p.Know.Inc == c.From.Inc {
			g.apply(s, i, p.Know, s.of(i).delta())
		}
		p.Change.Phase, p.Change.From = Sent, p.Know // to be recorded again
		return
	}
	if c.Missed != (Message{}) {
		g.hear(p, c.Missed)
	}
	p.Change = Change{}
	if c.Other {
		return
	}
	p.Pending, p.Own = false, c.Version
	switch {
	case c.Failed: // no caller was promised anything
	case s.of(a) != s.of(b):
		s.Lost = true
	default:
		s.Acked[c.Version] = 1
	}
	s.told()
}

// acknowledge applies a change that the log has taken; false if that log was
// lost meanwhile.
func (g *Guards) acknowledge(p *Process) bool {
	c := p.Change
	inc, tick := c.Answer.Inc, c.Answer.Tick
	if inc != p.Know.Inc {
		if g.RecordAgain {
			return false
		}
		p.Know = Log{Inc: inc, Tick: tick, Source: tick, Other: tick}
		return true
	}
	if !g.ApplyOwn {
		return true
	}
	if c.Other {
		p.Know.Other = max(p.Know.Other, tick)
	} else {
		p.Know.Source = max(p.Know.Source, tick)
	}
	if c.Prev <= p.Know.Tick || !g.GapRead {
		p.Know.Tick = max(p.Know.Tick, tick)
	}
	return true
}
