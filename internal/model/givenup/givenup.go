// Package givenup models writes of one key whose callers give up: when Set or Delete
// returns, its write has been performed or never will be.
//
// Up to three writes are on connections of their own, which delay them for as long
// as they like: of one store or of several, in one process or not, and the same value
// tried again by its caller. Callers have deadlines, or cancel at any moment.
// The clients of the stores may send a write again after a lost connection. The server
// refuses what is not between two times by its own clock, of which the stores know a
// lower bound. That clock is set, backwards or forwards, and the key may move to a
// server whose clock is behind: because its slot did, or because another is promoted.
//
// # What it shows
//
// With all [Guards] no write is performed after one that was called when its own call
// had returned, and that was acknowledged; with any one of them taken out one is.
// Both are tests. [Guards.Window] narrows what a step back of the clock opens, and does
// not close it: a test says by which steps a late write still passes.
//
// # What it does not show
//
// Time is in steps, of which a call waits for two. Of several keys (SetMany) each is a
// write of its own. The drift of clocks, and a process or server that is suspended with
// its clock, are left out.
package givenup

import "github.com/tiercache/tiercache/internal/model/search"

// Guards are what the protocol does against late writes.
type Guards struct {
	Before   bool // G1: the server refuses a write after its time
	Lower    bool // G1: its time is told by a lower bound of the server's clock
	Deadline bool // G1: it is no later than the caller's deadline
	Window   bool // G2: the server refuses a write from its future: its clock was set back
	Linger   bool // G3: a call that is cancelled returns when it is answered, or its time is over
	Withdraw bool // G3: one that returns before anything of it was written is not written later
	Once     bool // G4: a write is not sent again after a lost connection
	OwnClock bool // G4: its time is by the clock of the server that it is sent to, also after MOVED
	Deletes  bool // G5: Delete has a time like Set
	Lease    bool // G6: a fill is stored only under its lease, which Set and Delete end
}

// Kinds of writes.
const (
	None = iota
	Set
	Delete
	Fill
)

// Limits bound the search.
type Limits struct {
	Kinds   [3]int8
	Time    int8 // steps of time
	Jumps   int8 // how often the clock is set
	Jump    int8 // by how much it is set back; negative is forwards
	Resends int8 // by the client, over a new connection
	Moves   int8 // of the key to the other server, whose clock is behind by behind
	Queued  bool // not a limit: a call may wait before it is written
}

const (
	wait   = 2 // that a call lasts at most
	behind = 4
	never  = 100
)

// Phases of a call.
const (
	idle = iota
	called
	acknowledged
	failed
)

// Answers, of which several may be on their way.
const (
	performed = 1 << iota
	refused
	moved // to the other server
)

// Write is a call, and what is on its way for it.
type Write struct {
	Kind, Phase     int8
	Called          int8 // when
	Returned        int8
	Deadline        int8 // of its caller
	NotBefore       int8 // by the server's clock
	Before          int8
	Written         int8    // how often it was sent
	Copies          [2]int8 // on their way to each server
	Answers         int8    // on their way
	Done, Cancelled bool
}

// State is everything there is.
type State struct {
	Now    int8
	Clock  [2]int8 // of each server: what it is ahead of Now
	Server int8    // which has the key
	Lease  bool    // of the first write, if that is a fill
	Writes [3]Write
	Left   Limits
	Bad    int8 // 1 + the write that was performed too late
}

// Search looks at every state within the limits. What the stores know of the server's
// clock is that it is ahead by 0 or by 1.
func Search(g Guards, l Limits, most int) search.Result {
	s := State{Left: l, Clock: [2]int8{0, -behind}, Lease: l.Kinds[0] == Fill}
	for i := range s.Writes {
		s.Writes[i].Kind, s.Writes[i].Deadline = l.Kinds[i], never
	}
	ahead := s
	ahead.Clock = [2]int8{1, 1 - behind}
	return search.Run(search.Model[State]{
		Start: []State{s, ahead},
		Next:  g.next,
		Violation: func(s *State) string {
			if s.Bad == 0 {
				return ""
			}
			return names[s.Bad-1] + " write is performed after one that was called when its call had returned"
		},
	}, most)
}

var names = [3]string{"the first", "the second", "the third"}

type steps = search.Steps[State]

func (g Guards) next(s *State, step search.Step[State]) {
	steps := search.From(s, step)
	if s.Now < s.Left.Time {
		steps.Take("", "time passes", func(s *State) { s.Now++ })
	}
	steps.Within(&s.Left.Jumps, "", "the server's clock is set", func(s *State) { s.Clock[s.Server] -= s.Left.Jump })
	if s.Server == 0 {
		steps.Within(&s.Left.Moves, "", "the key moves to a server whose clock is behind", func(s *State) { s.Server = 1 })
	}
	for i := range s.Writes {
		g.call(s, i, steps)
		g.arrives(s, i, steps)
		g.returns(s, i, steps)
	}
}

