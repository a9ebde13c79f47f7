package tierdebug

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/invalidation"
	"github.com/tiercache/tiercache/tier/internal/inspect"
)

const (
	// mostChanges is how many are kept for pages that are opened later, and read at a time.
	mostChanges = 200
	// readBack is from when on changes are shown when the first page is opened.
	readBack = 10 * time.Minute
)

// change is one of the log.
type change struct {
	Time time.Time `json:"time"` // by the server's clock, as a rule
	Kind string    `json:"kind"` // source, namespace, key, everything, declared, rollback, bypass, lost, or more: too many to be read
	Name string    `json:"name"`
}

// follower reads the changes of the log, one piece after another. It reads the log itself, not the messages that come from it: so it
// misses nothing when those are lost, and sees the latest of several changes that one scope had within two seconds.
type follower struct {
	incarnation uint64
	tick        invalidation.Tick
}

// read returns the changes since the last call, or at first those of the last minutes. What could not be read is read by the next call.
func (f *follower) read(ctx context.Context, inside *inspect.Store) (changes []change) {
	if f.incarnation == 0 {
		var tick int64
		f.incarnation, tick = inside.Position()
		f.tick = invalidation.Tick(max(0, min(tick, time.Now().Add(-readBack).UnixMicro())))
	}
	d, err := inside.Delta(ctx, changelog.DeltaQuery{Since: f.tick, Incarnation: f.incarnation, Limit: mostChanges})
	if err != nil || d.Incarnation == 0 {
		return nil
	}
	if d.Incarnation != f.incarnation {
		*f = follower{incarnation: d.Incarnation, tick: d.Tick}
		return []change{{d.ServerTime.UTC(), "lost", "the change log was lost and begun anew: no earlier entry is believed"}}
	}
	if d.Floor > f.tick { // else it was raised to an old tick, by what was trimmed
		changes = append(changes, change{timeOf(d.Floor), "everything", ""})
	}
	if d.Overflow {
		changes = append(changes, change{timeOf(d.Tick), "more", "more changes than are shown at a time: tierctl watch prints all"})
	}
	for _, c := range d.Changes {
		if kind, name, ok := nameOf(string(c.Scope)); ok {
			changes = append(changes, change{timeOf(c.Tick), kind, show(name)})
		}
	}
	f.tick = max(f.tick, d.Tick)
	slices.SortStableFunc(changes, func(a, b change) int { return a.Time.Compare(b.Time) })
	return changes
}

// timeOf is when a tick was given, by the clock of the server that gave it.
func timeOf(t invalidation.Tick) time.Time { return time.UnixMicro(int64(t)).UTC() }

var kindNames = map[byte]string{'s': "source", 'n': "namespace", 'k': "key", 'w': "declared", 'b': "rollback"}

// nameOf reads a scope as the log spells it. A hash stands for a name of more than 64 bytes.
func nameOf(scope string) (kind, name string, ok bool) {
	if scope == "" {
		return "", "", false
	}
	if scope == string(changelog.BypassScope) {
		return "bypass", "the list of bypassed namespaces", true
	}
	kind, ok = kindNames[scope[0]]
	at := strings.IndexAny(scope, ":#")
	if !ok || at < 0 {
		return "", "", false
	}
	if name = scope[at+1:]; scope[at] == '#' {
		name = "#" + name
	}
	return kind, name, true
}
