package logcopies

import (
	"testing"

	"github.com/tiercache/tiercache/internal/model/modeltest"
	"github.com/tiercache/tiercache/internal/model/search"
)

var worlds = map[string]Limits{
	"a connection lost":              {Changes: 1, Loads: 2, Beats: 2, Disconnects: 1, Steps: 3},
	"a connection lost, untracked":   {Changes: 1, Loads: 2, Beats: 2, Disconnects: 1, Steps: 3, Untracked: true},
	"two changes, untracked":         {Changes: 2, Loads: 2, Beats: 2, Disconnects: 1, Steps: 3, Untracked: true},
	"marks are discarded":            {Changes: 1, Loads: 2, Beats: 2, Disconnects: 1, Overflows: 1, Steps: 3},
	"marks are discarded, untracked": {Changes: 1, Loads: 2, Beats: 2, Overflows: 1, Steps: 3, Untracked: true},
	"the log is deleted":             {Changes: 1, Loads: 2, Beats: 2, Disconnects: 1, LogLosses: 1, Steps: 3},
	"the log is deleted, untracked":  {Changes: 1, Loads: 2, Beats: 3, LogLosses: 1, Steps: 2, Untracked: true},
}

// large are worlds that take minutes.
var large = map[string]Limits{
	"all":            {Changes: 2, Loads: 2, Beats: 2, Disconnects: 1, Overflows: 1, LogLosses: 1, Steps: 3},
	"all, untracked": {Changes: 2, Loads: 2, Beats: 2, Disconnects: 1, Overflows: 1, LogLosses: 1, Steps: 3, Untracked: true},
}

func TestNoCopyOfTheLogIsServedForLongerThanTheBound(t *testing.T) {
	for name, world := range worlds {
		t.Run(name, func(t *testing.T) {
			modeltest.Holds(t, Search(search.AllOf[Guards](), world, modeltest.Most()))
		})
	}
}

func TestNoCopyOfTheLogIsServedForLongerThanTheBoundInLargeWorlds(t *testing.T) {
	modeltest.Large(t)
	for name, world := range large {
		t.Run(name, func(t *testing.T) {
			modeltest.Holds(t, Search(search.AllOf[Guards](), world, modeltest.Most()))
		})
	}
}

func TestWithoutAnyGuardACopyOfTheLogIsServedForLonger(t *testing.T) {
	for guard, world := range map[string]string{
		"JudgeMark": "a connection lost", "AsOfThen": "a connection lost", "Generation": "marks are discarded", "FromWatermark": "a connection lost",
		"ProofGate": "a connection lost", "ProofFromSent": "a connection lost",
		"RecordAfterWrite": "a connection lost, untracked",
	} {
		t.Run(guard, func(t *testing.T) {
			modeltest.Breaks(t, Search(search.Without[Guards](guard), worlds[world], modeltest.Most()))
		})
	}
}
