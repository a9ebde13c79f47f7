package model

import "github.com/tiercache/tiercache/internal/model/search"

// steps calls next with every state that can follow s, and what led there.
func (g *Guards) steps(s *State, next step) {
	for i := range s.P {
		g.reads(s, i, next)
		g.background(s, i, next)
		g.beats(s, i, next)
		g.deliveries(s, i, next)
	}
	g.changes(s, next)
	g.losses(s, next)
}

var names = [2]string{"A", "B"}

// then steps to a copy of s that f has changed.
func then(s *State, p int, what string, next step, f func(s *State, p *Process)) {
	search.From(s, next).Take(names[p], what, func(s *State) { f(s, &s.P[p]) })
}

// within is then for what may happen left times more.
func within(s *State, left *int8, p int, what string, next step, f func(s *State, p *Process)) {
	search.From(s, next).Within(left, names[p], what, func(s *State) { f(s, &s.P[p]) })
}

// reads are the steps of a read that is not answered by the local copy.
func (g *Guards) reads(s *State, i int, next step) {
	p := &s.P[i]
	r := &p.Read
	switch r.Phase {
	case Idle:
		if !g.serves(p) {
			within(s, &s.Left.Reads[i], i, "a read is sent and answered", next, func(s *State, _ *Process) { g.send(s, i, false) })
		}
		if p.Susp.Inc != 0 {
			within(s, &s.Left.Reads[i], i, "the write of the suspended copy is asked for and answered", next, func(s *State, p *Process) {
				p.Read = Read{Need: s.need(i, false), Reval: true, Copy: p.Susp}
				p.Read.With = p.Proof > bound && g.DeltaIfOld
				g.answer(s, i)
			})
		}
		within(s, &s.Left.Fresh[i], i, "a fresh read is sent and answered", next, func(s *State, _ *Process) { g.send(s, i, true) })
	case Sent:
		then(s, i, "the read is sent again and answered", next, func(s *State, p *Process) { g.answer(s, i) })
	case Answered:
		then(s, i, "the answer is handled", next, func(s *State, p *Process) { g.handle(s, i) })
	case Loading:
		then(s, i, "the loader reads the source", next, func(s *State, p *Process) {
			r := &p.Read
			r.Entry.Version, r.Phase = s.Truth, Loaded
		})
	case Loaded:
		then(s, i, "the load ends", next, func(s *State, p *Process) { g.fill(s, i) })
	}
	if r.Phase != Idle && !p.Waiter.Here {
		within(s, &s.Left.Shares[i], i, "another caller shares the read", next, func(s *State, p *Process) {
			p.Waiter = Waiter{true, s.need(i, false), p.Proof > bound && p.Read.Age > bound}
		})
	}
}

func (g *Guards) send(s *State, i int, fresh bool) {
	p := &s.P[i]
	p.Read = Read{Fresh: fresh, Need: s.need(i, fresh)}
	p.Read.With = fresh && g.FreshDelta || p.Proof > bound && g.DeltaIfOld
	g.answer(s, i)
}

// answer is what the server says to a read. That the question took its time too
// is left out: it would only make the answer newer.
func (g *Guards) answer(s *State, i int) {
	p := &s.P[i]
	r := &p.Read
	r.Phase, r.Age, r.Invalidated = Answered, 0, false
	if g.ProofOfRead && !r.With {
		r.Age = p.Proof
	}
	v := s.of(i)
	r.Entry, r.AfterPushes = v.Entry, p.Invalidation
	if r.With {
		r.Delta, r.From = v.delta(), p.Know
	}
	if !r.Reval || g.TrackAgain {
		v.Tracked[i] = true
	}
}

// handle believes the answer, or begins a load.
func (g *Guards) handle(s *State, i int) {
	p := &s.P[i]
	for p.Read.AfterPushes > 0 && p.Invalidation > 0 {
		g.invalidate(p)
	}
	r := &p.Read
	if g.FlushProof && p.Flushed && !r.With {
		r.Phase, r.With = Sent, true // the answer may be of before what was set
		return
	}
	if r.With && !g.apply(s, i, r.From, r.Delta) {
		r.Phase = Sent
		return
	}
	if r.Reval {
		r.Reval = false
		same := r.Entry.Nonce == r.Copy.Nonce || !g.SameWrite
		owed := p.SuspOwed && !g.OwesNothing
		p.Susp, p.SuspOwed = Entry{}, false
		if !same || g.JudgeAgain && !g.valid(p, r.Copy) {
			r.Phase = Sent // a GET, or a lease
			return
		}
		r.Entry = r.Copy
		g.finish(s, i, true)
		if p.Local.Inc != 0 {
			p.Owed = owed
		}
		return
	}
	if g.valid(p, r.Entry) {
		g.finish(s, i, true)
		return
	}
	v := s.of(i)
	if v.Lease != 0 {
		r.Phase = Sent // another loads it
		return
	}
	v.Lease = int8(1 + i)
	r.Invalidated = false // the lease was asked for with a read of the key
	v.Tracked[i] = true
	g.begin(p)
}

