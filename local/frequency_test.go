package local

import "testing"

// TestAFrequencyIsNeverTooLow, and seldom too high.
func TestAFrequencyIsNeverTooLow(t *testing.T) {
	const keys = 1000
	f, high := &frequency{}, 0
	for i := range keys {
		for range i % 6 {
			f.count(testKey(i), keys)
		}
	}
	for i := range keys {
		got := int(f.estimate(testKey(i)))
		if got < i%6 {
			t.Errorf("%d was used %d times, not %d", i, i%6, got)
		}
		if got > i%6 {
			high++
		}
	}
	if high > keys/20 {
		t.Errorf("%d of %d estimates are too high", high, keys)
	}
}

func TestGrowingKeepsFrequencies(t *testing.T) {
	f := &frequency{}
	for i := range 30 {
		for range 3 {
			f.count(testKey(i), 30)
		}
	}
	f.fit(5000)
	if len(f.counters) != 8192 {
		t.Errorf("%d words", len(f.counters))
	}
	for i := range 30 {
		if f.estimate(testKey(i)) < 3 {
			t.Errorf("%d was forgotten", i)
		}
	}
}

func TestFrequenciesAreHalved(t *testing.T) {
	f := &frequency{}
	for range 100 {
		f.count(testKey(0), leastWords)
	}
	if got := f.estimate(testKey(0)); got != 15 {
		t.Errorf("%d is the most, not 15", got)
	}
	for i := 1; f.estimate(testKey(0)) == 15; i++ {
		if i > usesPerEntry*leastWords {
			t.Fatal("not halved")
		}
		f.count(testKey(i), leastWords)
	}
	if got := f.estimate(testKey(0)); got < 7 || got > 8 {
		t.Errorf("15 was halved to %d", got)
	}
}
