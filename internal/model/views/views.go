// Package views models what shares the keys of one namespace: a plain view and one
// that is local only, in one process; and a store that tracks keys beside one that
// does not, under one prefix.
//
// There are two processes. Each opens its store, with tracking or without, makes views
// of the namespace, and reads and sets the key through them. A process has one local
// copy of the key, whichever view made it. The server tells the processes that track
// it that the key changed; the log tells of the changes of stores without tracking.
//
// # What it shows
//
// With all [Guards], which refuse the second view of another kind and the second
// store of another mode, no view serves for good what is older than a Set. Without
// any one of them one does. Both are tests.
//
// # What it does not show
//
// A Set is one step, and so is a read; what is on its way is an invalidation, and what the
// log has that a process has not read. That this comes within the maximum staleness
// is package model's.
package views

import "github.com/tiercache/tiercache/internal/model/search"

// Guards are what the protocol does against views and stores that do not hear of
// each other's changes.
type Guards struct {
	Kinds bool // the second view of a namespace that is local only where the first is not, or the reverse, is refused
	Drop  bool // a view of another kind than the one before, which is no longer reachable, drops what that kept
	Modes bool // a store without tracking beside one with it, or the reverse, is refused: the mode is in the log
}

// Limits bound the search: how often each thing may happen.
type Limits struct {
	Sets, Reads int8
	Forgets     int8 // of views that are no longer reachable
	LocalOnly   bool // not a limit: processes make views that are local only
	Untracked   bool // not a limit: processes open stores without tracking
}

// Kinds of views.
const (
	plain = iota
	localOnly
)

// Modes of stores; 0 is not open.
const (
	tracking = 1 + iota
	untracked
)

// Process is one store. Values are versions plus 1, or 0 for none.
type Process struct {
	Mode         int8
	Views        [2]bool
	Last         int8 // 1 + the kind of the view that was made last
	Local        int8 // the copy
	Heard        int8 // of the log
	CopyAsOf     int8
	Tracked      bool // the server tells of the key's next change
	Invalidation bool // on its way
	LocalSet     int8 // the latest Set through its local-only view
	Overtaken    bool // such a Set was the latest that this process itself has made
}

// State is everything there is.
type State struct {
	Mode   int8 // in the log
	Tick   int8 // of the key's latest change there
	Entry  int8
	Set    int8 // the latest version that was set in the remote tier
	Latest int8 // version of any kind
	P      [2]Process
	Left   Limits
	Bad    int8 // 1 + the process; 3 more if the view is local only
}

// Search looks at every state within the limits.
func Search(g Guards, l Limits, most int) search.Result {
	return search.Run(search.Model[State]{
		Start:     []State{{Left: l}},
		Next:      g.next,
		Violation: violation,
	}, most)
}

var (
	names   = [2]string{"A", "B"}
	opened  = [...]string{tracking: "opens a store", untracked: "opens a store without tracking"}
	made    = [...]string{plain: "makes a view of the namespace", localOnly: "makes a local-only view of the namespace"}
	forgets = [...]string{plain: "no longer reaches the view", localOnly: "no longer reaches the local-only view"}
	reads   = [...]string{plain: "reads through the view", localOnly: "reads through the local-only view"}
	sets    = [...]string{plain: "sets through the view", localOnly: "sets through the local-only view"}
)

func violation(s *State) string {
	switch {
	case s.Bad == 0:
		return ""
	case s.Bad > 3:
		return names[s.Bad-4] + " reads, through the local-only view, what is older than its own Set there"
	}
	return names[s.Bad-1] + " reads what is older than a Set, and nothing that tells of it is on its way"
}

func (g Guards) next(s *State, step search.Step[State]) {
	for i := range s.P {
		steps, p := search.From(s, step), &s.P[i]
		if p.Mode == 0 {
			g.opens(s, i, steps)
			continue
		}
		if p.Invalidation {
			steps.Take(names[i], "is told that the key changed", func(s *State) { s.P[i].Invalidation, s.P[i].Local = false, 0 })
		}
		if p.Heard < s.Tick {
			steps.Take(names[i], "reads the log", func(s *State) { s.P[i].Heard = s.Tick })
		}
		for kind := range p.Views {
			if kind == localOnly && !s.Left.LocalOnly {
				continue
			}
			if !p.Views[kind] {
				if !g.Kinds || !p.Views[1-kind] {
					steps.Take(names[i], made[kind], func(s *State) {
						p := &s.P[i]
						if g.Drop && p.Last != int8(kind)+1 {
							p.Local, p.CopyAsOf, p.Overtaken = 0, 0, false
						}
						p.Views[kind], p.Last = true, int8(kind)+1
					})
				}
				continue
			}
			steps.Within(&s.Left.Forgets, names[i], forgets[kind], func(s *State) { s.P[i].Views[kind] = false })
			steps.Within(&s.Left.Reads, names[i], reads[kind], func(s *State) { s.read(i, kind) })
			steps.Within(&s.Left.Sets, names[i], sets[kind], func(s *State) { s.set(i, kind) })
		}
	}
}

// opens are the ways to open a store.
func (g Guards) opens(s *State, i int, steps search.Steps[State]) {
	for _, mode := range [...]int8{tracking, untracked} {
		if mode == untracked && !s.Left.Untracked || g.Modes && s.Mode != 0 && s.Mode != mode {
			continue
		}
		steps.Take(names[i], opened[mode], func(s *State) { s.Mode, s.P[i].Mode = mode, mode })
	}
}

// set is a Set of a process through a view.
func (s *State) set(i, kind int) {
	s.Latest++
	p := &s.P[i]
	p.Local, p.CopyAsOf, p.Overtaken = 0, 0, kind == localOnly
	if kind == localOnly {
		p.Local, p.LocalSet = s.Latest+1, s.Latest
		return
	}
	s.Set, s.Entry = s.Latest, s.Latest+1
	for j := range s.P {
		if q := &s.P[j]; q.Tracked {
			q.Tracked, q.Invalidation = false, j != i
		}
	}
	if p.Mode == untracked {
		s.Tick++
	}
}

// read is a read of a process through a view: of the local copy, of the server's entry,
// or of the source, which has the latest version.
func (s *State) read(i, kind int) {
	p := &s.P[i]
	if p.Local == 0 || p.Mode == untracked && p.CopyAsOf < p.Heard {
		p.CopyAsOf = p.Heard
		if kind == localOnly {
			p.Local = s.Latest + 1
		} else {
			if s.Entry == 0 {
				s.Entry = s.Latest + 1
			}
			p.Local = s.Entry
			p.Tracked = p.Mode == tracking
		}
	}
	told := !p.Invalidation && p.Heard == s.Tick
	switch got := p.Local - 1; {
	case kind == plain && got < s.Set && told && !p.Overtaken:
		s.Bad = int8(i) + 1
	case kind == localOnly && p.Overtaken && p.Last == localOnly+1 && got < p.LocalSet:
		s.Bad = int8(i) + 4
	}
}
