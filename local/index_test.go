package local

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

func newIndex() *index[int] {
	x := new(index[int])
	x.init()
	return x
}

func e(lo uint64, v int) *Entry[int] { return &Entry[int]{key: Key{Lo: lo}, Value: v} }

// Keys with these low bits lie in slots 0 and 7, the first and the last of eight.
const first, last = 0, 1<<64 - 1

func TestAGraveDoesNotEndASearch(t *testing.T) {
	for _, home := range []uint64{first, last} { // from the last slot, a search goes on at the first
		x := newIndex()
		a, b, c := e(home, 1), e(home, 2), e(home, 3)
		b.key.Hi, c.key.Hi = 1, 2
		x.put(a)
		x.put(b)
		x.put(c)
		x.remove(a.key)
		if x.find(b.key) != b || x.find(c.key) != c || x.find(a.key) != nil {
			t.Error("lost after the one before it left")
		}
		x.remove(b.key)
		if x.find(c.key) != c {
			t.Error("lost after the two before it left")
		}
		if x.put(b); x.find(b.key) != b || x.filled != 3 {
			t.Error("a grave was not filled again")
		}
		checkIndex(t, x)
	}
}

// TestAnEmptyKeyIsNoGrave because a grave's own key is zero, too.
func TestAnEmptyKeyIsNoGrave(t *testing.T) {
	x := newIndex()
	zero, other := e(first, 1), e(first, 2)
	other.key.Hi = 1
	x.put(zero)
	x.put(other)
	x.remove(zero.key) // leaves a grave where the zero key belongs
	if got := x.find(Key{}); got != nil {
		t.Errorf("found a grave: %v", got)
	}
	if x.put(zero); x.find(Key{}) != zero {
		t.Error("the zero key cannot be stored")
	}
	checkIndex(t, x)
}

func TestGravesBeforeAHoleAreDugAway(t *testing.T) {
	x := newIndex()
	var keys []Key
	for i := range 4 {
		n := e(last, i)
		n.key.Hi = uint64(i)
		keys = append(keys, n.key)
		x.put(n)
	}
	for _, k := range keys { // in order: all but the last removal leave a grave
		x.remove(k)
		checkIndex(t, x)
	}
	if x.filled != 0 {
		t.Errorf("%d graves are left", x.filled)
	}
}

// TestChurnDoesNotGrowTheIndex stores ever new keys: without digging and rebuilding, graves would fill it.
func TestChurnDoesNotGrowTheIndex(t *testing.T) {
	x := newIndex()
	r := rand.New(rand.NewPCG(1, 1))
	var queue []Key
	for i := range 20_000 {
		n := e(r.Uint64(), i)
		x.put(n)
		if queue = append(queue, n.key); len(queue) > 500 {
			if x.remove(queue[0]) == nil {
				t.Fatal("not found")
			}
			queue = queue[1:]
		}
	}
	checkIndex(t, x)
	if n := len(*x.slots.Load()); n > 501*9/4 {
		t.Errorf("%d slots for 500 entries", n)
	}
}

// TestReadersFindWhatIsThere keeps some entries in the index while a writer stores, removes and replaces others
// around them, and rebuilds the slots: readers must find them every time.
func TestReadersFindWhatIsThere(t *testing.T) {
	x := newIndex()
	r := rand.New(rand.NewPCG(1, 2))
	var staying []*Entry[int]
	for i := range 100 {
		staying = append(staying, e(r.Uint64(), i))
		x.put(staying[i])
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for !stop.Load() {
				for _, want := range staying {
					if got := x.find(want.key); got == nil || got.key != want.key {
						t.Error("lost")
						return
					}
				}
			}
		})
	}
	slots := x.slots.Load()
	rebuilt := 0
	for range 300 {
		var guests []Key
		for i := range r.IntN(500) {
			n := e(r.Uint64(), -i)
			x.put(n)
			guests = append(guests, n.key)
		}
		for i, k := range guests {
			x.remove(k)
			stays := staying[i%len(staying)]
			x.put(&Entry[int]{key: stays.key, Value: i})
		}
		if now := x.slots.Load(); now != slots {
			slots = now
			rebuilt++
		}
	}
	stop.Store(true)
	wg.Wait()
	if rebuilt == 0 {
		t.Error("never rebuilt")
	}
	checkIndex(t, x)
}

// TestAReplacedKeyIsNeverMissing not even for the moment between two stores.
func TestAReplacedKeyIsNeverMissing(t *testing.T) {
	x := newIndex()
	k := e(1, 0)
	x.put(k)
	var done atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !done.Load() {
			if x.find(k.key) == nil {
				t.Error("missing")
				return
			}
		}
	})
	both := []*Entry[int]{k, e(1, 1)}
	for i := range 500_000 {
		x.put(both[i%2])
	}
	done.Store(true)
	wg.Wait()
}
