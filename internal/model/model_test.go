package model

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/model/modeltest"
	"github.com/tiercache/tiercache/internal/model/search"
)

// worlds are the bounds of the complete searches: what each of them leaves out,
// another has.
var worlds = map[string]Limits{
	"messages lost":                      {Invalidations: 1, Others: two(0, 1), Steps: 2, Reads: two(0, 1), Fresh: two(0, 1), Beats: two(0, 1)},
	"calls that fail":                    {Invalidations: 1, Fails: 1, Steps: 2, Reads: two(2, 0), Beats: two(1, 0)},
	"two changes":                        {Invalidations: 2, Steps: 2, Reads: two(0, 1), Fresh: two(0, 1), Beats: two(0, 2)},
	"callers that share":                 {Invalidations: 1, Steps: 2, Reads: two(1, 1), Shares: two(1, 1), Beats: two(0, 1)},
	"a connection lost":                  {Invalidations: 1, Disconnects: two(0, 1), Steps: 2, Reads: two(0, 2), Beats: two(0, 2)},
	"the log deleted":                    {Invalidations: 1, LogLosses: 1, Steps: 2, Reads: two(0, 2), Beats: two(0, 2)},
	"the log deleted, A reads":           {Invalidations: 1, LogLosses: 1, Steps: 1, Reads: two(1, 0), Fresh: two(0, 1), Beats: two(1, 0)},
	"a lagging replica promoted":         {Warm: true, Invalidations: 1, Others: two(0, 1), Failovers: 1, Steps: 2, Reads: two(0, 1)},
	"a failover, two changes":            {Invalidations: 2, Failovers: 1, Reads: two(1, 0), Shares: two(1, 0)},
	"a failover, a call fails":           {Warm: true, Invalidations: 1, Failovers: 1, Fails: 1, Reads: two(2, 0), Beats: two(1, 0)},
	"sets and leases":                    {Sets: two(2, 0), Expiries: 1, Steps: 2, Reads: two(1, 1)},
	"a lease expires":                    {Sets: two(1, 0), Expiries: 1, Steps: 2, Reads: two(1, 2)},
	"a set and an invalidation":          {Sets: two(1, 0), Invalidations: 1, Steps: 2, Reads: two(0, 2), Beats: two(0, 1)},
	"a set, a failover":                  {Warm: true, Sets: two(1, 0), Failovers: 1, Reads: two(1, 1), Steps: 2},
	"a set, a failover, the log deleted": {Warm: true, Sets: two(1, 0), Failovers: 1, LogLosses: 1, Reads: two(1, 0), Steps: 1},
	"a split":                            {Split: true, Warm: true, Invalidations: 1, Others: two(0, 1), Beats: two(1, 0), Fresh: two(0, 1)},
	"a split, both read":                 {Split: true, Warm: true, Invalidations: 1, Others: two(0, 1), Fresh: two(0, 1), Reads: two(1, 0)},
	"a set, a lost connection":           {Sets: two(1, 0), Disconnects: two(0, 1), Steps: 2, Reads: two(1, 1), Beats: two(0, 1)},

	"messages wait":               {Paced: true, Waits: 2, Warm: true, Invalidations: 1, Others: two(0, 1), Steps: 2, Reads: two(0, 1)},
	"messages wait, two changes":  {Paced: true, Waits: 2, Invalidations: 2, Others: two(0, 1), Steps: 1, Reads: two(0, 1)},
	"messages wait, a connection": {Paced: true, Waits: 2, Invalidations: 1, Others: two(0, 1), Disconnects: two(0, 1), Steps: 1, Reads: two(0, 1)},
	"messages wait, a failover":   {Paced: true, Waits: 1, Warm: true, Invalidations: 1, Others: two(0, 1), Failovers: 1, Steps: 1},
	"messages wait, the log goes": {Paced: true, Waits: 2, Invalidations: 1, Others: two(0, 1), LogLosses: 1, Steps: 1, Reads: two(0, 1)},
	"messages wait, a split":      {Paced: true, Waits: 1, Split: true, Warm: true, Invalidations: 1, Others: two(0, 1), Beats: two(1, 0), Reads: two(0, 1)},

	"sets given up":                                 {Warm: true, Sets: two(1, 1), GiveUps: 1, Reads: two(1, 2), Beats: two(0, 1), Steps: 2},
	"a delete given up":                             {Warm: true, Sets: two(0, 1), Deletes: two(1, 0), GiveUps: 2, Expiries: 1, Reads: two(1, 1), Steps: 1},
	"given up, connection lost":                     {Warm: true, Sets: two(1, 1), GiveUps: 1, Disconnects: two(1, 0), Reads: two(1, 1), Beats: two(0, 1)},
	"an image is loaded":                            {Warm: true, Sets: two(1, 0), Images: 1, Reloads: 1, Reads: two(1, 1), Beats: two(0, 1), Steps: 1},
	"an image is loaded twice within one heartbeat": {Warm: true, Sets: two(2, 0), Images: 2, Reloads: 2, Fresh: two(0, 1), Beats: two(1, 0)},
	"a machine is set back":                         {Warm: true, Sets: two(1, 0), Images: 1, Rollbacks: 1, Reads: two(1, 1), Beats: two(1, 1), Steps: 1},

	"suspended, a set and a fill":          {Suspend: true, Sets: two(1, 0), Disconnects: two(0, 1), Steps: 2, Reads: two(0, 3), Beats: two(0, 1)},
	"suspended, both lose connections":     {Suspend: true, Warm: true, Sets: two(1, 0), Disconnects: two(1, 1), Steps: 2, Reads: two(1, 2), Beats: two(0, 1)},
	"suspended, twice":                     {Suspend: true, Warm: true, Sets: two(1, 0), Disconnects: two(0, 2), Steps: 2, Reads: two(0, 3), Beats: two(0, 2)},
	"suspended, an invalidation":           {Suspend: true, Warm: true, Invalidations: 1, Disconnects: two(0, 1), Steps: 2, Reads: two(0, 2), Beats: two(0, 1)},
	"suspended, a failover":                {Suspend: true, Warm: true, Sets: two(1, 0), Failovers: 1, Reads: two(0, 3), Steps: 2, Beats: two(0, 1)},
	"suspended, the log deleted":           {Suspend: true, Warm: true, Invalidations: 1, LogLosses: 1, Disconnects: two(0, 1), Reads: two(0, 2), Steps: 2, Beats: two(0, 1)},
	"suspended, a machine is set back":     {Suspend: true, Warm: true, Sets: two(1, 0), Images: 1, Rollbacks: 1, Reads: two(0, 2), Beats: two(1, 2), Steps: 2},
	"suspended, an image is loaded":        {Suspend: true, Warm: true, Sets: two(1, 0), Images: 1, Reloads: 1, Reads: two(0, 2), Beats: two(0, 1), Steps: 1},
	"suspended, in the background":         {Suspend: true, Warm: true, Sets: two(1, 0), Disconnects: two(0, 2), Steps: 2, Reads: two(0, 2), Beats: two(0, 2), Backs: two(0, 1)},
	"suspended, a fill, in the background": {Suspend: true, Sets: two(1, 0), Disconnects: two(0, 1), Steps: 2, Reads: two(0, 1), Beats: two(0, 2), Backs: two(0, 1)},
	"suspended, a set that is given up":    {Suspend: true, Warm: true, Sets: two(1, 1), GiveUps: 1, Disconnects: two(0, 1), Reads: two(0, 2), Beats: two(0, 1), Steps: 2},
}

