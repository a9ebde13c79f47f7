package model

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// worlds are the bounds of the complete searches: what each of them leaves out,
// another has.
var worlds = map[string]Limits{
	"messages lost":                      {Invalidations: 1, Others: two(0, 1), Steps: 2, Reads: two(0, 2), Fresh: two(0, 1), Beats: two(0, 1)},
	"calls that fail":                    {Invalidations: 1, Fails: 1, Steps: 2, Reads: two(2, 0), Beats: two(1, 0)},
	"two changes":                        {Invalidations: 2, Steps: 2, Reads: two(0, 2), Fresh: two(0, 1), Beats: two(0, 2)},
	"callers that share":                 {Invalidations: 1, Steps: 2, Reads: two(1, 1), Shares: two(1, 1), Beats: two(0, 1)},
	"a connection lost":                  {Invalidations: 1, Disconnects: two(0, 1), Steps: 2, Reads: two(0, 2), Beats: two(0, 2)},
	"the log deleted":                    {Invalidations: 1, LogLosses: 1, Steps: 2, Reads: two(0, 2), Beats: two(0, 2)},
	"the log deleted, A reads":           {Invalidations: 1, LogLosses: 1, Steps: 1, Reads: two(2, 0), Fresh: two(0, 1), Beats: two(1, 0)},
	"a lagging replica promoted":         {Warm: true, Invalidations: 1, Others: two(0, 1), Failovers: 1, Steps: 2, Reads: two(0, 1)},
	"a failover, two changes":            {Invalidations: 2, Failovers: 1, Reads: two(1, 0), Shares: two(1, 0)},
	"a failover, a call fails":           {Warm: true, Invalidations: 1, Failovers: 1, Fails: 1, Reads: two(2, 0), Beats: two(1, 0)},
	"sets and leases":                    {Sets: 2, Expiries: 1, Steps: 2, Reads: two(1, 1), Beats: two(0, 1)},
	"a lease expires":                    {Sets: 1, Expiries: 1, Steps: 2, Reads: two(1, 2), Beats: two(0, 1)},
	"a set and an invalidation":          {Sets: 1, Invalidations: 1, Steps: 2, Reads: two(0, 2), Beats: two(0, 1)},
	"a set, a failover":                  {Warm: true, Sets: 1, Failovers: 1, Reads: two(1, 1), Steps: 2},
	"a set, a failover, the log deleted": {Warm: true, Sets: 1, Failovers: 1, LogLosses: 1, Reads: two(1, 0), Steps: 1},
	"a split":                            {Split: true, Warm: true, Invalidations: 1, Others: two(1, 1), Beats: two(1, 0), Fresh: two(0, 1)},
	"a split, both read":                 {Split: true, Warm: true, Invalidations: 1, Others: two(0, 1), Fresh: two(0, 1), Reads: two(1, 0)},
	"a set, a lost connection":           {Sets: 1, Disconnects: two(1, 1), Steps: 2, Reads: two(1, 2), Beats: two(0, 1)},
}

// deep are worlds too large to be searched to the end, in which holes show.
var deep = map[string]Limits{
	"a split, the log deleted": {Split: true, LogLosses: 1, Invalidations: 1, Others: two(0, 1), Reads: two(1, 1)},
}

func two(a, b int8) [2]int8 { return [2]int8{a, b} }

const most = 6_000_000

// complete skips searches that take long under the race detector: make test runs this
// package without it as well.
func complete(t *testing.T) {
	if raceDetector || testing.Short() {
		t.Skip("SKIPPED with the race detector and -short: it is one goroutine, and takes minutes")
	}
}

func TestNoOrderOfEventsViolatesAnInvariant(t *testing.T) {
	complete(t)
	for name, limits := range worlds {
		t.Run(name, func(t *testing.T) {
			r := Search(All(), limits, most)
			t.Log(r)
			require.Empty(t, r.Bad)
			require.True(t, r.Complete, "more than %d states", most)
		})
	}
}

