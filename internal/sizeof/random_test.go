package sizeof

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"
)

// world makes random types, and values of them.
type world struct {
	rng   *rand.Rand
	plain bool // nothing changes in them
	// inside is what belongs to structs that hold something that goroutines synchronize by, or code: it may change at any time.
	inside []reflect.Value
}

// synchronizes are what makes a struct that holds it by value one that is not looked into.
var synchronizes = []reflect.Type{
	reflect.TypeFor[sync.Mutex](), reflect.TypeFor[sync.RWMutex](), reflect.TypeFor[sync.Once](), reflect.TypeFor[sync.Map](), reflect.TypeFor[sync.WaitGroup](),
	reflect.TypeFor[atomic.Int64](), reflect.TypeFor[atomic.Value](), reflect.TypeFor[atomic.Pointer[int]](), reflect.TypeFor[chan int](), reflect.TypeFor[<-chan string](),
	reflect.TypeFor[func()](), reflect.TypeFor[func(int) error](), reflect.TypeFor[unsafe.Pointer](), reflect.TypeFor[[2]sync.Mutex](), reflect.TypeFor[[1]chan int](),
}

// changes is whether a struct is one whose inside changes: told apart from how sizeof does it.
func changes(t reflect.Type) bool {
	for _, s := range synchronizes {
		if t == s {
			return true
		}
	}
	switch t.Kind() {
	case reflect.Array:
		return changes(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if changes(t.Field(i).Type) {
				return true
			}
		}
	}
	return false
}

func (w *world) structOf(depth int) reflect.Type {
	fields := make([]reflect.StructField, 1+w.rng.IntN(5))
	for i := range fields {
		t := w.typeOf(depth - 1)
		if !w.plain && w.rng.IntN(12) == 0 {
			t = synchronizes[w.rng.IntN(len(synchronizes))]
		}
		fields[i] = reflect.StructField{Name: fmt.Sprint("F", i), Type: t}
		if !w.plain && w.rng.IntN(3) == 0 { // not exported, as most that changes
			fields[i].Name, fields[i].PkgPath = fmt.Sprint("f", i), "github.com/tiercache/tiercache/internal/sizeof"
		}
	}
	return reflect.StructOf(fields)
}

func (w *world) typeOf(depth int) reflect.Type {
	plain := []reflect.Type{reflect.TypeFor[int](), reflect.TypeFor[string](), reflect.TypeFor[[]byte](), reflect.TypeFor[any](), reflect.TypeFor[float64]()}
	if depth <= 0 {
		return plain[w.rng.IntN(len(plain))]
	}
	switch w.rng.IntN(8) {
	case 0:
		return reflect.SliceOf(w.typeOf(depth - 1))
	case 1:
		return reflect.PointerTo(w.structOf(depth))
	case 2, 3:
		return w.structOf(depth)
	case 4:
		return reflect.MapOf(reflect.TypeFor[string](), w.typeOf(depth-1))
	case 5:
		return reflect.ArrayOf(1+w.rng.IntN(2), w.typeOf(depth-1))
	case 6:
		return reflect.SliceOf(reflect.PointerTo(w.structOf(depth)))
	}
	return plain[w.rng.IntN(len(plain))]
}

// settable is a field as one that can be set, exported or not.
func settable(v reflect.Value) reflect.Value {
	return reflect.NewAt(v.Type(), v.Addr().UnsafePointer()).Elem()
}

// fill gives v, which is settable, a value. within: it belongs to what changes.
func (w *world) fill(v reflect.Value, depth int, within bool) {
	t := v.Type()
	if changes(t) && t.Kind() == reflect.Struct && t.NumField() > 0 && t.PkgPath() == "" && !within {
		within = true
		w.inside = append(w.inside, v)
	}
	switch t.Kind() {
	case reflect.Struct:
		if t.PkgPath() != "" {
			return // of sync: its zero value
		}
		for i := range t.NumField() {
			w.fill(settable(v.Field(i)), depth, within)
		}
	case reflect.Array:
		for i := range t.Len() {
			w.fill(v.Index(i), depth, within)
		}
	case reflect.Int:
		v.SetInt(w.rng.Int64())
	case reflect.Float64:
		v.SetFloat(1)
	case reflect.String:
		v.SetString("some text " + strconv.FormatUint(w.rng.Uint64()|1<<63, 10)) // not so short that it shares a block with garbage of the test
	case reflect.Chan:
		if t.ChanDir() == reflect.BothDir {
			v.Set(reflect.MakeChan(t, 1))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(t, 1+w.rng.IntN(3), 16))
		for i := range v.Len() {
			w.fill(v.Index(i), depth-1, within)
		}
	case reflect.Pointer:
		p := reflect.New(t.Elem())
		w.fill(p.Elem(), depth-1, within)
		v.Set(p)
	case reflect.Map:
		v.Set(reflect.MakeMap(t))
		for range 1 + w.rng.IntN(3) {
			e := reflect.New(t.Elem())
			before := len(w.inside)
			w.fill(e.Elem(), depth-1, within)
			for _, c := range w.inside[before:] { // what the map holds by value is a copy
				if c.Addr().UnsafePointer() == e.UnsafePointer() || c.Type() == t.Elem() {
					w.inside = w.inside[:before]
					break
				}
			}
			v.SetMapIndex(reflect.ValueOf(fmt.Sprint("the key of a map ", w.rng.IntN(100))), e.Elem())
		}
	case reflect.Interface:
		switch {
		case depth <= 0:
		case w.plain: // a type that is made stays on the heap
			p := reflect.New([]reflect.Type{reflect.TypeFor[string](), reflect.TypeFor[[]any](), reflect.TypeFor[map[string]any](), reflect.TypeFor[int]()}[w.rng.IntN(4)])
			w.fill(p.Elem(), depth-1, within)
			v.Set(p.Elem())
		default:
			p := reflect.New(w.structOf(depth - 1))
			w.fill(p.Elem(), depth-1, within)
			v.Set(p)
		}
	}
}

