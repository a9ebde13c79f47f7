package ownreads

import (
	"testing"

	"github.com/tiercache/tiercache/internal/model/modeltest"
	"github.com/tiercache/tiercache/internal/model/search"
)

var worlds = map[string]Limits{
	"refreshes":             {Loads: 3, Reads: 3, Changes: 3, Warm: true},
	"loads, foreign sets":   {Loads: 2, Reads: 3, Foreign: 2, Warm: true},
	"loads, own sets":       {Loads: 2, Reads: 3, Sets: 2, Warm: true},
	"loads, sets, no entry": {Loads: 2, Reads: 3, Sets: 1, Foreign: 1},
}

func TestNoReadGoesBack(t *testing.T) {
	for name, world := range worlds {
		t.Run(name, func(t *testing.T) {
			modeltest.Holds(t, Search(search.AllOf[Guards](), world, modeltest.Most()))
		})
	}
}

func TestNoReadGoesBackInALargeWorld(t *testing.T) {
	modeltest.Large(t)
	world := Limits{Loads: 3, Reads: 4, Sets: 2, Foreign: 2, Warm: true}
	modeltest.Holds(t, Search(search.AllOf[Guards](), world, modeltest.Most()))
}

func TestWithoutAnyOneGuardAReadGoesBack(t *testing.T) {
	for _, h := range []struct{ guard, world string }{
		{"OwnFill", "refreshes"},
		{"OwnFill", "loads, sets, no entry"},
		{"Overtaken", "loads, own sets"},
		{"Fence", "loads, own sets"},
		{"Evicts", "loads, own sets"},
		{"Register", "loads, own sets"},
	} {
		t.Run(h.guard+"/"+h.world, func(t *testing.T) {
			modeltest.Breaks(t, Search(search.Without[Guards](h.guard), worlds[h.world], modeltest.Most()))
		})
	}
}