// holes are the guards one by one, and a world that shows what each is for.
var holes = []struct {
	name   string
	remove func(g *Guards)
	world  string
}{
	{"JudgeEntries", func(g *Guards) { g.JudgeEntries = false }, "calls that fail"},
	{"AsOfFirst", func(g *Guards) { g.AsOfFirst = false }, "two changes"},
	{"Distrust", func(g *Guards) { g.Distrust = false }, "calls that fail"},
	{"ApplyOwn", func(g *Guards) { g.ApplyOwn = false }, "calls that fail"},
	{"GapRead", func(g *Guards) { g.GapRead = false }, "messages lost"},
	{"ProofGate", func(g *Guards) { g.ProofGate = false }, "two changes"},
	{"ProofFromSent", func(g *Guards) { g.ProofFromSent = false }, "two changes"},
	{"Epoch", func(g *Guards) { g.Epoch = false }, "a set, a lost connection"},
	{"DeltaIfOld", func(g *Guards) { g.DeltaIfOld = false }, "two changes"},
	{"FreshDelta", func(g *Guards) { g.FreshDelta = false }, "two changes"},
	{"Incarnation", func(g *Guards) { g.Incarnation = false }, "the log deleted"},
	{"NewIncarnation", func(g *Guards) { g.NewIncarnation = false }, "the log deleted"},
	{"DeltaBehind and Witness", func(g *Guards) { g.DeltaBehind, g.Witness = false, false }, "a lagging replica promoted"},
	{"Witness", func(g *Guards) { g.Witness = false }, "a lagging replica promoted"},
	{"Witness, a split", func(g *Guards) { g.Witness = false }, "a split, both read"},
	{"Witnesses", func(g *Guards) { g.Witnesses = false }, "a split, both read"},
	{"Adopt", func(g *Guards) { g.Adopt = false }, "a split, the log deleted"},
	{"Histories", func(g *Guards) { g.Histories = false }, "a set, a failover"},
	{"LostProof", func(g *Guards) { g.LostProof = false }, "a set, a failover"},
	{"Lease", func(g *Guards) { g.Lease = false }, "sets and leases"},
	{"Register", func(g *Guards) { g.Register = false }, "sets and leases"},
	{"NoticeEvicts", func(g *Guards) { g.NoticeEvicts = false }, "sets and leases"},
	{"CheckShared", func(g *Guards) { g.CheckShared = false }, "callers that share"},
	{"ProveShared", func(g *Guards) { g.ProveShared = false }, "callers that share"},
	{"ProofOfRead", func(g *Guards) { g.ProofOfRead = false }, "callers that share"},
}

func TestWithoutAnyOneGuardAnInvariantIsViolated(t *testing.T) {
	complete(t)
	for _, h := range holes {
		t.Run(h.name, func(t *testing.T) {
			g := All()
			h.remove(&g)
			world, complete := worlds[h.world]
			if !complete {
				world = deep[h.world]
			}
			r := Search(g, world, most)
			t.Log(r)
			require.NotEmpty(t, r.Bad, "the guard is not needed there, or the model is blind")
		})
	}
}

// Three guards can be missing here without harm. A log that ends too early is also
// denied by its witness, for a change as for a heartbeat; but where the real protocol
// has forgotten what it knew it has no witness. And a change that was recorded into
// a log that was then lost need not be recorded again: whatever is as of the new log
// was loaded after it.
func TestThreeGuardsAreCaution(t *testing.T) {
	complete(t)
	for name, c := range map[string]struct {
		remove func(g *Guards)
		world  string
	}{
		"DeltaBehind": {func(g *Guards) { g.DeltaBehind = false }, "a lagging replica promoted"},
		"RecordAgain": {func(g *Guards) { g.RecordAgain = false }, "the log deleted, A reads"},
		"AppendKnown": {func(g *Guards) { g.AppendKnown = false }, "a split, both read"},
	} {
		t.Run(name, func(t *testing.T) {
			g := All()
			c.remove(&g)
			r := Search(g, worlds[c.world], most)
			require.Empty(t, r.Bad, "%v", r)
			require.True(t, r.Complete)
		})
	}
}
