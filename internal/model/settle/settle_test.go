package settle

import (
	"testing"

	"github.com/tiercache/tiercache/internal/model/modeltest"
	"github.com/tiercache/tiercache/internal/model/search"
)

// worlds are the bounds of the complete searches.
var worlds = map[string]Limits{
	"A loads":                {Lag: 3, Time: 6, ALoads: 2, BLoads: 1},
	"callers that share":     {Lag: 3, Time: 6, BLoads: 1, Waits: 1, Beats: 1, Deaths: 1},
	"B loads, A dies":        {Lag: 3, Time: 6, BLoads: 1, Beats: 2, Deaths: 1},
	"the log lost":           {Lag: 3, Time: 5, BLoads: 2, Beats: 1, Losses: 1},
	"the log lost, A loads":  {Lag: 2, Time: 4, ALoads: 1, BLoads: 1, Beats: 1, Losses: 1},
	"the clock set forwards": {Lag: 3, Time: 5, BLoads: 2, Beats: 1, Jumps: 1},
	"nothing stored, others": {Lag: 3, Time: 5, BLoads: 1, Beats: 1, Others: 1, Cold: true},
	"B starts late":          {Lag: 3, Time: 6, BLoads: 2, Beats: 1, Deaths: 1, BStarts: true},
	"a longer lag":           {Lag: 4, Time: 7, BLoads: 2},
	"a longer lag, log lost": {Lag: 4, Time: 6, BLoads: 1, Beats: 1, Losses: 1},
}

// large are worlds that take minutes, and gigabytes.
var large = map[string]Limits{
	"both load, others":       {Lag: 3, Time: 5, ALoads: 1, BLoads: 1, Beats: 1, Others: 1},
	"the log lost, A loads":   {Lag: 3, Time: 5, ALoads: 1, BLoads: 1, Beats: 1, Losses: 1},
	"B loads, A dies":         {Lag: 3, Time: 7, BLoads: 2, Beats: 2, Deaths: 1},
	"callers that share":      {Lag: 3, Time: 7, BLoads: 1, Waits: 1, Beats: 1, Deaths: 1},
	"the log lost":            {Lag: 3, Time: 6, BLoads: 2, Beats: 2, Losses: 1},
	"the clock set forwards":  {Lag: 3, Time: 6, BLoads: 2, Beats: 1, Jumps: 1},
	"the clock, the log lost": {Lag: 3, Time: 5, BLoads: 2, Beats: 1, Jumps: 1, Losses: 1},
	"B starts late":           {Lag: 3, Time: 7, BLoads: 2, Beats: 2, Deaths: 1, BStarts: true},
}

func TestNoReadGivesTheOldValueAfterTheChangeHasSettled(t *testing.T) {
	for name, world := range worlds {
		t.Run(name, func(t *testing.T) {
			modeltest.Holds(t, Search(search.AllOf[Guards](), world, modeltest.Most()))
		})
	}
}

func TestNoReadGivesTheOldValueInLargeWorlds(t *testing.T) {
	modeltest.Large(t)
	for name, world := range large {
		t.Run(name, func(t *testing.T) {
			modeltest.Holds(t, Search(search.AllOf[Guards](), world, modeltest.Most()))
		})
	}
}

func TestWithoutAnyOneGuardAReadGivesTheOldValue(t *testing.T) {
	for _, h := range []struct{ guard, world string }{
		{"Cap", "A loads"},
		{"FromBegin", "A loads"},
		{"Mono", "the clock set forwards"},
		{"SameStep", "A loads"},
		{"ReRecord", "the log lost"},
		{"Remaining", "a longer lag, log lost"},
		{"Waiter", "callers that share"},
		{"EndMin", "a longer lag"},
		{"JudgeR1", "A loads"},
		{"Gap", "nothing stored, others"},
		{"RecordAgain", "the log lost, A loads"},
		{"Unknown", "B starts late"},
	} {
		t.Run(h.guard, func(t *testing.T) {
			modeltest.Breaks(t, Search(search.Without[Guards](h.guard), worlds[h.world], modeltest.Most()))
		})
	}
}