// large are worlds that take minutes, and gigabytes.
var large = map[string]Limits{
	"messages wait":             {Paced: true, Waits: 2, Invalidations: 1, Others: two(1, 1), Steps: 1, Fresh: two(0, 1), Beats: two(0, 1)},
	"messages wait, a failover": {Paced: true, Waits: 1, Warm: true, Invalidations: 1, Others: two(1, 1), Failovers: 1, Agree: true, Fresh: two(0, 1)},
	"a failover, both change":   {Warm: true, Invalidations: 1, Others: two(1, 1), Failovers: 1, Agree: true, Fresh: two(0, 1)},
	"messages lost":             {Invalidations: 1, Others: two(0, 1), Steps: 2, Reads: two(0, 2), Fresh: two(0, 1), Beats: two(0, 1)},
	"two changes":               {Invalidations: 2, Steps: 2, Reads: two(0, 2), Fresh: two(0, 1), Beats: two(0, 2)},
	"the log deleted, A reads":  {Invalidations: 1, LogLosses: 1, Steps: 1, Reads: two(2, 0), Fresh: two(0, 1), Beats: two(1, 0)},
	"sets and leases":           {Sets: two(2, 0), Expiries: 1, Steps: 2, Reads: two(1, 1), Beats: two(0, 1)},
	"a lease expires":           {Sets: two(1, 0), Expiries: 1, Steps: 2, Reads: two(1, 2), Beats: two(0, 1)},
	"a split":                   {Split: true, Warm: true, Invalidations: 1, Others: two(1, 1), Beats: two(1, 0), Fresh: two(0, 1)},
	"a set, a lost connection":  {Sets: two(1, 0), Disconnects: two(1, 1), Steps: 2, Reads: two(1, 2), Beats: two(0, 1)},
	"given up":                  {Sets: two(1, 1), GiveUps: 2, Expiries: 1, Steps: 2, Reads: two(1, 1), Beats: two(0, 1)},
	"an image is loaded":        {Warm: true, Sets: two(1, 0), Images: 1, Reloads: 1, Reads: two(1, 1), Beats: two(0, 1), Steps: 2},
	"a machine is set back":     {Warm: true, Sets: two(1, 0), Images: 1, Rollbacks: 1, Reads: two(1, 2), Beats: two(1, 2), Steps: 2},
	"suspended, sets":           {Suspend: true, Sets: two(1, 1), Disconnects: two(0, 1), Steps: 2, Reads: two(1, 2), Beats: two(0, 1)},
	"suspended, both changes":   {Suspend: true, Warm: true, Sets: two(1, 0), Invalidations: 1, Disconnects: two(0, 1), Steps: 2, Reads: two(0, 2), Beats: two(0, 1)},
	"suspended, a failover":     {Suspend: true, Warm: true, Invalidations: 1, Failovers: 1, Reads: two(0, 3), Steps: 1, Beats: two(1, 1)},
	"suspended, a split":        {Suspend: true, Split: true, Warm: true, Invalidations: 1, Others: two(0, 1), Disconnects: two(0, 1), Reads: two(0, 3), Beats: two(1, 0)},
}