// begin takes the as-of.
func (g *Guards) begin(p *Process) {
	p.Read.Phase, p.Read.Age = Loading, 0
	p.Read.AfterPushes, p.Read.With, p.Read.Delta, p.Read.From = 0, false, Log{}, Log{}
	p.Read.Reval, p.Read.Copy = false, Entry{}
	p.Read.Entry = Entry{Inc: p.Know.Inc, Tick: p.Know.Tick}
}

// fill ends a load: the callers are answered, the value is stored if it may be.
func (g *Guards) fill(s *State, i int) {
	p := &s.P[i]
	r := &p.Read
	if !g.AsOfFirst {
		r.Entry.Inc, r.Entry.Tick = p.Know.Inc, p.Know.Tick
	}
	v := s.of(i)
	held := v.Lease == int8(1+i)
	stored := !r.Offline && (held || !g.Lease) && g.valid(p, r.Entry)
	before := p.Invalidation // of before the write: it comes first
	if stored {
		for range before {
			g.invalidate(p)
		}
		v.Tracked[i] = true // it reads the key before it stores (Unread), so one invalidation is owed
		s.changed(v)
		s.Nonces++
		r.Entry.Nonce = s.Nonces
		v.Entry = r.Entry
		v.Tracked[i] = true
	}
	if held {
		v.Lease = 0
	}
	g.finish(s, i, stored)
	if stored && p.Local.Inc != 0 && p.Local.Nonce == s.Nonces {
		p.Owed = true
	}
}

// finish answers the callers with the read's entry, and keeps it if it is known
// that it still is what the server holds.
func (g *Guards) finish(s *State, i int, keep bool) {
	p := &s.P[i]
	r := p.Read
	if r.Entry.Version < r.Need {
		s.violated(r.Fresh, r.Entry.Version, i)
	}
	if g.shares(p) && r.Entry.Version < p.Waiter.Need {
		s.violated(false, r.Entry.Version, i)
	}
	if keep && (!r.Invalidated || !g.Register) {
		p.Local, p.Owed = r.Entry, false
		p.Susp, p.SuspOwed = Entry{}, false
	}
	p.Read, p.Waiter = Read{}, Waiter{}
}

// shares reports whether the waiter takes the read's value; if not it starts over.
func (g *Guards) shares(p *Process) bool {
	switch w := p.Waiter; {
	case !w.Here:
		return false
	case g.CheckShared && (!g.valid(p, p.Read.Entry) || p.Read.Invalidated):
		return false
	default:
		return !g.ProveShared || !w.Unproven
	}
}

// background are the steps of the proof of a suspended copy for which no caller waits. It begins only once the log was read
// over the connection.
func (g *Guards) background(s *State, i int, next step) {
	p := &s.P[i]
	switch p.Back.Phase {
	case Idle:
		if p.Susp.Inc != 0 && p.Proof <= bound && !p.New {
			within(s, &s.Left.Backs[i], i, "the background asks for the write of the suspended copy and is answered", next, func(s *State, p *Process) {
				v := s.of(i)
				p.Back = Back{Phase: Answered, AfterPushes: p.Invalidation, Copy: p.Susp, Entry: v.Entry}
				v.Tracked[i] = true
			})
		}
	case Answered:
		then(s, i, "the background's answer is handled", next, func(s *State, p *Process) {
			for p.Back.AfterPushes > 0 && p.Invalidation > 0 {
				g.invalidate(p)
			}
			g.believe(p)
		})
	}
}

// believe puts the copy that the background has asked for in its place, if it is proven.
func (g *Guards) believe(p *Process) {
	b := p.Back
	p.Back = Back{}
	there := p.Susp == b.Copy
	switch {
	case g.Overtaken && b.Invalidated, !there: // in the place of that copy alone
	case b.Entry.Nonce == b.Copy.Nonce && g.valid(p, b.Copy):
		p.Local, p.Owed, p.Susp, p.SuspOwed = b.Copy, false, Entry{}, false
	case there:
		p.Susp, p.SuspOwed = Entry{}, false
	}
}

// beats are the steps of a heartbeat.
func (g *Guards) beats(s *State, i int, next step) {
	switch s.P[i].Beat.Phase {
	case Idle:
		within(s, &s.Left.Beats[i], i, "a heartbeat is sent and answered", next, func(s *State, p *Process) {
			p.Beat = Beat{Phase: Answered, From: p.Know, Answer: s.of(i).delta(), AfterPushes: p.Invalidation}
		})
	case Answered:
		then(s, i, "the heartbeat's answer is applied", next, func(s *State, p *Process) {
			for p.Beat.AfterPushes > 0 && p.Invalidation > 0 {
				g.invalidate(p)
			}
			if g.apply(s, i, p.Beat.From, p.Beat.Answer) {
				p.Proof = p.Beat.Age
				if !g.ProofFromSent {
					p.Proof = 0
				}
			}
			p.Beat = Beat{}
		})
	}
}

// deliveries are of what comes unasked.
func (g *Guards) deliveries(s *State, i int, next step) {
	if s.P[i].Invalidation > 0 {
		then(s, i, "is told that the key changed", next, func(s *State, p *Process) { g.invalidate(p) })
	}
	if s.P[i].Message != (Message{}) {
		then(s, i, "receives the message", next, func(s *State, p *Process) { g.receive(p) })
		then(s, i, "its message is lost", next, func(s *State, p *Process) { p.Message = Message{} })
	}
}
