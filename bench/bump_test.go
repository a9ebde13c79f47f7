package bench_test

import (
	"slices"
	"testing"
	"time"

	"github.com/tiercache/tiercache/bench"
)

func loadsThroughBump(t testing.TB, w bench.BumpLoad) (perSecond []int, sum int) {
	inBubble(t, func() {
		var err error
		if perSecond, err = (bench.Fleet{Processes: 4, LocalEntries: 1000}).LoadsThroughBump(w, 1); err != nil {
			t.Error(err)
		}
	})
	for _, n := range perSecond {
		sum += n
	}
	return perSecond, sum
}

// TestABumpLoadsEachKeyOnceInTheFleet, where look, load and store loads it once for all callers that ask meanwhile.
func TestABumpLoadsEachKeyOnceInTheFleet(t *testing.T) {
	w := bench.BumpLoad{Questions: 100, Rate: 200, Load: 2 * time.Second, Before: 20 * time.Second, After: 20 * time.Second}
	leased, sum := loadsThroughBump(t, w)
	if again, _ := loadsThroughBump(t, w); !slices.Equal(leased, again) {
		t.Errorf("one seed gives %v, then %v", leased, again)
	}
	if sum > 2*w.Questions {
		t.Errorf("%d loads of %d keys, twice", sum, w.Questions)
	}
	w.ByHand = true
	if _, byHand := loadsThroughBump(t, w); byHand < 3*sum {
		t.Errorf("%d loads by hand, %d with leases", byHand, sum)
	}
}