// open are worlds in which an invariant is violated: what the protocol cannot find
// out, and docs/faults.md says so.
var open = map[string]Limits{
	"an image of after a process's last delta":      {Unseen: true, Warm: true, Sets: two(1, 0), Images: 1, Rollbacks: 1, Reads: two(1, 0), Steps: 1},
	"a lagging replica whose clock is behind":       {Warm: true, Invalidations: 1, Others: two(1, 1), Failovers: 1, Fresh: two(0, 1)},
	"a flush push that is lost with its connection": {Warm: true, Sets: two(1, 0), Images: 1, Reloads: 1, Disconnects: two(0, 1), Reads: two(0, 1), Steps: 2},
}

// deep are worlds too large to be searched to the end, in which holes show.
var deep = map[string]Limits{
	"a split, the log deleted": {Split: true, LogLosses: 1, Invalidations: 1, Others: two(0, 1), Reads: two(1, 1)},
}

func two(a, b int8) [2]int8 { return [2]int8{a, b} }

func TestNoOrderOfEventsViolatesAnInvariant(t *testing.T) {
	for name, limits := range worlds {
		t.Run(name, func(t *testing.T) {
			modeltest.Holds(t, Search(All(), limits, modeltest.Most()))
		})
	}
}

func TestNoOrderOfEventsViolatesAnInvariantInLargeWorlds(t *testing.T) {
	modeltest.Large(t)
	for name, limits := range large {
		t.Run(name, func(t *testing.T) {
			modeltest.Holds(t, Search(All(), limits, modeltest.Most()))
		})
	}
}

