// Package sideversions models two versions of a program, whose encodings differ,
// that share a key. The base holds the entry of the version that wrote first; the
// other's stands beside it, under another name, and names the very write of the base
// beside which it was loaded, the link.
//
// There are two processes, A of one version and B of the other. Both read, set and
// delete; the base is evicted, its lease expires, and connections are lost.
//
// # What it shows
//
// With all [Guards] no read gives what is older than the latest Set or Delete that
// returned before it, no copy of an older one is kept without an invalidation on its way,
// and no fill of one version replaces a valid entry of the other's, in any order of
// events. Without any one of Link, NoWar, Lease, Register and First one of these
// happens. Both are tests; the other guards are caution.
//
// # What it does not show
//
// Set and Delete are one step each, entries do not expire, nothing is invalidated,
// and the lease of a side entry is left out: each version has one process.
package sideversions

import "github.com/tiercache/tiercache/internal/model/search"

// Guards are what the protocol does against one version's values in place of the
// other's newer ones.
type Guards struct {
	Link     bool // P1: a side entry is believed only beside the write of the base that it names
	Check    bool // it is stored only if the base still is that write
	Track    bool // storing it reads the base in the same step, so that its changes are told
	NoWar    bool // P2: a fill does not replace a base of the other encoding
	Lease    bool // R8: a fill of the base is stored only under its lease, which Set and Delete end
	Register bool // R9: what an invalidation overtook is not kept
	OwedName bool // P4: the invalidation that an own write owes is one of the key that it wrote
	First    bool // P2: the link is the write of the base that was read before the load began
}

// Limits bound the search: how often each thing may happen, of two elements for
// each process.
type Limits struct {
	Reads, Sets, Deletes [2]int8
	Evicts               int8 // of the base
	Expiries             int8 // of its lease
	Resets               int8 // of connections
}

// Base is the entry of the version that wrote first; its shape is 1 + the process.
type Base struct{ Has, Shape, Nonce, Version int8 }

// Side is an entry beside it.
type Side struct{ Has, Link, Version int8 }

// Phases of a read.
const (
	idle = iota
	baseRead
	sideRead
	loadingSide
	loadingBase
	loadedSide
	loadedBase
)

// Names of keys, in invalidations.
const (
	base = 1 + iota
	side
)

// Process is one store.
type Process struct {
	Phase         int8
	Need          int8 // the least version that is right
	Invalidated   bool
	Link          int8 // the write of the base that was read
	Version       int8
	Found         bool
	After         int8    // how many of the invalidations under way come before the answer
	Local         int8    // the version of its copy, plus 1
	Owed          int8    // the key of whose own write an invalidation is owed
	Invalidations [4]int8 // on their way: the key that changed
}

// State is everything there is.
type State struct {
	Truth, Nonce int8
	Base         Base
	Side         [2]Side
	Lease        int8    // of the base: 1 + the process
	TracksBase   [2]bool // the processes that are told when it changes
	TracksSide   [2]bool
	P            [2]Process
	Left         Limits
	War          bool // a fill of one encoding has replaced an entry of the other
	Bad          int8 // 1 + the process that read what is too old
}

// Search looks at every state within the limits.
func Search(g Guards, l Limits, most int) search.Result {
	return search.Run(search.Model[State]{Start: []State{{Left: l}}, Next: g.next, Violation: violation}, most)
}

var names = [2]string{"A", "B"}

// violation: a read was given, or a copy is kept with no invalidation on its way, what is
// older than the present version; or one version has replaced the other's entry.
func violation(s *State) string {
	if s.Bad != 0 {
		return names[s.Bad-1] + " reads an older value"
	}
	for i := range s.P {
		if p := &s.P[i]; p.Local != 0 && p.Invalidations[0] == 0 && p.Local-1 < s.Truth {
			return names[i] + " keeps an older value, and is told nothing"
		}
	}
	if s.War {
		return "one version's fill replaces an entry of the other's"
	}
	return ""
}

