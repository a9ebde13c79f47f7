package bench

import (
	"reflect"
	"testing"
	"time"
)

func simulate(t testing.TB, f Fleet, d Documents, questions int) (r Report) {
	t.Helper()
	inBubble(t, func() {
		var err error
		if r, err = f.Simulate(d, 1, questions); err != nil {
			t.Error(err)
		}
	})
	var misses int64
	for _, n := range r.Misses {
		misses += n
	}
	if r.Reads != int64(questions) || r.LocalHits+r.RemoteHits+r.Loads != r.Reads || misses != r.Reads-r.LocalHits {
		t.Errorf("does not add up: %+v", r)
	}
	return r
}

func TestASeedGivesTheSameFleet(t *testing.T) {
	f := Fleet{Processes: 3, LocalEntries: 500}
	a, b := simulate(t, f, DefaultDocuments, 20_000), simulate(t, f, DefaultDocuments, 20_000)
	if !reflect.DeepEqual(a, b) {
		t.Errorf("%+v, then %+v", a, b)
	}
	t.Logf("%+v", a)
}

// TestEachChangeIsTheCauseOfItsMisses, and nothing else is.
func TestEachChangeIsTheCauseOfItsMisses(t *testing.T) {
	quiet := Documents{Questions: 300, Sources: 100, Skew: 0.5, Rate: 10}
	for cause, change := range map[Cause]func(*Documents, *Fleet){
		FirstUse:     func(*Documents, *Fleet) {},
		Capacity:     func(_ *Documents, f *Fleet) { f.LocalEntries = 50 },
		Outlived:     func(_ *Documents, f *Fleet) { f.TTL = 20 * time.Second },
		Source:       func(d *Documents, _ *Fleet) { d.Edits = 0.2 },
		Reindexing:   func(d *Documents, _ *Fleet) { d.Reindex = time.Minute },
		Version:      func(d *Documents, _ *Fleet) { d.Bump = time.Minute },
		Disconnected: func(d *Documents, _ *Fleet) { d.Cut = time.Minute },
	} {
		d, f := quiet, Fleet{Processes: 2, LocalEntries: 1000, TTL: 24 * time.Hour}
		change(&d, &f)
		r := simulate(t, f, d, 4000)
		if r.Misses[cause] == 0 {
			t.Errorf("%s: none: %v", cause, r.Misses)
		}
		for other, n := range r.Misses {
			if other != cause && other != FirstUse && n > 0 {
				t.Errorf("%s is the only change, but %d misses are put down to %s", cause, n, other)
			}
		}
		t.Logf("%s: %v", cause, r.Misses)
	}
}

func TestAFleetSharesItsLoads(t *testing.T) {
	d := DefaultDocuments
	one := simulate(t, Fleet{Processes: 1, LocalEntries: 1000}, d, 10_000)
	four := simulate(t, Fleet{Processes: 4, LocalEntries: 1000}, d, 10_000)
	if four.Loads > one.Loads*11/10 || four.RemoteHits <= one.RemoteHits {
		t.Errorf("one process: %+v, four: %+v", one, four)
	}
}
