package model

// A is who changes the source and the key. Both change something else.
const a, b = 0, 1

func (g *Guards) changes(s *State, next func(string, State)) {
	if s.P[a].Change.Phase == Idle && s.Left.Invalidations > 0 {
		then(s, a, "the source has changed; an invalidation is called", next, func(s *State, p *Process) {
			s.Left.Invalidations--
			s.Truth++
			p.Pending = true
			p.Change = Change{Phase: Sent, Version: s.Truth, From: p.Know}
		})
	}
	for i := range s.P {
		if s.P[i].Change.Phase == Idle && s.Left.Others[i] > 0 {
			then(s, i, "something else is invalidated", next, func(s *State, p *Process) {
				s.Left.Others[i]--
				p.Change = Change{Phase: Sent, Other: true, From: p.Know}
			})
		}
	}
	if s.P[a].Change.Phase == Idle && s.Left.Sets > 0 {
		then(s, a, "sets the key to a new version", next, func(s *State, p *Process) {
			s.Left.Sets--
			s.Truth++
			s.of(a).declare()
			g.disturb(p)
			p.Change = Change{Phase: Sent, Set: true, Version: s.Truth, From: p.Know}
		})
	}
	for i := range s.P {
		g.change(s, i, next)
	}
}

// disturb has a process forget what it knows of a key that it is changing.
func (g *Guards) disturb(p *Process) {
	p.Local, p.Read.Noticed = Entry{}, true
}

func (g *Guards) change(s *State, i int, next func(string, State)) {
	c := s.P[i].Change
	switch c.Phase {
	case Sent:
		then(s, i, "the change arrives", next, func(s *State, p *Process) {
			if c.Set {
				v := s.of(i)
				s.changed(v)
				v.Entry = Entry{Version: c.Version, Inc: c.From.Inc, Tick: c.From.Tick}
				v.Lease = 0
			} else {
				g.append(s, i, !c.Other)
			}
			p.Change.Phase = Answered
		})
		if !c.Set && s.Left.Fails > 0 {
			then(s, i, "the call fails before the change arrives", next, func(s *State, p *Process) { g.fail(s, p) })
		}
	case Answered:
		then(s, i, "the call returns", next, func(s *State, p *Process) { g.returns(s, i) })
		if !c.Set && s.Left.Fails > 0 {
			then(s, i, "the answer is lost, the call fails", next, func(s *State, p *Process) { g.fail(s, p) })
		}
	case Postponed:
		then(s, i, "the change is sent again", next, func(s *State, p *Process) {
			p.Change.Phase, p.Change.From = Sent, p.Know
		})
	}
}

func (g *Guards) fail(s *State, p *Process) {
	s.Left.Fails--
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
	p.Change = Change{}
	if c.Other {
		return
	}
	p.Pending, p.Own = false, c.Version
	switch {
	case c.Failed: // nobody was promised anything
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