// tell sends invalidations that a key changed: the base, or the side entry of owner.
func (s *State) tell(name int8, owner int) {
	for i := range s.P {
		tracks := &s.TracksBase[i]
		if name == side {
			if i != owner {
				continue
			}
			tracks = &s.TracksSide[i]
		}
		if *tracks {
			*tracks = false
			s.P[i].push(name)
		}
	}
}

// push puts an invalidation last.
func (p *Process) push(name int8) { p.Invalidations[p.underWay()] = name }

// underWay is how many invalidations are on their way.
func (p *Process) underWay() (n int8) {
	for _, name := range p.Invalidations {
		if name != 0 {
			n++
		}
	}
	return n
}

// invalidate is told that a key changed.
func (g *Guards) invalidate(p *Process) {
	name := p.Invalidations[0]
	copy(p.Invalidations[:], p.Invalidations[1:])
	p.Invalidations[len(p.Invalidations)-1] = 0
	p.After = max(p.After-1, 0)
	p.Invalidated = true
	if p.Owed != 0 && (p.Owed == name || !g.OwedName) {
		p.Owed = 0
		return
	}
	p.Local, p.Owed = 0, 0
}

// drain handles the invalidations that come before the answer.
func (g *Guards) drain(p *Process) {
	for p.After > 0 {
		g.invalidate(p)
	}
}

// finish answers the caller, and keeps the value if nothing speaks against it.
func (g *Guards) finish(s *State, i int, keep bool) {
	p := &s.P[i]
	if p.Version < p.Need {
		s.Bad = int8(i) + 1
	}
	if keep && (!p.Invalidated || !g.Register) {
		p.Local, p.Owed = p.Version+1, 0
	}
	p.Phase, p.Invalidated, p.Link, p.Version, p.Found, p.Need, p.After = idle, false, 0, 0, false, 0, 0
}

func (g *Guards) next(s *State, step search.Step[State]) {
	steps := search.From(s, step)
	if s.Base.Has == 1 {
		steps.Within(&s.Left.Evicts, "", "the base is evicted", func(s *State) {
			s.Base = Base{}
			s.tell(base, -1)
		})
	}
	if s.Lease != 0 {
		steps.Within(&s.Left.Expiries, "", "the lease expires", func(s *State) { s.Lease = 0 })
	}
	for i, name := range names {
		if s.P[i].Invalidations[0] != 0 {
			steps.Take(name, [...]string{base: "is told that the base changed", side: "is told that its side entry changed"}[s.P[i].Invalidations[0]],
				func(s *State) { g.invalidate(&s.P[i]) })
		}
		steps.Within(&s.Left.Resets, name, "loses its connection", func(s *State) {
			s.P[i] = Process{}
			s.TracksBase[i], s.TracksSide[i] = false, false
		})
		steps.Within(&s.Left.Sets[i], name, "sets the key", func(s *State) {
			s.write(&s.P[i])
			s.Nonce++
			s.Base = Base{1, int8(i) + 1, s.Nonce, s.Truth}
		})
		steps.Within(&s.Left.Deletes[i], name, "deletes the key", func(s *State) { s.write(&s.P[i]) })
		g.reads(s, i, steps)
	}
}

// write is what Set and Delete of process p have in common.
func (s *State) write(p *Process) {
	s.Truth++
	s.tell(base, -1)
	s.Base, s.Lease = Base{}, 0
	p.Local, p.Owed, p.Invalidated = 0, 0, true
}

