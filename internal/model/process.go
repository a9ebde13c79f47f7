package model

// valid decides R1 for an as-of, by what the process knows.
func (g *Guards) valid(p *Process, e Entry) bool {
	switch {
	case e.Inc == 0:
		return false
	case g.Incarnation && e.Inc != p.Know.Inc:
		return false
	case !g.JudgeEntries:
		return true
	}
	return !p.Pending && p.Know.Source <= e.Tick
}

// serves reports whether a read would be given the local copy now.
func (g *Guards) serves(p *Process) bool {
	return g.valid(p, p.Local) && (!g.ProofGate || p.Proof <= bound)
}

// invalidate is told that the key changed.
func (g *Guards) invalidate(p *Process) {
	p.Invalidation--
	flush := p.Flush&1 != 0
	if p.Flush >>= 1; flush {
		g.flushed(p)
	}
	p.Read.AfterPushes = max(p.Read.AfterPushes-1, 0)
	p.Beat.AfterPushes = max(p.Beat.AfterPushes-1, 0)
	p.Back.AfterPushes = max(p.Back.AfterPushes-1, 0)
	p.Read.Invalidated, p.Back.Invalidated = true, p.Back.Phase != Idle
	if p.Owed {
		p.Owed = false
		return
	}
	if p.SuspOwed {
		p.SuspOwed = false
		return
	}
	p.Susp, p.SuspOwed = Entry{}, false
	if g.InvalidationEvicts {
		p.Local = Entry{}
	}
}

// flushed is told that the server has forgotten, or changed, everything. The copies
// are of an epoch that is over.
func (g *Guards) flushed(p *Process) {
	p.Local, p.Owed, p.Susp, p.SuspOwed = Entry{}, false, Entry{}, false
	p.Flushed = true
	if g.FlushProof {
		p.Proof = old
	}
}

// isBack reports whether an answered delta shows that the server was set back. Either a
// flush push came before the answer, and the log is still there; or the server has
// counted less than it had. That another process has found one out says nothing: it may
// have been another time.
func (g *Guards) isBack(p *Process, log Log) bool {
	found := g.FlushPush && p.Flushed || g.Counters && log.Images < p.Images
	return found && log.Inc == p.Know.Inc
}

// apply makes the answer to a delta read known, and reports whether it could be
// used. Of the log's past it holds what came after from.
func (g *Guards) apply(s *State, i int, from, log Log) bool {
	p := &s.P[i]
	if p.Know.Inc != from.Inc || p.Know.Told != from.Told {
		return false // what was asked before that was told does not know what changed by it
	}
	if g.Histories && log.Strange {
		s.of(i).admit()
		return false
	}
	behind := g.DeltaBehind && log.Tick < from.Tick
	denied := g.Witness && log.Inc == p.Know.Inc && from.deniedBy(log, p.New && g.Witnesses)
	if log.Inc == 0 || behind || denied {
		if now := s.of(i).Log; now.Inc == 0 || now.Tick < from.Tick || denied && now.Inc == log.Inc {
			g.renew(s, s.of(i), from)
		}
		return false
	}
	if g.isBack(p, log) {
		s.of(i).setBack()
		p.Images, p.Flushed, p.Know.Told = log.Images, false, p.Know.Told+1
		return false
	}
	p.Images, p.Flushed = log.Images, false
	log.Strange, log.Images = false, 0
	switch {
	case log.Inc != p.Know.Inc:
		g.adopt(p, log)
	default:
		if log.Source > from.Tick {
			p.Know.Source = max(p.Know.Source, log.Source)
		}
		if log.Other > from.Tick {
			p.Know.Other = max(p.Know.Other, log.Other)
		}
		p.Know.Tick = max(p.Know.Tick, log.Tick)
	}
	p.New = false
	s.told()
	return true
}

// told: once A has told what it knows, that counts as acknowledged.
func (s *State) told() {
	p := &s.P[a]
	if s.Lost && !p.New && !p.Pending && s.of(a) == s.of(b) {
		s.Lost = false
		s.Acked[p.Own] = 1
	}
}

// adopt turns to another log. What was heard of in the one before, and the process
// that began this one had not heard of, is not known there: the source is changed in its place.
func (g *Guards) adopt(p *Process, log Log) {
	known := log.AfterInc == p.Know.Inc && log.After >= max(p.Know.Tick, p.Know.Source, p.Know.Other)
	p.Know = log
	p.Know.AfterInc, p.Know.After = 0, 0 // which is of no more use
	if !known && g.Adopt && !p.Pending && p.Change.Phase == Idle {
		p.Pending = true
		p.Change = Change{Phase: Postponed, Version: p.Own, From: p.Know, Failed: true}
	}
}

// deniedBy reports whether log does not know of the latest change that is known,
// the witness, or of any of both.
func (known Log) deniedBy(log Log, both bool) bool {
	source, other := log.Source < known.Source, log.Other < known.Other
	switch {
	case both:
		return source || other
	case known.Source >= known.Other:
		return source
	}
	return other
}

// receive applies the message that is on its way.
func (g *Guards) receive(p *Process) {
	m := p.Message
	p.Message = Message{}
	g.hear(p, m)
}

// hear applies a message.
func (g *Guards) hear(p *Process, m Message) {
	if m.Inc != p.Know.Inc || m.Tick <= p.Know.Tick {
		return
	}
	if w := p.Know.Tick; g.Beside && m.Several && m.Prev < w && m.Source != w && m.Other != w {
		return // the log is read
	}
	p.Know.Source = max(p.Know.Source, m.Source)
	p.Know.Other = max(p.Know.Other, m.Other)
	if m.Prev <= p.Know.Tick || !g.GapRead {
		p.Know.Tick = m.Tick
	}
}

// need is the least version that a read of p that is called now may give.
func (s *State) need(p int, fresh bool) int8 {
	least := s.P[p].Own
	for v := int8(1); v <= maxVersion; v++ {
		if s.Acked[v] > old || fresh && s.Acked[v] > 0 {
			least = max(least, v)
		}
	}
	return least
}
