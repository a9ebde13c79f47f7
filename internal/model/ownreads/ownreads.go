// Package ownreads models what a process reads while its own fill is on its way: a
// load has answered its callers, and its value is yet to be stored.
//
// There is one process with one key. It loads, or refreshes, and sets the key; its
// reads are answered by the local copy, or, as those of GetMany and Peek whose values
// are not kept, by the server, which they may reach before the fill does, or after.
// Other processes set the key, and the source changes.
//
// # What it shows
//
// With all [Guards] no read gives an older value than one that the process had
// returned, or set, when the read was called, in any order of events; without any
// one of them one does. Both are tests.
//
// # What it does not show
//
// No connection is lost and no lease expires, and the source does not change untold
// beside a Set: a fill that is refused leaves the older value where it is,
// which no change speaks against. Staleness,
// proofs and the fill's echo are package model's.
package ownreads

import "github.com/tiercache/tiercache/internal/model/search"

// Guards are what the protocol does against reads that go back.
type Guards struct {
	OwnFill   bool // a read that goes to the server is answered by the fill that is on its way, or waits for it
	Overtaken bool // it is not answered by one that a Set or an invalidation has overtaken
	Fence     bool // R8: a Set ends the lease, and a fill without it stores nothing
	Evicts    bool // R9: a Set, and an invalidation, take the local copy out
	Register  bool // R9: what was overtaken is not kept
}

// Limits bound the search: how often each thing may happen.
type Limits struct {
	Loads, Reads, Sets int8
	Foreign            int8 // Sets of other processes
	Changes            int8 // of the source
	Warm               bool // not a limit: the server begins with an entry
}

// Phases of a load, and of reads and Sets, which use some of them.
const (
	idle = iota
	begun
	loaded
	returned // to the callers; or, of a Set, sent: the write is on its way
	answered
)

// Read is one that goes to the server. Values are a version plus 1, or 0 for none.
type Read struct{ Phase, Need, Value int8 }

// State is everything there is.
type State struct {
	Truth, Entry        int8
	Lease, Tracked      bool
	Load, Value         int8 // its phase, and what it read
	Invalidated, Stored bool // it was overtaken; the server has it
	Local               int8
	Least               int8 // what a read that is called now may give
	Reads               [2]Read
	Set, SetValue       int8 // its phase
	Invalidation        int8 // on their way
	Left                Limits
	Bad                 bool
}

// Search looks at every state within the limits.
func Search(g Guards, l Limits, most int) search.Result {
	s := State{Left: l, Truth: 1}
	if l.Warm {
		s.Entry = 1
	}
	return search.Run(search.Model[State]{
		Start: []State{s},
		Next:  g.next,
		Violation: func(s *State) string {
			if s.Bad || s.Local != 0 && s.Local < s.Least {
				return "a read gives an older value than one that this process has returned"
			}
			return ""
		},
	}, most)
}

func (g Guards) next(s *State, step search.Step[State]) {
	steps := search.From(s, step)
	steps.Within(&s.Left.Changes, "", "the source changes", func(s *State) { s.Truth++ })
	steps.Within(&s.Left.Foreign, "", "another process sets the key", func(s *State) {
		s.Truth++
		g.write(s, s.Truth)
	})
	if s.Invalidation > 0 {
		steps.Take("", "an invalidation comes: the key changed", func(s *State) {
			s.Invalidation--
			g.overtake(s)
		})
	}
	g.load(s, steps)
	g.set(s, steps)
	for i := range s.Reads {
		g.read(s, i, steps)
	}
}

// write is a Set at the server.
func (g *Guards) write(s *State, value int8) {
	s.Entry = value
	if s.Tracked {
		s.Tracked = false
		s.Invalidation++
	}
	if g.Fence {
		s.Lease = false
	}
}

// overtake marks a load, and drops the copy.
func (g *Guards) overtake(s *State) {
	s.Invalidated = true
	if g.Evicts {
		s.Local = 0
	}
}

// load are the steps of a load, or of a refresh.
func (g *Guards) load(s *State, steps search.Steps[State]) {
	switch s.Load {
	case idle:
		steps.Within(&s.Left.Loads, "", "a load begins: the lease is taken", func(s *State) {
			s.Load, s.Lease, s.Tracked, s.Invalidated = begun, true, true, false
		})
	case begun:
		steps.Take("", "the loader reads the source", func(s *State) { s.Load, s.Value = loaded, s.Truth })
	case loaded:
		steps.Take("", "the load's callers are answered, its fill is on its way", func(s *State) {
			s.Load = returned
			if s.Value >= s.Least || !s.Invalidated { // R10: else its callers load again
				s.Least = max(s.Least, s.Value)
			}
			if !s.Invalidated || !g.Register {
				s.Local = s.Value
			}
		})
	case returned:
		steps.Take("", "the fill arrives", func(s *State) {
			s.Load = answered
			if s.Stored = s.Lease; s.Stored {
				s.Entry, s.Lease, s.Tracked = s.Value, false, true
			}
		})
	case answered:
		steps.Take("", "the fill's answer is handled", func(s *State) {
			if !s.Stored || s.Invalidated && g.Register {
				s.Local = 0
			}
			s.Load, s.Value, s.Invalidated, s.Stored = idle, 0, false, false
		})
	}
}

// set are the steps of this process's own Set.
func (g *Guards) set(s *State, steps search.Steps[State]) {
	switch s.Set {
	case idle:
		steps.Within(&s.Left.Sets, "", "the key is set", func(s *State) {
			s.Set = returned
			g.overtake(s)
		})
	case returned:
		steps.Take("", "the Set arrives", func(s *State) {
			s.Truth++ // loaders find it from here on
			s.Set, s.SetValue = answered, s.Truth
			g.write(s, s.SetValue)
		})
	case answered:
		steps.Take("", "the Set returns", func(s *State) {
			s.Least = max(s.Least, s.SetValue)
			s.Set, s.SetValue = idle, 0
			g.overtake(s)
		})
	}
}

// read are the steps of a read that goes to the server.
func (g *Guards) read(s *State, i int, steps search.Steps[State]) {
	onItsWay := g.OwnFill && s.Load >= returned
	switch s.Reads[i].Phase {
	case idle:
		if onItsWay && s.Invalidated && g.Overtaken {
			return // it waits
		}
		steps.Within(&s.Left.Reads, "", "a read that is not kept is called", func(s *State) {
			if onItsWay {
				s.Bad = s.Value < s.Least
				return
			}
			s.Reads[i] = Read{Phase: begun, Need: s.Least}
		})
	case begun:
		steps.Take("", "the server answers the read", func(s *State) {
			r := &s.Reads[i]
			r.Phase, r.Value = answered, s.Entry
		})
	case answered:
		steps.Take("", "the read returns", func(s *State) {
			r := s.Reads[i]
			s.Bad = r.Value < r.Need
			s.Reads[i] = Read{}
		})
	}
}