// bounded reports whether the server refuses a write by its time.
func (g *Guards) bounded(kind int8) bool { return kind == Set || kind == Delete && g.Deletes }

// call are the steps of a call until it is written.
func (g *Guards) call(s *State, i int, steps steps) {
	w := &s.Writes[i]
	if w.Kind != None && w.Phase == idle {
		called := func(deadline int8) func(*State) {
			return func(s *State) {
				w := &s.Writes[i]
				w.Phase, w.Called, w.Deadline = called, s.Now, deadline
				g.setTimes(s, w)
				if !s.Left.Queued {
					g.send(s, w)
				}
			}
		}
		steps.Take(names[i], "write is called", called(never))
		if w.Kind != Fill {
			steps.Take(names[i], "write is called with a deadline of one step", called(s.Now+1))
		}
	}
	if w.Written == 0 && (w.Phase == called || w.Phase == failed && !g.Withdraw) {
		steps.Take(names[i], "write is written", func(s *State) { g.send(s, &s.Writes[i]) })
	}
	if w.Phase != called {
		return
	}
	if !g.Once && w.Written == 1 {
		steps.Within(&s.Left.Resends, names[i], "write is sent again over a new connection", func(s *State) { g.send(s, &s.Writes[i]) })
	}
	if w.Answers&moved != 0 {
		steps.Take(names[i], "write is sent to where the key has moved", func(s *State) {
			w := &s.Writes[i]
			w.Answers &^= moved
			if g.OwnClock {
				g.setTimes(s, w)
			}
			w.Copies[1]++
		})
	}
}

// setTimes says when the server may perform a write, by what is known of its clock: that
// it is ahead by known, or by one more.
func (g *Guards) setTimes(s *State, w *Write) {
	known := int8(0)
	if g.OwnClock && s.Server == 1 {
		known = -behind
	}
	end := w.Called + wait
	if g.Deadline {
		end = min(end, w.Deadline)
	}
	w.NotBefore, w.Before = s.Now+known, end+known
	if g.Lower {
		w.Before-- // it is not performed in the step in which its call may return
	}
}

func (g *Guards) send(s *State, w *Write) {
	if g.OwnClock && w.Written == 0 {
		g.setTimes(s, w) // the key may have moved since the call
	}
	w.Written++
	w.Copies[s.Server]++
}

// arrives performs a write, refuses it, or says where the key is.
func (g *Guards) arrives(s *State, i int, steps steps) {
	for at := range s.Writes[i].Copies {
		if s.Writes[i].Copies[at] == 0 {
			continue
		}
		steps.Take(names[i], "write arrives", func(s *State) {
			w := &s.Writes[i]
			w.Copies[at]--
			clock := s.Now + s.Clock[at]
			late := g.Before && clock > w.Before || g.Window && clock < w.NotBefore
			switch {
			case int8(at) != s.Server:
				w.Answers |= moved
			case g.bounded(w.Kind) && late, w.Kind == Fill && g.Lease && !s.Lease:
				w.Answers |= refused
			default:
				s.perform(i)
			}
		})
	}
}

// perform does a write. It is too late if one was acknowledged that was called after
// its call had returned; or, for a fill, any.
func (s *State) perform(i int) {
	w := &s.Writes[i]
	for j := range s.Writes {
		o := &s.Writes[j]
		if j == i || !o.Done || o.Phase != acknowledged || o.Kind == Fill {
			continue
		}
		over := w.Phase >= acknowledged && o.Called >= w.Returned && o.Kind == Set
		if over || w.Kind == Fill {
			s.Bad = int8(i) + 1
		}
	}
	w.Done = true
	w.Answers |= performed
	if w.Kind != Fill {
		s.Lease = false
	}
}

// returns are the ways in which a call ends.
func (g *Guards) returns(s *State, i int, steps steps) {
	w := &s.Writes[i]
	if w.Phase != called {
		return
	}
	if w.Answers&(performed|refused) != 0 {
		steps.Take(names[i], "call returns with the answer", func(s *State) {
			w := &s.Writes[i]
			w.Phase, w.Returned = acknowledged, s.Now
			if w.Answers&performed == 0 {
				w.Phase = failed
			}
		})
	}
	if !w.Cancelled && w.Kind != Fill {
		steps.Take(names[i], "call is cancelled", func(s *State) { s.Writes[i].Cancelled = true })
	}
	end := w.Called + wait
	over := s.Now >= end || s.Now >= w.Deadline && (g.Deadline || !g.Linger)
	if over || w.Cancelled && (!g.Linger || w.Written == 0) {
		steps.Take(names[i], "call returns an error", func(s *State) {
			w := &s.Writes[i]
			w.Phase, w.Returned = failed, s.Now
		})
	}
}
