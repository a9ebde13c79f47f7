package model

import (
	"fmt"

	"github.com/tiercache/tiercache/internal/model/search"
)

// violated notes which invariant a read of version breaks: 1, 2 or 4.
func (s *State) violated(fresh bool, version int8, p int) {
	s.Bad = Bad{2, int8(p), version}
	switch {
	case version < s.P[p].Own:
		s.Bad.Invariant = 1
	case fresh:
		s.Bad.Invariant = 4
	}
}

func (b Bad) String() string {
	return fmt.Sprintf("I%d: process %s reads version %d", b.Invariant, names[b.Process], b.Version)
}

// check asks whether a read of a local copy would break an invariant now.
func (g *Guards) check(s *State) {
	for i := range s.P {
		p := &s.P[i]
		if s.Bad == (Bad{}) && g.serves(p) && p.Local.Version < s.need(i, false) {
			s.violated(false, p.Local.Version, i)
		}
	}
}

// step receives a state that can follow.
type step = search.Step[State]

// Search looks at every state that is reachable within the limits, nearest first,
// until one violates an invariant, or there are more than most.
func Search(g Guards, l Limits, most int) search.Result {
	return search.Run(search.Model[State]{
		Start: []State{start(l)},
		Next: func(s *State, next step) {
			g.steps(s, func(where, event string, n State) {
				g.check(&n)
				next(where, event, n)
			})
		},
		Violation: func(s *State) string {
			if s.Bad == (Bad{}) {
				return ""
			}
			return s.Bad.String()
		},
	}, most)
}
