package tierdebug

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/tiercache/tiercache/tier"
)

// sentence is one thing that an operator should know.
type sentence struct {
	Level string `json:"level"` // ok, note, bad
	Text  string `json:"text"`
}

// inWords says what works and what does not, the overall state first and the bound on staleness second.
func inWords(h *tier.Health, stats *tier.Stats, most time.Duration, now time.Time) []sentence {
	var all []sentence
	say := func(level, format string, args ...any) {
		all = append(all, sentence{level, showUpTo(mostSaid, fmt.Sprintf(format, args...))})
	}
	if h.Healthy {
		say("ok", "Everything works.")
	} else {
		say("bad", "Not everything works. Reads are answered all the same, by loaders if need be.")
	}
	age := brief(h.Staleness)
	switch {
	case h.Idle && !h.ServesLocal:
		say("note", "Nothing has been read for a minute, so the change log is read only now and then. The next read proves the local copies first: it sees no value that is older than %v.", most)
	case h.ServesLocal:
		say("ok", "A local copy can be older than the truth by %s now, since the change log was last read that long ago. Changes mostly come within a millisecond, by push.", age)
	case h.Staleness == math.MaxInt64:
		say("bad", "No local copies are served: the connection over which the change log was read is lost. Reads go to the remote tier, or to loaders.")
	default:
		say("bad", "No local copies are served: the change log was last read %s ago, and the maximum is %v. Reads go to the remote tier, or to loaders.", age, most)
	}
	switch {
	case h.RemoteErr != nil && !h.AwaySince.IsZero():
		say("bad", "The remote tier is away since %s (%s). Reads go to loaders at once; Set and Delete fail. The cause: %v", h.AwaySince.UTC().Format(time.TimeOnly), brief(now.Sub(h.AwaySince)), h.RemoteErr)
	case h.RemoteErr != nil:
		say("bad", "The remote tier does not answer, or not as it should: %v", h.RemoteErr)
	}
	if h.Outages > 0 {
		say("note", "Outages of the remote tier since the store was opened: %d.", h.Outages)
	}
	if h.FailedHeartbeats > 0 {
		say("bad", "Heartbeats that failed in a row: %d.", h.FailedHeartbeats)
	}
	if h.UndeliveredAll {
		say("bad", "An invalidation of everything is not recorded yet. It holds in this process, and is sent again until it is.")
	}
	if h.Undelivered > 0 {
		say("bad", "Changes of this process that are not recorded yet: %d. They hold in this process, and are sent again until they are.", h.Undelivered)
	}
	for _, kind := range slices.Sorted(maps.Keys(h.Refused)) {
		say("bad", "The server refuses %s: %v", kind, h.Refused[kind])
	}
	for _, w := range h.Warnings {
		say("note", "%s", w)
	}
	if stats.Panics > 0 {
		say("bad", "Panics in the library: %d. Please report what was logged.", stats.Panics)
	}
	return all
}
