package bench_test

import (
	"testing"
	"time"

	"github.com/tiercache/tiercache/bench"
)

func simulate(t testing.TB, f bench.Fleet, d bench.Documents, questions int) (r bench.Report) {
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

// A seed gives the same fleet, but for what is proven again in the background after a lost connection: that begins at random.
func TestASeedGivesTheSameFleet(t *testing.T) {
	f := bench.Fleet{Processes: 3, LocalEntries: 500}
	a, b := simulate(t, f, bench.DefaultDocuments, 20_000), simulate(t, f, bench.DefaultDocuments, 20_000)
	if a.Reads != b.Reads || a.Bytes != b.Bytes {
		t.Errorf("%+v, then %+v", a, b)
	}
	near := func(what string, a, b int64) {
		if max(a-b, b-a) > a/50+5 {
			t.Errorf("%s: %d, then %d", what, a, b)
		}
	}
	near("local hits", a.LocalHits, b.LocalHits)
	near("loads", a.Loads, b.Loads)
	near("evictions", a.Evictions, b.Evictions)
	for cause, n := range a.Misses {
		near(string(cause), n, b.Misses[cause])
	}
	t.Logf("%+v", a)
}

// TestEachChangeIsTheCauseOfItsMisses, and nothing else is.
func TestEachChangeIsTheCauseOfItsMisses(t *testing.T) {
	quiet := bench.Documents{Questions: 300, Sources: 100, Skew: 0.5, Rate: 10}
	for cause, change := range map[bench.Cause]func(*bench.Documents, *bench.Fleet){
		bench.FirstUse:     func(*bench.Documents, *bench.Fleet) {},
		bench.Capacity:     func(_ *bench.Documents, f *bench.Fleet) { f.LocalEntries = 50 },
		bench.Outlived:     func(_ *bench.Documents, f *bench.Fleet) { f.TTL = 20 * time.Second },
		bench.Source:       func(d *bench.Documents, _ *bench.Fleet) { d.Edits = 0.2 },
		bench.Reindexing:   func(d *bench.Documents, _ *bench.Fleet) { d.Reindex = time.Minute },
		bench.Version:      func(d *bench.Documents, _ *bench.Fleet) { d.Bump = time.Minute },
		bench.Disconnected: func(d *bench.Documents, _ *bench.Fleet) { d.Cut = time.Minute },
	} {
		d, f := quiet, bench.Fleet{Processes: 2, LocalEntries: 1000, TTL: 24 * time.Hour}
		change(&d, &f)
		r := simulate(t, f, d, 4000)
		if r.Misses[cause] == 0 {
			t.Errorf("%s: none: %v", cause, r.Misses)
		}
		for other, n := range r.Misses {
			if other != cause && other != bench.FirstUse && n > 0 {
				t.Errorf("%s is the only change, but %d misses are put down to %s", cause, n, other)
			}
		}
		t.Logf("%s: %v", cause, r.Misses)
	}
}

func TestAFleetSharesItsLoads(t *testing.T) {
	d := bench.DefaultDocuments
	one := simulate(t, bench.Fleet{Processes: 1, LocalEntries: 1000}, d, 10_000)
	four := simulate(t, bench.Fleet{Processes: 4, LocalEntries: 1000}, d, 10_000)
	if four.Loads > one.Loads*11/10 || four.RemoteHits <= one.RemoteHits {
		t.Errorf("one process: %+v, four: %+v", one, four)
	}
}
