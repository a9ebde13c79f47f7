package local

import (
	"math"
	"slices"
	"testing"
)

func taken(u *readBuffer[int], n int) (values []int) {
	u.take(n, func(e *Entry[int]) { values = append(values, e.Value) })
	return values
}

func TestUsesAreTakenInOrder(t *testing.T) {
	u := new(readBuffer[int])
	for i := range 100 { // round the ring several times
		for j := range 3 {
			if waiting, ok := u.add(e(0, 3*i+j)); !ok || waiting != j+1 {
				t.Fatalf("%d waiting, %v", waiting, ok)
			}
		}
		if got := append(taken(u, 2), taken(u, math.MaxInt)...); !slices.Equal(got, []int{3 * i, 3*i + 1, 3*i + 2}) {
			t.Fatal(got)
		}
	}
}

func TestAFullRingForgets(t *testing.T) {
	u := new(readBuffer[int])
	for i := range useRoom + 8 {
		if _, ok := u.add(e(0, i)); ok != (i < len(u.ring)) {
			t.Fatalf("use %d: %v", i, ok)
		}
	}
	if got := taken(u, math.MaxInt); len(got) != len(u.ring) || got[0] != 0 || !slices.IsSorted(got) {
		t.Error(got)
	}
}

// TestTakingStopsAtAClaimedSlot plays the reader that claimed a slot and was interrupted before it stored into it.
func TestTakingStopsAtAClaimedSlot(t *testing.T) {
	u := new(readBuffer[int])
	u.add(e(0, 4))
	claimed := u.tail.Add(1) - 1
	u.add(e(0, 6))
	if got := taken(u, math.MaxInt); !slices.Equal(got, []int{4}) {
		t.Errorf("took %v", got)
	}
	u.ring[claimed].Store(e(0, 5))
	if got := taken(u, math.MaxInt); !slices.Equal(got, []int{5, 6}) {
		t.Errorf("took %v", got)
	}
}

func TestTakingLeavesNothingBehind(t *testing.T) {
	u := new(readBuffer[int])
	u.add(e(0, 1))
	taken(u, 1)
	for i := range u.ring {
		if u.ring[i].Load() != nil {
			t.Error("the ring still holds the entry")
		}
	}
}

// TestAForgottenUseDoesNotCount: had its time been noted although the ring was full, the next use, within the window,
// would be skipped, and the entry would stay old.
func TestAForgottenUseDoesNotCount(t *testing.T) {
	c := newCache(t, Config[int]{MaxEntries: 2 * useRoom, Shards: 1})
	for i := range 2 * useRoom {
		c.Put(testKey(i), i, 0)
	}
	s := &c.shards[0]
	s.mu.Lock() // no goroutine takes: the ring fills
	for i := 1; i <= len(s.reads.ring); i++ {
		c.Get(testKey(i))
	}
	c.Get(testKey(0))
	first := s.index.find(testKey(0))
	if got := first.used.Load(); got != 1 {
		t.Errorf("used at %d, though only stored at 1", got)
	}
	s.unlock()
}

// TestReadersApplyUsesThemselves when no writer comes, a few at a time.
func TestReadersApplyUsesThemselves(t *testing.T) {
	c := newCache(t, Config[int]{MaxEntries: 100, Shards: 1})
	for i := range 10 {
		c.Put(testKey(i), i, 0)
	}
	for i := range useHigh - 1 {
		c.Get(testKey(i % 10))
	}
	if got := c.shards[0].order.victim(noAge).Value; got != 0 {
		t.Errorf("oldest is %d: applied too early", got)
	}
	c.Get(testKey(9))
	if got := c.shards[0].order.victim(noAge).Value; got != useBatch {
		t.Errorf("oldest is %d, want %d", got, useBatch)
	}
	check(t, c)
}
