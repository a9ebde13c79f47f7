package local

import (
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"weak"

	"github.com/tiercache/tiercache/internal/eviction"
)

func newCache[V any](t testing.TB, config Config[V]) *Cache[V] {
	t.Helper()
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNewNamesEveryBadSetting(t *testing.T) {
	for _, test := range []struct {
		config Config[int]
		says   []string
	}{
		{Config[int]{}, []string{"MaxBytes or MaxEntries must be set"}},
		{Config[int]{MaxEntries: 1, Shards: 3}, []string{"power of two"}},
		{Config[int]{MaxEntries: 1, Shards: 128}, []string{"power of two up to 64"}},
		{Config[int]{MaxBytes: Overhead}, []string{"holds nothing"}},
		{Config[int]{MaxBytes: 1, Shards: 7}, []string{"holds nothing", "power of two"}},
		{Config[int]{MaxEntries: -1}, []string{"negative"}},
		{Config[int]{MaxBytes: -1, Shards: -2}, []string{"negative"}},
		{Config[int]{MaxEntries: 1, Policy: eviction.Policies}, []string{"Policy 4 is not known"}},
		{Config[int]{MaxEntries: 1, Shards: 2, Policy: Adaptive}, []string{"Policy adaptive with Shards 2"}},
	} {
		_, err := New(test.config)
		if err == nil {
			t.Errorf("%+v was accepted", test.config)
			continue
		}
		for _, part := range test.says {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%+v: %v; want %q in it", test.config, err, part)
			}
		}
	}
}

func TestShardsAreChosenByWhatTheBoundsAllow(t *testing.T) {
	for _, test := range []struct {
		config Config[int]
		one    bool
	}{
		{Config[int]{MaxEntries: 1023}, true},
		{Config[int]{MaxEntries: 1024}, false},
		{Config[int]{MaxBytes: 1000 * Overhead}, true},
		{Config[int]{MaxBytes: 64 << 20}, false},
		{Config[int]{MaxBytes: 64 << 20, MaxEntries: 10}, true},
		{Config[int]{MaxBytes: 64 << 20, MaxEntries: 10, Shards: 8}, false},
	} {
		if n := len(newCache(t, test.config).shards); (n == 1) != test.one || n&(n-1) != 0 || n > maxShards {
			t.Errorf("%+v: %d shards", test.config, n)
		}
	}
}

func TestRoutesReachEveryShardInGrowingShares(t *testing.T) {
	for n := 1; n <= maxShards; n *= 2 {
		routes := route(n)
		counts := make([]int, n)
		for _, i := range routes {
			counts[i]++
		}
		if slices.Min(counts) == 0 || !slices.IsSorted(routes[:]) {
			t.Errorf("%d shards: %v", n, counts)
		}
		if first, last := counts[0], counts[n-1]; n >= 8 && n <= 16 && (last < first*16/10 || last > first*22/10) {
			t.Errorf("%d shards: the first gets %d, the last %d", n, first, last)
		}
	}
}

func TestReasonsHaveNames(t *testing.T) {
	got := []string{Replaced.String(), Removed.String(), Evicted.String(), Cleared.String(), Reason(9).String()}
	if want := []string{"replaced", "removed", "evicted", "cleared", "reason(9)"}; !slices.Equal(got, want) {
		t.Error(got)
	}
}

func TestOddCosts(t *testing.T) {
	c := newCache(t, Config[int]{MaxEntries: 10})
	if !c.Put(testKey(1), 1, -5) || c.Bytes() != Overhead {
		t.Errorf("a negative cost counts %d", c.Bytes()-Overhead)
	}
	if c.Put(testKey(1), 2, math.MaxInt64) { // with Overhead it would be negative
		t.Error("stored")
	}
	if _, ok := c.Get(testKey(1)); ok {
		t.Error("the older value is still there")
	}
	if st := c.Stats(); st.Rejected != 1 || st.Stored != 1 || st.Replaced != 1 {
		t.Errorf("%+v", st)
	}
}

