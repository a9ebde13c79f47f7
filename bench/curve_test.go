package bench

import (
	"math"
	"testing"

	"github.com/tiercache/tiercache/internal/zipf"
	"github.com/tiercache/tiercache/local"
)

// TestASampleOfOneInAHundredIsWithinAPoint, where there are keys enough: half a million here.
func TestASampleOfOneInAHundredIsWithinAPoint(t *testing.T) {
	if raceEnabled {
		t.Skip("one goroutine: nothing for the race detector to find, and slow with it")
	}
	r, z := source(5), zipf.New(500_000, 0.8)
	requests := numbers(2_000_000, func(int) int { return z.Draw(r) })
	sizes := Sizes(1000, 200_000, 6)
	for policy, sizes := range map[local.Policy][]int{local.LRU: sizes, local.Adaptive: sizes[2:]} {
		mini, err := Curve(policy, requests, sizes, 0.01)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range mini {
			c, err := NewLocal(policy, p.Entries, 0)
			if err != nil {
				t.Fatal(err)
			}
			full := Replay(c, requests).HitRate()
			t.Logf("%s of %d: %.2f %%, in miniature %+.2f", policy, p.Entries, full, p.HitRate-full)
			if math.Abs(p.HitRate-full) > 1 {
				t.Errorf("%s of %d: off by %.2f points", policy, p.Entries, p.HitRate-full)
			}
		}
	}
}

func TestSamplesThatCannotBeAreRefused(t *testing.T) {
	some := webWorkload(1, 10)
	for _, share := range []float64{0, -1, 1.1, math.NaN()} {
		if _, err := Curve(local.LRU, some, []int{1}, share); err == nil {
			t.Errorf("a share of %v is accepted", share)
		}
	}
	if _, err := Curve(local.LRU, nil, []int{1}, 1); err == nil {
		t.Error("no requests are accepted")
	}
}
