package sideversions

import (
	"testing"

	"github.com/tiercache/tiercache/internal/model/modeltest"
	"github.com/tiercache/tiercache/internal/model/search"
)

func two(a, b int8) [2]int8 { return [2]int8{a, b} }

// worlds are the bounds of the complete searches.
var worlds = map[string]Limits{
	"sets":              {Reads: two(2, 3), Sets: two(1, 1)},
	"a set, a delete":   {Reads: two(2, 3), Sets: two(1, 0), Deletes: two(1, 0)},
	"a delete by B":     {Reads: two(2, 3), Sets: two(1, 0), Deletes: two(0, 1), Expiries: 1},
	"evicted":           {Reads: two(2, 3), Sets: two(1, 0), Evicts: 1, Expiries: 1},
	"evicted, deletes":  {Reads: two(2, 2), Deletes: two(1, 1), Evicts: 2, Expiries: 1},
	"a connection lost": {Reads: two(2, 2), Sets: two(1, 1), Evicts: 1, Resets: 1},
}

// large are worlds that take minutes.
var large = map[string]Limits{
	"connections lost": {Reads: two(2, 3), Sets: two(1, 1), Evicts: 1, Resets: 2},
	"all":              {Reads: two(2, 3), Sets: two(1, 1), Deletes: two(1, 0), Evicts: 1},
}

func TestNeitherVersionReadsOrReplacesTheOthers(t *testing.T) {
	for name, world := range worlds {
		t.Run(name, func(t *testing.T) {
			modeltest.Holds(t, Search(search.AllOf[Guards](), world, modeltest.Most()))
		})
	}
}

func TestNeitherVersionReadsOrReplacesTheOthersInLargeWorlds(t *testing.T) {
	modeltest.Large(t)
	for name, world := range large {
		t.Run(name, func(t *testing.T) {
			modeltest.Holds(t, Search(search.AllOf[Guards](), world, modeltest.Most()))
		})
	}
}

func TestWithoutAnyOneGuardAPromiseIsBroken(t *testing.T) {
	for _, h := range []struct{ guard, world string }{
		{"Link", "a set, a delete"},
		{"First", "a set, a delete"},
		{"NoWar", "a connection lost"},
		{"Lease", "a connection lost"},
		{"Register", "a connection lost"},
	} {
		t.Run(h.guard, func(t *testing.T) {
			modeltest.Breaks(t, Search(search.Without[Guards](h.guard), worlds[h.world], modeltest.Most()))
		})
	}
}

// A side entry that is stored beside another write of the base is dead anyhow, and
// the base was read before.
func TestThreeGuardsAreCaution(t *testing.T) {
	for _, guard := range []string{"Check", "Track", "OwedName"} {
		t.Run(guard, func(t *testing.T) {
			modeltest.Holds(t, Search(search.Without[Guards](guard), worlds["a set, a delete"], modeltest.Most()))
		})
	}
}
