package model

import (
	"fmt"
	"strings"
	"unsafe"

	"github.com/zeebo/xxh3"
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

// Result is what a search found.
type Result struct {
	States int
	// Bad is the invariant that can be violated, or empty, and Schedule the
	// shortest way there.
	Bad      string
	Schedule []string
	// Complete: every reachable state was looked at.
	Complete bool
}

// key identifies a state by a 128-bit hash of its bytes, of which two states are
// not going to have the same.
func (s *State) key() xxh3.Uint128 {
	return xxh3.Hash128((*[unsafe.Sizeof(State{})]byte)(unsafe.Pointer(s))[:])
}

// Search looks at every state that is reachable within the limits, nearest first,
// until one violates an invariant, or there are more than most.
func Search(g Guards, l Limits, most int) Result {
	type origin struct {
		from int32
		how  string
	}
	seen := map[xxh3.Uint128]struct{}{}
	origins := []origin{{}}
	here, next := []State{start(l)}, []State(nil)
	for first := 0; len(here) > 0; here, next = next, here[:0] {
		bad := -1
		begin := len(origins)
		for at := range here {
			g.steps(&here[at], func(how string, n State) {
				g.check(&n)
				key := n.key()
				if _, known := seen[key]; known {
					return
				}
				seen[key] = struct{}{}
				if n.Bad != (Bad{}) && bad < 0 {
					bad = len(origins)
				}
				origins = append(origins, origin{int32(first + at), how})
				next = append(next, n)
			})
		}
		if bad >= 0 {
			r := Result{States: len(origins), Bad: next[bad-begin].Bad.String()}
			for at := int32(bad); at != 0; at = origins[at].from {
				r.Schedule = append([]string{origins[at].how}, r.Schedule...)
			}
			return r
		}
		if len(origins) > most {
			return Result{States: len(origins)}
		}
		first = begin
	}
	return Result{States: len(origins), Complete: true}
}

func (r Result) String() string {
	if r.Bad == "" {
		return fmt.Sprintf("%d states, no violation (complete: %t)", r.States, r.Complete)
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%s, after\n", r.Bad)
	for i, what := range r.Schedule {
		fmt.Fprintf(&out, "  %2d  %s\n", i+1, what)
	}
	return out.String()
}
