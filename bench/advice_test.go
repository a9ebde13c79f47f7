package bench

import (
	"math"
	"testing"
)

// TestAdviceIsTrue: a cache of the size that is advised has the hit rate that is wanted, within a point, and one of half
// the size has not.
func TestAdviceIsTrue(t *testing.T) {
	if raceEnabled {
		t.Skip("one goroutine: nothing for the race detector to find, and slow with it")
	}
	requests := zipfWorkload(0.9)(1, 200_000)
	const hitRate = 40
	a, err := Advise(requests, hitRate, 0.5)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range a.Wanted {
		full := func(entries int) float64 {
			c, err := NewLocal(w.Policy, entries, 0)
			if err != nil {
				t.Fatal(err)
			}
			return Replay(c, requests).HitRate()
		}
		got, doubled, half := full(w.Size.Entries), full(w.Doubled.Entries), full(w.Size.Entries/2)
		t.Logf("%v of %d: %.2f %%, claimed %.2f; doubled %.2f, claimed %.2f; half %.2f",
			w.Policy, w.Size.Entries, got, w.Size.HitRate, doubled, w.Doubled.HitRate, half)
		if math.Abs(got-w.Size.HitRate) > 1 || math.Abs(doubled-w.Doubled.HitRate) > 1 || w.Size.HitRate < hitRate {
			t.Errorf("%v: claims that are not true", w.Policy)
		}
		if half >= hitRate {
			t.Errorf("%v: half of %d entries would do", w.Policy, w.Size.Entries)
		}
	}
}

func TestWhatCannotBeReachedIsSaid(t *testing.T) {
	a, err := Advise(webWorkload(1, 20_000), 99, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range a.Wanted {
		if w.Size.Entries != 0 {
			t.Errorf("%v: %+v, but at best %.1f %% can hit", w.Policy, w, a.Best)
		}
	}
}

func TestBadQuestionsAreRefused(t *testing.T) {
	some := webWorkload(1, 100)
	for _, q := range []struct{ rate, share float64 }{{0, 0}, {100, 0}, {math.NaN(), 0}, {50, -1}, {50, 2}} {
		if _, err := Advise(some, q.rate, q.share); err == nil {
			t.Errorf("%+v is accepted", q)
		}
	}
	if _, err := Advise(nil, 50, 0); err == nil {
		t.Error("no requests are accepted")
	}
}
