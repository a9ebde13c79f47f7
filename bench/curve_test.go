package bench

import (
	"math"
	"testing"

	"github.com/tiercache/tiercache/internal/zipf"
	"github.com/tiercache/tiercache/local"
)

// TestAnUnsampledLRUCurveIsExact: it is what a cache of each size gives.
func TestAnUnsampledLRUCurveIsExact(t *testing.T) {
	requests := webWorkload(1, 30_000)
	sizes := []int{1, 2, 10, 100, 1000} // an exact LRU up to 1023: see package local
	points, err := LRUCurve(requests, sizes, 1)
	if err != nil {
		t.Fatal(err)
	}
	for i, size := range sizes {
		c, err := NewLocal(local.LRU, size, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := Replay(c, requests).HitRate(); math.Abs(got-points[i].HitRate) > 1e-9 {
			t.Errorf("%d entries: %.4f %% in the curve, %.4f %% in a cache", size, points[i].HitRate, got)
		}
	}
}

// TestASampleOfOneInAHundredIsWithinAPoint, where there are keys enough: half a million here.
func TestASampleOfOneInAHundredIsWithinAPoint(t *testing.T) {
	if raceEnabled {
		t.Skip("one goroutine: nothing for the race detector to find, and slow with it")
	}
	r, z := source(5), zipf.New(500_000, 0.8)
	requests := numbers(2_000_000, func(int) int { return z.Draw(r) })
	sizes := Sizes(1000, 200_000, 6)
	exact, err := LRUCurve(requests, sizes, 1)
	if err != nil {
		t.Fatal(err)
	}
	sampled, err := LRUCurve(requests, sizes, 0.01)
	if err != nil {
		t.Fatal(err)
	}
	for i := range sizes {
		diff := sampled[i].HitRate - exact[i].HitRate
		t.Logf("LRU of %d: %.2f %%, sampled %+.2f", sizes[i], exact[i].HitRate, diff)
		if math.Abs(diff) > 1 {
			t.Errorf("LRU of %d: off by %.2f points", sizes[i], diff)
		}
	}
	mini, err := Curve(local.Adaptive, requests, sizes[2:], 0.01)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range mini {
		c, err := NewLocal(local.Adaptive, p.Entries, 0)
		if err != nil {
			t.Fatal(err)
		}
		full := Replay(c, requests).HitRate()
		t.Logf("adaptive of %d: %.2f %%, in miniature %+.2f", p.Entries, full, p.HitRate-full)
		if math.Abs(p.HitRate-full) > 1 {
			t.Errorf("adaptive of %d: off by %.2f points", p.Entries, p.HitRate-full)
		}
	}
}

func TestStackDistances(t *testing.T) {
	var requests []Request
	for _, i := range []int{1, 2, 3, 1, 1, 2, 4, 3} {
		requests = append(requests, Request{Key: KeyNumber(i)})
	}
	got, want := stackDistances(requests), []int{2, 0, 2, 3}
	for i := range want {
		if len(got) != len(want) || got[i] != want[i] {
			t.Fatalf("%v, want %v", got, want)
		}
	}
}

func TestSamplesThatCannotBeAreRefused(t *testing.T) {
	some := webWorkload(1, 10)
	for _, share := range []float64{0, -1, 1.1, math.NaN()} {
		if _, err := LRUCurve(some, []int{1}, share); err == nil {
			t.Errorf("a share of %v is accepted", share)
		}
	}
	if _, err := Curve(local.LRU, nil, []int{1}, 1); err == nil {
		t.Error("no requests are accepted")
	}
}
