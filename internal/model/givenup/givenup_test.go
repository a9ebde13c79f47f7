package givenup

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/model/modeltest"
	"github.com/tiercache/tiercache/internal/model/search"
)

// worlds are the bounds of the complete searches.
var worlds = map[string]Limits{
	"two sets":                  {Kinds: [3]int8{Set, Set}, Time: 3, Resends: 1, Queued: true},
	"three sets":                {Kinds: [3]int8{Set, Set, Set}, Time: 2, Resends: 1},
	"a delete, a set":           {Kinds: [3]int8{Delete, Set}, Time: 3, Resends: 1, Queued: true},
	"a set, a delete, a set":    {Kinds: [3]int8{Set, Delete, Set}, Time: 2, Resends: 1},
	"a fill, a set":             {Kinds: [3]int8{Fill, Set}, Time: 3, Resends: 1},
	"a fill, a set, a delete":   {Kinds: [3]int8{Fill, Set, Delete}, Time: 2},
	"the key moves":             {Kinds: [3]int8{Set, Set}, Time: 4, Moves: 1, Resends: 1},
	"the key moves, a delete":   {Kinds: [3]int8{Delete, Set}, Time: 3, Moves: 1, Queued: true},
	"the clock set back a day":  {Kinds: [3]int8{Set, Set}, Time: 3, Jumps: 1, Jump: 30, Resends: 1},
	"the clock set ahead a day": {Kinds: [3]int8{Set, Set}, Time: 3, Jumps: 1, Jump: -30, Resends: 1},
}

// large are worlds that take minutes.
var large = map[string]Limits{
	"three sets":              {Kinds: [3]int8{Set, Set, Set}, Time: 3, Resends: 1},
	"a set, a delete, a set":  {Kinds: [3]int8{Set, Delete, Set}, Time: 3, Resends: 1},
	"a fill, a set, a delete": {Kinds: [3]int8{Fill, Set, Delete}, Time: 3, Resends: 1},
	"the key moves, three":    {Kinds: [3]int8{Set, Set, Set}, Time: 2, Moves: 1},
	"two sets, moves, clock":  {Kinds: [3]int8{Set, Set}, Time: 4, Moves: 1, Jumps: 1, Jump: 30},
}

func TestNoWriteIsPerformedAfterALaterOne(t *testing.T) {
	for name, world := range worlds {
		t.Run(name, func(t *testing.T) {
			modeltest.Holds(t, Search(search.AllOf[Guards](), world, modeltest.Most()))
		})
	}
}

func TestNoWriteIsPerformedAfterALaterOneInLargeWorlds(t *testing.T) {
	modeltest.Large(t)
	for name, world := range large {
		t.Run(name, func(t *testing.T) {
			modeltest.Holds(t, Search(search.AllOf[Guards](), world, modeltest.Most()))
		})
	}
}

func TestWithoutAnyOneGuardAWriteIsPerformedTooLate(t *testing.T) {
	for _, h := range []struct{ guards, world string }{
		{"Before", "two sets"},
		{"Lower", "two sets"},
		{"Deadline Linger", "two sets"},
		{"Window", "the clock set back a day"},
		{"Linger", "two sets"},
		{"Withdraw", "two sets"},
		{"Once", "two sets"},
		{"OwnClock", "the key moves"},
		{"OwnClock", "the key moves, a delete"},
		{"Deletes", "a delete, a set"},
		{"Lease", "a fill, a set"},
	} {
		t.Run(h.guards+"/"+h.world, func(t *testing.T) {
			modeltest.Breaks(t, Search(search.Without[Guards](strings.Fields(h.guards)...), worlds[h.world], modeltest.Most()))
		})
	}
}

// A call that lingers until the time of its write is over may take longer than its
// deadline: the deadline is in that time so that it need not.
func TestTheDeadlineIsCautionWhereCallsLinger(t *testing.T) {
	modeltest.Holds(t, Search(search.Without[Guards]("Deadline"), worlds["two sets"], modeltest.Most()))
}

// Without the window every step back lets a write pass that is late by no more than the
// step. With it none does that is longer by what a call may last.
func TestTheWindowNarrowsWhatAStepBackOpens(t *testing.T) {
	const latest = 3 // what the time of the world allows
	for _, jump := range []int8{1, 4, 5, 8} {
		world := Limits{Kinds: [3]int8{Set, Set}, Time: latest, Jumps: 1, Jump: jump}
		passes := func(g Guards) bool { return Search(g, world, 1_000_000).Violation != "" }
		require.True(t, passes(search.Without[Guards]("Window")), "a step back of %d", jump)
		require.Equal(t, jump < latest+wait, passes(search.AllOf[Guards]()), "a step back of %d", jump)
	}
}