// reads are the steps of a read that is not answered by the local copy.
func (g *Guards) reads(s *State, i int, steps search.Steps[State]) {
	name := names[i]
	switch p := &s.P[i]; p.Phase {
	case idle:
		if p.Local == 0 {
			steps.Within(&s.Left.Reads[i], name, "the base is read", func(s *State) {
				p := &s.P[i]
				p.Need, p.Invalidated, p.Phase = s.Truth, false, baseRead
				s.answerBase(i)
			})
		}
	case baseRead:
		steps.Take(name, "the answer is handled", func(s *State) { g.handle(s, i) })
	case sideRead:
		steps.Take(name, "the answer about its side entry is handled", func(s *State) {
			p := &s.P[i]
			g.drain(p)
			if p.Found {
				g.finish(s, i, true)
				return
			}
			p.Phase = loadingSide
		})
	case loadingSide, loadingBase:
		steps.Take(name, "the loader reads the source", func(s *State) {
			p := &s.P[i]
			p.Version = s.Truth
			p.Phase += loadedSide - loadingSide
		})
	case loadedSide:
		steps.Take(name, "the load ends, its side entry is stored if it may be", func(s *State) { g.fillSide(s, i) })
	case loadedBase:
		steps.Take(name, "the load ends, the base is stored if the lease is held", func(s *State) { g.fillBase(s, i) })
	}
}

// answerBase is what the server says of the base.
func (s *State) answerBase(i int) {
	p := &s.P[i]
	p.Link, p.After = 0, p.underWay()
	s.TracksBase[i] = true
	switch b := s.Base; {
	case b.Has == 1 && b.Shape == int8(i)+1:
		p.Version, p.Found = b.Version, true
	case b.Has == 1:
		p.Link = b.Nonce
	}
}

// handle believes the base, or looks beside it, or takes the lease.
func (g *Guards) handle(s *State, i int) {
	p := &s.P[i]
	g.drain(p)
	switch {
	case p.Found:
		g.finish(s, i, true)
	case p.Link != 0 && g.NoWar:
		p.Phase, p.After = sideRead, p.underWay()
		s.TracksSide[i] = true
		if e := s.Side[i]; e.Has == 1 && (e.Link == p.Link || !g.Link) {
			p.Found, p.Version = true, e.Version
		}
	case s.Base.Has == 1 && g.NoWar: // asking for the lease reads the base: there is one now
		p.Invalidated = false
		s.answerBase(i)
	case s.Lease == 0:
		s.Lease = int8(i) + 1
		p.Phase, p.Invalidated, p.After = loadingBase, false, 0 // the base was read with it
		s.TracksBase[i] = true
	default: // another process loads it: the read begins anew
		s.Left.Reads[i]++
		p.Phase, p.Need, p.Link, p.After, p.Invalidated = idle, 0, 0, 0, false
	}
}

func (g *Guards) fillSide(s *State, i int) {
	p := &s.P[i]
	p.After = p.underWay()
	if !g.First && s.Base.Has == 1 {
		p.Link = s.Base.Nonce
	}
	stored := s.Base.Has == 1 && s.Base.Nonce == p.Link || !g.Check
	if stored {
		if g.Track {
			s.TracksBase[i] = true
		}
		s.TracksSide[i] = true
		s.Side[i] = Side{1, p.Link, p.Version}
		g.drain(p)
		p.push(side)
	}
	g.finish(s, i, stored)
	if p.Local != 0 && stored {
		p.Owed = side
	}
}

func (g *Guards) fillBase(s *State, i int) {
	p := &s.P[i]
	p.After = p.underWay()
	shape := int8(i) + 1
	stored := s.Lease == shape || !g.Lease
	if s.Lease == shape {
		s.Lease = 0
	}
	if stored {
		s.War = s.War || s.Base.Has == 1 && s.Base.Shape != shape
		s.TracksBase[i] = false // its echo is put last below
		s.tell(base, -1)
		s.Nonce++
		s.Base = Base{1, shape, s.Nonce, p.Version}
		g.drain(p)
		p.push(base)
		s.TracksBase[i] = true
	}
	g.finish(s, i, stored)
	if p.Local != 0 && stored {
		p.Owed = base
	}
}
