package search_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/model/search"
)

type counters struct {
	At   [2]int8
	Done bool
}

// counting has two counters go up to top each; bad is where both are never to be.
func counting(top int8, bad [2]int8) search.Model[counters] {
	return search.Model[counters]{
		Start: []counters{{}},
		Next: func(s *counters, step search.Step[counters]) {
			for i, name := range [...]string{"first", "second"} {
				if s.At[i] < top {
					n := *s
					n.At[i]++
					step(name, "goes up", n)
				}
			}
			if n := *s; !s.Done {
				n.Done = true
				step("", "it is done", n)
			}
		},
		Violation: func(s *counters) string {
			if s.At == bad && s.Done {
				return "there"
			}
			return ""
		},
	}
}

func TestEveryStateIsLookedAtOnce(t *testing.T) {
	r := search.Run(counting(3, [2]int8{9, 9}), 1000)
	require.Equal(t, search.Result{States: 4 * 4 * 2, Complete: true}, r)
}

func TestTheNearestViolationIsFoundWithItsSchedule(t *testing.T) {
	r := search.Run(counting(3, [2]int8{0, 2}), 1000)
	require.Equal(t, "there", r.Violation)
	require.Equal(t, []string{"second: goes up", "second: goes up", "it is done"}, r.Schedule)
	require.False(t, r.Complete)
}

func TestASearchThatIsGivenUpIsNotComplete(t *testing.T) {
	r := search.Run(counting(100, [2]int8{101, 0}), 50)
	require.Empty(t, r.Violation)
	require.False(t, r.Complete)
	require.Greater(t, r.States, 50)
}

func TestAStateThatBreaksAPromiseAtTheStartIsFound(t *testing.T) {
	m := counting(1, [2]int8{0, 0})
	m.Start[0].Done = true
	r := search.Run(m, 10)
	require.Equal(t, "there", r.Violation)
	require.Empty(t, r.Schedule)
}

func TestWhatIsLimitedIsDoneWhileSomeIsLeft(t *testing.T) {
	var events []string
	for s := (counters{At: [2]int8{2, 0}}); len(events) < 9; {
		given, before := s, len(events)
		search.From(&given, func(where, event string, next counters) {
			events = append(events, where+" "+event)
			s = next
		}).Within(&given.At[0], "first", "goes down", func(s *counters) { s.At[1]++ })
		require.Equal(t, counters{At: [2]int8{2 - int8(before), int8(before)}}, given, "the state stays as it is")
		if len(events) == before {
			break
		}
	}
	require.Equal(t, []string{"first goes down", "first goes down"}, events)
}

// Padding between fields is not part of a state, and would be of its hash.
func TestStatesAreMadeOfBytes(t *testing.T) {
	type padded struct {
		A int8
		B int32
	}
	require.Panics(t, func() {
		search.Run(search.Model[padded]{Start: []padded{{}}, Violation: func(*padded) string { return "" }}, 1)
	})
}

func TestWithoutTakesOutTheGuardsThatItNames(t *testing.T) {
	type guards struct{ A, B, C bool }
	require.Equal(t, guards{true, true, true}, search.AllOf[guards]())
	require.Equal(t, guards{true, false, true}, search.Without[guards]("B"))
	require.Panics(t, func() { search.Without[guards]("D") })
}