// TestOnRemoveMayCallTheCache also shows that no lock is held by then and that the value cannot be found any more.
func TestOnRemoveMayCallTheCache(t *testing.T) {
	var c *Cache[int]
	var left []Reason
	onRemove := func(e *Entry[int], why Reason) {
		k, v := e.Key(), e.Value
		left = append(left, why)
		if got, ok := c.Get(k); ok && got == v {
			t.Errorf("%v: still found", why)
		}
		c.Stats()
		c.Remove(testKey(999))
		if len(left) == 1 {
			c.Put(testKey(1), 100, 0)
		}
	}
	c = newCache(t, Config[int]{MaxEntries: 2, Shards: 2, OnRemove: onRemove})
	c.Put(testKey(1), 1, 0)
	c.Put(testKey(1), 2, 0) // replaced, puts 100: replaced again
	c.Put(testKey(2), 3, 0)
	c.Put(testKey(3), 4, 0)
	c.Remove(testKey(3))
	c.Clear()
	want := []Reason{Replaced, Replaced, Evicted, Removed, Cleared}
	if !slices.Equal(left, want) {
		t.Errorf("%v, want %v", left, want)
	}
	check(t, c)
}

func TestGetAndPeekDoNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, entries := range []int{100, 5000} {
		c := newCache(t, Config[*int]{MaxEntries: entries})
		for i := range entries {
			c.Put(testKey(i), &i, 8)
		}
		hit, miss, i := make([]Key, entries), testKey(-1), 0
		for i := range hit {
			hit[i] = testKey(i)
		}
		n := testing.AllocsPerRun(10_000, func() {
			if _, ok := c.Get(hit[i%entries]); !ok {
				t.Fatal("miss")
			}
			i++
			c.Get(miss)
			c.Peek(miss)
		})
		if n != 0 {
			t.Errorf("%d entries: %v allocations", entries, n)
		}
	}
}

// TestReadersTakeNoLock reads while every lock is held.
func TestReadersTakeNoLock(t *testing.T) {
	c := newCache(t, Config[int]{MaxEntries: 100, Shards: 2})
	for i := range 100 {
		c.Put(testKey(i), i, 0)
	}
	for i := range c.shards {
		c.shards[i].mu.Lock()
		defer c.shards[i].mu.Unlock()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 1000 {
			if v, ok := c.Get(testKey(i % 100)); !ok || v != i%100 {
				t.Errorf("Get gives %v, %v", v, ok)
			}
			c.Peek(testKey(i % 100))
		}
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("a reader waits")
	}
}

// TestARemovedValueIsFreed although uses of it were recorded and not applied.
func TestARemovedValueIsFreed(t *testing.T) {
	for name, remove := range map[string]func(c *Cache[*[64]int]){
		"Remove":  func(c *Cache[*[64]int]) { c.Remove(testKey(1)) },
		"replace": func(c *Cache[*[64]int]) { c.Put(testKey(1), nil, 0) },
		"evict": func(c *Cache[*[64]int]) {
			for i := range 10 {
				c.Put(testKey(10+i), nil, 0)
			}
		},
		"Clear": func(c *Cache[*[64]int]) { c.Clear() },
	} {
		c := newCache(t, Config[*[64]int]{MaxEntries: 10})
		value := func() weak.Pointer[[64]int] {
			v := new([64]int)
			c.Put(testKey(1), v, 0)
			c.Get(testKey(1))
			c.Get(testKey(1)) // not enough of them to be applied
			return weak.Make(v)
		}()
		remove(c)
		runtime.GC()
		runtime.GC()
		if value.Value() != nil {
			t.Errorf("%s: still reachable", name)
		}
		runtime.KeepAlive(c)
	}
}

func TestPeekIsNoUse(t *testing.T) {
	c := newCache(t, Config[int]{MaxEntries: 2})
	c.Put(testKey(1), 1, 0)
	c.Put(testKey(2), 2, 0)
	c.Peek(testKey(1))
	c.Put(testKey(3), 3, 0)
	if _, ok := c.Peek(testKey(1)); ok {
		t.Error("kept")
	}
}
