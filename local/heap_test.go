package local

import (
	"fmt"
	"math"
	"runtime"
	"testing"

	"github.com/tiercache/tiercache/internal/sizeof"
)

func heap() int64 {
	runtime.GC()
	runtime.GC() // the first may have found a cycle half done
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// wide: on 32 bits an entry takes less than Overhead.
const wide = math.MaxUint > math.MaxUint32

func skipHeap(t *testing.T) {
	if raceEnabled {
		t.Skip("objects are larger under the race detector")
	}
}

// TestOverheadIsWhatAnEntryTakes, whether the cache was just filled or has been in use for long.
func TestOverheadIsWhatAnEntryTakes(t *testing.T) {
	skipHeap(t)
	for _, n := range []int{10_000, 13_000, 17_000, 22_000, 30_000} {
		keys := make([]Key, 12*n)
		for i := range keys {
			keys[i] = testKey(i)
		}
		v, before := new(int), heap()
		c := newCache(t, Config[*int]{MaxEntries: n, Shards: 8})
		for i, k := range keys {
			c.Put(k, v, 0)
			if i+1 == n || i+1 == len(keys) {
				got := float64(heap()-before) / float64(n)
				t.Logf("%d entries after %d: %.1f", n, i+1, got)
				if math.Abs(got-Overhead) > 0.04*Overhead && (wide || got > Overhead) {
					t.Errorf("%d entries after %d stored: %.1f bytes for each, Overhead is %d", n, i+1, got, Overhead)
				}
			}
		}
		runtime.KeepAlive(keys)
		runtime.KeepAlive(c)
	}
}

// TestTheHeapStaysWithinTheBound for values of all sizes, with what sizeof says as cost.
func TestTheHeapStaysWithinTheBound(t *testing.T) {
	skipHeap(t)
	for _, size := range []int{16, 64, 200, 1000, 4096, 20_000, 100_000, 1 << 20} {
		bound := int64(4 << 20)
		if size > 4096 {
			bound = 32 << 20
		}
		testHeap(t, fmt.Sprintf("slice of %d", size), bound, func() []byte { return make([]byte, size) })
		testHeap(t, fmt.Sprintf("pointer to slice of %d", size), bound, func() *[]byte {
			b := make([]byte, size)
			return &b
		})
	}
}

func testHeap[V any](t *testing.T, name string, bound int64, make_ func() V) {
	t.Helper()
	before := heap()
	c := newCache(t, Config[V]{MaxBytes: bound, Shards: 8})
	for i := range 3*bound/(sizeof.Of(make_())+Overhead) + 10 {
		v := make_()
		c.Put(testKey(int(i)), v, sizeof.Of(v))
	}
	got := heap() - before
	ratio := float64(got) / float64(bound)
	t.Logf("%-32s %7d entries: %.3f of the bound", name, c.Len(), ratio)
	if ratio < 0.95 && wide || ratio > 1.05 {
		t.Errorf("%s: %d bytes on the heap, the bound is %d", name, got, bound)
	}
	runtime.KeepAlive(c)
}

// TestMemoryFollowsFromManySmallToFewLarge: what many entries needed in maps and slots is given back.
func TestMemoryFollowsFromManySmallToFewLarge(t *testing.T) {
	skipHeap(t)
	const bound = 8 << 20
	before := heap()
	c := newCache(t, Config[*[]byte]{MaxBytes: bound, Shards: 8})
	put := func(i, size int) {
		b := make([]byte, size)
		c.Put(testKey(i), &b, sizeof.Of(&b))
	}
	for i := range 60_000 {
		put(i, 8)
	}
	for i := range 500 {
		put(-i, 100_000)
	}
	if got := heap() - before; got > bound*105/100 {
		t.Errorf("%d bytes on the heap, the bound is %d", got, bound)
	}
	runtime.KeepAlive(c)
}