// change writes to all that belongs to a struct whose inside changes, by value and behind it.
func (w *world) change(v reflect.Value, depth int) {
	if depth > 6 {
		return
	}
	t := v.Type()
	switch t.Kind() {
	case reflect.Struct:
		if t.PkgPath() != "" {
			return
		}
		for i := range t.NumField() {
			w.change(settable(v.Field(i)), depth+1)
		}
	case reflect.Array:
		for i := range t.Len() {
			w.change(v.Index(i), depth+1)
		}
	case reflect.Int:
		v.SetInt(v.Int() + 1)
	case reflect.String:
		v.SetString(v.String()[:1] + "changed")
	case reflect.Slice:
		if v.Len() > 0 {
			w.change(v.Index(0), depth+1)
		}
		v.Set(reflect.Append(v, reflect.Zero(t.Elem())).Slice(0, v.Len()))
	case reflect.Map:
		if !v.IsNil() {
			v.SetMapIndex(reflect.ValueOf(fmt.Sprint(w.rng.IntN(20))), reflect.Zero(t.Elem()))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			w.change(v.Elem(), depth+1)
		}
	case reflect.Interface, reflect.Func, reflect.Chan:
		v.SetZero()
	}
}

// Random types hold, at any depth, what goroutines synchronize by, and all that such structs hold is written to while values are sized: with
// -race, and by the runtime if it is a map, a read of it is an error.
func TestWhatChangesInsideOfRandomTypesIsNotRead(t *testing.T) {
	tried, changing := 0, 0
	for seed := range uint64(400) {
		w := &world{rng: rand.New(rand.NewPCG(seed, 1))}
		v := reflect.New(w.structOf(4))
		w.fill(v.Elem(), 4, false)
		tried++
		if len(w.inside) == 0 {
			continue
		}
		changing++
		value := v.Interface()
		sizer := For(v.Type())
		before := w.inside
		begun, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			close(begun)
			for range 20 {
				for _, c := range before {
					w.change(c, 0)
				}
			}
		}()
		<-begun
		for going := true; going; {
			if size, guess := sizer.Of(value); size < 0 || guess < 0 || size+guess < int64(v.Type().Elem().Size()) {
				t.Errorf("seed %d: %d, %d guessed, of %d", seed, size, guess, v.Type().Elem().Size())
			}
			select {
			case <-done:
				going = false
			default:
			}
		}
	}
	if changing < 50 {
		t.Errorf("%d of %d values hold what changes", changing, tried)
	}
	t.Logf("%d of %d values hold what changes", changing, tried)
}

// Values of random types that are nothing but data take on the heap what is said, within 5 %.
func TestRandomDataTakesWhatIsSaid(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's heap is another")
	}
	for seed := range uint64(40) {
		w := &world{rng: rand.New(rand.NewPCG(seed, 2)), plain: true}
		ty := w.structOf(3)
		first := reflect.New(ty)
		w.fill(first.Elem(), 3, false)
		size, _ := For(reflect.PointerTo(ty)).Of(first.Interface())
		values := make([]any, max(100, 2<<20/size)) // other allocations count little
		said := int64(0)
		before := heap()
		for i := range values {
			v := reflect.New(ty)
			w.fill(v.Elem(), 3, false)
			values[i] = v.Interface()
		}
		took := heap() - before
		for _, v := range values {
			size, guess := For(reflect.PointerTo(ty)).Of(v)
			if guess > 0 {
				t.Fatalf("seed %d: a guess of %v", seed, ty)
			}
			said += size
		}
		if off := float64(said)/float64(took) - 1; off < -0.05 || off > 0.05 {
			t.Errorf("seed %d: said %d, it takes %d (%+.1f %%): %v", seed, said, took, 100*off, ty)
		}
	}
}
