package local

import (
	"math/rand/v2"
	"slices"
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

// Keys with these low bits have the first group and the last as their home.
const first, last = 0, 1<<64 - 1

// crowd stores more entries of one home than a group has slots, among others so that there is more than one group. Half of
// them have the same tag.
func crowd(t *testing.T, x *index[int], home uint64) (all []*Entry[int]) {
	t.Helper()
	for i := range uint64(30) {
		x.put(e((i+1)<<59, -1))
	}
	for i := range uint64(groupSlots + 3) {
		n := e(home, int(i))
		n.key.Hi = (i+1)<<8 | i%2*i
		x.put(n)
		all = append(all, n)
	}
	checkIndex(t, x)
	if n := len(x.groups.Load().tags); n < 3 {
		t.Fatalf("%d groups", n)
	}
	return all
}

func TestAGraveDoesNotEndASearch(t *testing.T) {
	for _, home := range []uint64{first, last} { // from the last group, a search goes on at the first
		x := newIndex()
		all := crowd(t, x, home)
		filled := x.filled
		for i, gone := range all {
			if x.remove(gone.key) != gone || x.find(gone.key) != nil || x.remove(gone.key) != nil {
				t.Fatalf("%d was not removed", i)
			}
			for j, stays := range all[i+1:] {
				if x.find(stays.key) != stays {
					t.Fatalf("%d was lost after %d left", i+1+j, i)
				}
			}
			checkIndex(t, x)
		}
		if x.filled == filled-len(all) {
			t.Error("there are no graves")
		}
		graves := x.filled - x.live
		if x.put(all[0]); x.find(all[0].key) != all[0] || x.filled-x.live != graves-1 {
			t.Error("a tombstone was not filled again")
		}
		checkIndex(t, x)
	}
}

// TestAnEmptyKeyIsAKey and so is one whose tag would be that of an empty slot, or of a tombstone.
func TestAnEmptyKeyIsAKey(t *testing.T) {
	x := newIndex()
	for hi := range uint64(3) {
		if got := x.find(Key{Hi: hi}); got != nil {
			t.Errorf("found %v", got)
		}
		n := e(first, 1)
		n.key.Hi = hi
		if x.put(n); x.find(Key{Hi: hi}) != n {
			t.Errorf("key %d cannot be stored", hi)
		}
		checkIndex(t, x)
	}
}

func TestWhereNoSearchGoesOnNoGraveIsLeft(t *testing.T) {
	x := newIndex()
	var keys []Key
	for i := range groupSlots - 3 {
		n := e(last, i)
		n.key.Hi = uint64(i)
		keys = append(keys, n.key)
		x.put(n)
	}
	for _, k := range keys {
		x.remove(k)
		checkIndex(t, x)
	}
	if x.filled != 0 {
		t.Errorf("%d graves are left", x.filled)
	}
}

// TestTagsAreFoundByTheLowestMark for all tags, at any slot, beside any others.
func TestTagsAreFoundByTheLowestMark(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 3))
	for range 200_000 {
		var w tags
		var each [groupSlots]uint8
		for slot := range each {
			each[slot] = uint8(r.IntN(6)) // few, so that they meet, and differ by one
			if r.IntN(3) == 0 {
				each[slot] = uint8(r.Uint32())
			}
			w = w.set(slot, each[slot])
		}
		tag := each[r.IntN(groupSlots)] + uint8(r.IntN(2))
		m := w.with(tag)
		want := slices.Index(each[:], tag)
		if (m != 0) != (want >= 0) || m != 0 && m.at() != want {
			t.Fatalf("tag %d in %v: %x", tag, each, m)
		}
		for slot, there := range each {
			if there == tag && m>>(8*slot+7)&1 != 1 {
				t.Fatalf("tag %d in slot %d of %v is not marked: %x", tag, slot, each, m)
			}
		}
	}
}

// TestChurnDoesNotGrowTheIndex stores ever new keys: without rebuilding, graves would fill it.
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
	if n := len(x.groups.Load().tags); n > 2*501/groupSlots+1 {
		t.Errorf("%d groups for 500 entries", n)
	}
}

// TestReadersFindWhatIsThere keeps some entries in the index while a writer stores, removes and replaces others
// around them, and rebuilds the groups: readers must find them every time.
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
	groups := x.groups.Load()
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
		if now := x.groups.Load(); now != groups {
			groups = now
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
	var found atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		for !done.Load() {
			if x.find(k.key) == nil {
				t.Error("missing")
				return
			}
			found.Add(1)
		}
	})
	both := []*Entry[int]{k, e(1, 1)}
	for i := 0; i < 500_000 || found.Load() < 100_000 && !t.Failed(); i++ { // until the reader has run beside it
		x.put(both[i%2])
	}
	done.Store(true)
	wg.Wait()
}