func TestWhatCannotBeFoundOut(t *testing.T) {
	for name, limits := range open {
		t.Run(name, func(t *testing.T) {
			modeltest.Breaks(t, Search(All(), limits, modeltest.Most()))
		})
	}
}

// holes are the guards one by one, and a world that shows what each is for.
var holes = []struct{ guards, world string }{
	{"JudgeEntries", "calls that fail"},
	{"AsOfFirst", "two changes"},
	{"Distrust", "calls that fail"},
	{"ApplyOwn", "calls that fail"},
	{"GapRead", "messages lost"},
	{"GapRead", "messages wait"},
	{"ProofGate", "two changes"},
	{"ProofFromSent", "two changes"},
	{"Epoch", "a set, a lost connection"},
	{"DeltaIfOld", "two changes"},
	{"FreshDelta", "two changes"},
	{"Incarnation", "the log deleted"},
	{"NewIncarnation", "the log deleted"},
	{"DeltaBehind Witness", "a lagging replica promoted"},
	{"Witness", "a lagging replica promoted"},
	{"Witness", "a split, both read"},
	{"Witnesses", "a split, both read"},
	{"Adopt", "a split, the log deleted"},
	{"Histories", "a set, a failover"},
	{"LostProof", "a set, a failover"},
	{"Lease", "sets and leases"},
	{"Register", "sets and leases"},
	{"InvalidationEvicts", "a set, a lost connection"},
	{"CheckShared", "callers that share"},
	{"ProveShared", "callers that share"},
	{"ProofOfRead", "callers that share"},
	{"GiveUp", "sets given up"},
	{"GiveUp", "given up, connection lost"},
	{"FlushPush", "an image is loaded"},
	{"FlushProof", "an image is loaded"},
	{"Counters", "a machine is set back"},
	{"Counters", "suspended, a machine is set back"},
	{"Histories", "suspended, a failover"},
	{"GiveUp", "suspended, a set that is given up"},
	{"SameWrite", "suspended, both lose connections"},
	{"JudgeAgain", "suspended, an invalidation"},
	{"TrackAgain", "suspended, both lose connections"},
	{"SameEpoch", "suspended, twice"},
	{"OwesNothing", "suspended, a set and a fill"},
	{"Overtaken", "suspended, a fill, in the background"},
	{"SameEpoch", "suspended, in the background"},
}

func TestWithoutAnyOneGuardAnInvariantIsViolated(t *testing.T) {
	for _, h := range holes {
		t.Run(h.guards+"/"+h.world, func(t *testing.T) {
			world, there := worlds[h.world]
			if !there {
				world, there = deep[h.world]
			}
			require.True(t, there, "there is no such world")
			modeltest.Breaks(t, Search(search.Without[Guards](strings.Fields(h.guards)...), world, modeltest.Most()))
		})
	}
}

// Four guards can be missing here without harm. A log that ends too early is also
// denied by its witness, for a change as for a heartbeat; but where the real protocol
// has forgotten what it knew it has no witness. And a change that was recorded into
// a log that was then lost need not be recorded again: whatever is as of the new log
// was loaded after it. And what a message of several changes passes over, many witnesses
// show over the new connection; but the real protocol has 200 of them.
func TestFourGuardsAreCaution(t *testing.T) {
	for name, world := range map[string]string{
		"DeltaBehind": "a lagging replica promoted",
		"RecordAgain": "the log deleted, A reads",
		"AppendKnown": "a split, both read",
		"Beside":      "messages wait, a failover",
	} {
		t.Run(name, func(t *testing.T) {
			modeltest.Holds(t, Search(search.Without[Guards](name), worlds[world], modeltest.Most()))
		})
	}
}
