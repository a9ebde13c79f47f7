package sizeof

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"runtime"
	"testing"
	"time"
	"unsafe"
)

// measured returns the heap that one value of make takes, without the interface's own two words. Many are made, so that
// other allocations of the process do not count.
func measured(make_ func(i int) any) float64 {
	estimate := max(Of(make_(0)), 8)
	keep := make([]any, min(max(2<<20/int(estimate), 10), 20_000))
	before := heap()
	for i := range keep {
		keep[i] = make_(i)
	}
	after := heap()
	runtime.KeepAlive(keep)
	return float64(after-before) / float64(len(keep))
}

func heap() int64 {
	runtime.GC()
	runtime.GC() // the first may have found a cycle half done
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func checkSize(t *testing.T, name string, tolerance float64, make_ func(i int) any) {
	t.Helper()
	if raceEnabled {
		Of(make_(1))
		return
	}
	got, want := float64(Of(make_(1))), measured(make_)
	if math.Abs(got-want) > tolerance*want {
		t.Errorf("%s: Of gives %.1f, on the heap it is %.1f (%+.1f %%)", name, got, want, 100*(got/want-1))
	}
}

var sizes = []int{16, 17, 31, 100, 500, 512, 513, 1000, 1024, 4000, 10_000, 32 << 10, 32<<10 + 1, 100_000, 1 << 20}

func TestBytesAndStrings(t *testing.T) {
	for _, n := range sizes {
		checkSize(t, fmt.Sprintf("[]byte of %d", n), 0.05, func(int) any { return make([]byte, n) })
		checkSize(t, fmt.Sprintf("[]byte of %d with capacity", n), 0.05, func(int) any { return make([]byte, 1, n) })
		checkSize(t, fmt.Sprintf("string of %d", n), 0.05, func(int) any { return string(make([]byte, n)) })
	}
	for n := 1; n < 16; n++ {
		checkSize(t, fmt.Sprintf("string of %d", n), 0.05, func(int) any { return string(make([]byte, n)) })
	}
}

type document struct {
	ID      int64
	Title   string
	author  *author
	Tags    []string
	Created time.Time
	Score   float64
	Any     any
}

type author struct {
	name string
	_    [3]int32
}

type small struct{ a, b int32 }

func text(i, n int) string { return fmt.Sprintf("%0*d", n, i) }

func TestStructs(t *testing.T) {
	checkSize(t, "small struct", 0.05, func(i int) any { return small{int32(i), 2} })
	checkSize(t, "pointer to small struct", 0.05, func(i int) any { return &small{int32(i), 2} })
	checkSize(t, "document", 0.05, func(i int) any {
		return &document{ID: 1, Title: text(i, 40), author: &author{name: text(i, 20)}, Created: time.Now(),
			Tags: []string{text(i, 16), text(i, 30)}, Any: small{3, 4}}
	})
	checkSize(t, "document by value", 0.05, func(i int) any { return document{Title: text(i, 40)} })
	checkSize(t, "large struct with pointers", 0.05, func(i int) any {
		return &[128]*small{3: {1, 2}, 50: {1, 2}} // 1024 bytes, with their header in the next class
	})
	checkSize(t, "time", 0.05, func(i int) any { t := time.Now(); return &t })
	checkSize(t, "times", 0.05, func(i int) any { return []time.Time{time.Now(), time.Now().In(time.Local)} })
}

func TestSlices(t *testing.T) {
	for _, n := range []int{1, 10, 100, 5000} {
		checkSize(t, fmt.Sprintf("%d strings", n), 0.05, func(int) any {
			s := make([]string, n)
			for i := range s {
				s[i] = text(i, 24)
			}
			return s
		})
		checkSize(t, fmt.Sprintf("%d appended strings", n), 0.05, func(int) any {
			var s []string
			for i := range n {
				s = append(s, text(i, 24))
			}
			return s
		})
		checkSize(t, fmt.Sprintf("%d structs", n), 0.05, func(int) any { return make([]document, n) })
		checkSize(t, fmt.Sprintf("%d floats in interfaces", n), 0.05, func(int) any {
			s := make([]any, n)
			for i := range s {
				s[i] = float64(i) + 0.5
			}
			return s
		})
	}
}

func TestMaps(t *testing.T) {
	for _, n := range []int{1, 8, 9, 14, 15, 50, 200, 800, 896, 897, 1700, 1792, 1850, 3000, 7168, 7400, 20_000} {
		checkSize(t, fmt.Sprintf("map[string]string of %d", n), 0.10, func(int) any {
			m := make(map[string]string)
			for i := range n {
				m[text(i, 20)] = text(i, 40)
			}
			return m
		})
		checkSize(t, fmt.Sprintf("map[int]int of %d", n), 0.10, func(int) any {
			m := make(map[int]int)
			for i := range n {
				m[i] = i
			}
			return m
		})
		if n == tableMost+1 {
			continue // the one number of entries for which the hint makes a smaller map than growth does
		}
		checkSize(t, fmt.Sprintf("map[int64]struct{} with hint of %d", n), 0.10, func(int) any {
			m := make(map[int64]struct{}, n)
			for i := range n {
				m[int64(i)] = struct{}{}
			}
			return m
		})
	}
	checkSize(t, "map with large elements", 0.10, func(int) any {
		m := make(map[int][200]byte)
		for i := range 100 {
			m[i] = [200]byte{}
		}
		return m
	})
	checkSize(t, "map with small elements", 0.10, func(int) any {
		m := make(map[[3]byte]bool)
		for i := range 100 {
			m[[3]byte{byte(i)}] = true
		}
		return m
	})
}

func TestDecodedJSON(t *testing.T) {
	checkSize(t, "JSON", 0.10, func(i int) any {
		var v any
		err := json.Unmarshal(fmt.Appendf(nil, `{"id": %d, "title": "%s", "list": [1.5, "two", {"three": null}],
			"nested": {"a": "%s", "b": [10000, 20000, 30000]}}`, i, text(i, 60), text(i, 100)), &v)
		if err != nil {
			t.Fatal(err)
		}
		return v
	})
}

func TestWhatIsMetTwiceIsCountedOnce(t *testing.T) {
	shared := &author{name: text(1, 1000)}
	one, two := Of([]*author{shared, nil}), Of([]*author{shared, shared})
	if one != two {
		t.Errorf("shared pointer: %d, %d", one, two)
	}
	name := text(1, 1000)
	if one, two := Of([]string{name, ""}), Of([]string{name, name}); one != two {
		t.Errorf("shared string: %d, %d", one, two)
	}
	array := make([]int, 1000)
	if one, two := Of([][]int{array, nil}), Of([][]int{array, array}); one != two {
		t.Errorf("shared array: %d, %d", one, two)
	}
	m := map[int]int{1: 1}
	if one, two := Of([]map[int]int{m, nil}), Of([]map[int]int{m, m}); one != two {
		t.Errorf("shared map: %d, %d", one, two)
	}
}

// TestAStructAndItsFirstFieldAreTwoThings though they share an address.
func TestAStructAndItsFirstFieldAreTwoThings(t *testing.T) {
	type outer struct {
		inner small
		_     [1000]byte
	}
	o := new(outer)
	if got := Of([]any{&o.inner, o}); got < 1000 {
		t.Errorf("%d: the struct was taken for its field", got)
	}
}

type node struct {
	next  *node
	other any
	m     map[string]*node
	s     []*node
}

func TestCyclesEnd(t *testing.T) {
	n := &node{}
	n.next, n.other, n.m, n.s = n, n, map[string]*node{"a": n}, []*node{n}
	if got := Of(n); got < 64 || got > 1000 {
		t.Error(got)
	}
	self := make([]any, 1)
	self[0] = self
	m := map[string]any{}
	m["m"] = m
	Of(self)
	Of(m)
	var p any
	p = &p
	Of(p)
}

func chain(n int) *node {
	var first *node
	for range n {
		first = &node{next: first}
	}
	return first
}

func TestLongChainsNeedNoDeepStack(t *testing.T) {
	const n = 10_000
	if got, want := Of(chain(n)), class(int(unsafe.Sizeof(node{})), true)*n; got != want {
		t.Errorf("%d, want %d", got, want)
	}
	w := walk{s: For(reflect.TypeFor[*node]()), left: maxVisits, seen: make(map[object]struct{})}
	w.referred(reflect.ValueOf(chain(n)))
	if len(w.queue) == 0 {
		t.Error("followed to the end on the stack")
	}
}

// A list, and a slice in a slice in a slice, has no others from which the rest could be estimated.
func TestChainsAreFollowedBeyondWhatIsEstimated(t *testing.T) {
	const n = maxVisits
	got, guess := For(reflect.TypeFor[*node]()).Of(chain(n))
	if want := class(int(unsafe.Sizeof(node{})), true) * n; got != want || guess != 0 {
		t.Errorf("list: %d and a guess of %d, want %d", got, guess, want)
	}
	var nested any
	for range n {
		nested = []any{nested}
	}
	got, guess = For(reflect.TypeFor[any]()).Of(&nested)
	if want := float64(n * (class(3*word, true) + class(2*word, true))); math.Abs(float64(got)/want-1) > 0.01 || guess != 0 {
		t.Errorf("slices: %d and a guess of %d, want %.0f", got, guess, want)
	}
	w := walk{s: For(reflect.TypeFor[*node]()), left: -maxChain + 100}
	w.referred(reflect.ValueOf(chain(150)))
	if w.guess == 0 {
		t.Error("a list longer than is followed is no guess")
	}
}

func TestWorkIsBoundedAndTheRestExtrapolated(t *testing.T) {
	const n = 2_000_000
	long := make([]*small, n)
	for i := range long {
		long[i] = new(small)
	}
	w := walk{s: For(reflect.TypeFor[*node]()), left: maxVisits, seen: make(map[object]struct{})}
	got, want := float64(w.boxed(reflect.ValueOf(long))), float64(3*word+word*n+8*n)
	if math.Abs(got/want-1) > 0.01 {
		t.Errorf("slice: %.0f, want %.0f", got, want)
	}
	if len(w.seen) > maxVisits {
		t.Errorf("%d objects visited", len(w.seen))
	}

	table := make([][]string, 500)
	for i := range table {
		table[i] = make([]string, 1000)
		for j := range table[i] {
			table[i][j] = text(i*1000+j, 24)
		}
	}
	got, want = float64(Of(table)), float64(3*word+500*3*word+500*(class(2000*word, true)+1000*24))
	if math.Abs(got/want-1) > 0.02 {
		t.Errorf("slice of slices: %.0f, want %.0f", got, want)
	}

	m := make(map[int]*small)
	for i := range 300_000 {
		m[i] = new(small)
	}
	got, want = float64(Of(m)), float64(mapSize(reflect.TypeOf(m), len(m))+8*300_000)
	if math.Abs(got/want-1) > 0.01 {
		t.Errorf("map: %.0f, want %.0f", got, want)
	}
}

func TestOddValues(t *testing.T) {
	var nilPointer *node
	var nilMap map[string]int
	var nilFunc func()
	for _, v := range []any{nil, nilPointer, nilMap, nilFunc, 1, "", []int{}, []struct{}{{}, {}}, struct{}{}, [0]int{},
		make(chan int, 10), func() {}, unsafe.Pointer(new(int)), &struct{ f func() }{}, [1]*int{}, struct{ p *int }{},
		[]any{nil, 1, nil}, map[any]any{nil: nil, 1: "x", [1]any{nil}: math.NaN()}, &nilPointer,
		struct{ a, b any }{nilMap, nilFunc}, time.Now(), &struct{ _ [0]func() }{}, [3]any{}, make([]struct{}, math.MaxInt),
		error(fmt.Errorf("x: %w", &time.ParseError{})), uintptr(1), complex(1, 2), map[float64]int{math.NaN(): 1}} {
		if got := Of(v); got < 0 || got > 2000 {
			t.Errorf("%T: %d", v, got)
		}
	}
	if Of(nil) != 0 {
		t.Error(Of(nil))
	}
}

func BenchmarkOf(b *testing.B) {
	var v any
	_ = json.Unmarshal([]byte(`{"id": 1, "title": "a title", "list": [1.5, "two", {"three": null}]}`), &v)
	d := &document{Title: text(1, 40), author: &author{name: text(1, 20)}, Tags: []string{text(1, 16), text(2, 30)}}
	b.Run("document", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			Of(d)
		}
	})
	b.Run("JSON", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			Of(v)
		}
	})
	b.Run("bytes", func(b *testing.B) {
		b.ReportAllocs()
		data := make([]byte, 1<<20)
		for range b.N {
			Of(data)
		}
	})
}
