package tier

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

func TestAnItemKnowsWhatItLiesIn(t *testing.T) {
	x := (*itemOf[string])(unsafe.Pointer(newItemOf(newKind[string](&namespace{}), "v").entry()))
	require.Same(t, &x.Entry, x.Value.entry())
	require.Equal(t, "v", x.value)
	require.Same(t, &x.value, valueIn[string](&x.Value))
	require.Same(t, &x.meta, x.Value.meta())
}

// What decides about a hit is in one cache line, and 48 bytes of value in the next.
func TestAnItemTakesNoMoreRoomThanItNeeds(t *testing.T) {
	type value [6]uint64
	var x itemOf[value]
	header := unsafe.Offsetof(x.Value)
	require.EqualValues(t, 64, header+unsafe.Offsetof(x.Value.seq))
	require.EqualValues(t, 128, unsafe.Offsetof(x.value)+unsafe.Sizeof(x.value))
	require.EqualValues(t, 240, unsafe.Sizeof(x))
}

// Guard: the values of items are found by their place, so another type's would be read as
// if it were one of ours.
func TestAValueOfAnotherTypeIsNotGivenOut(t *testing.T) {
	ns := &namespace{}
	c := &Cache[string]{core{ns: ns, typed: newTyped[string](newKind[string](ns), &encoding{})}}
	require.Equal(t, "v", c.valueOf(newItemOf(c.kind, "v")))
	require.Panics(t, func() { c.valueOf(newItemOf(newKind[[]byte](ns), []byte("v"))) })
	require.Panics(t, func() { c.valueOf(newItemOf(c.kind.negativeKind, "")) })
}

func TestItemsBeginWithACacheLine(t *testing.T) {
	begins[struct{}](t, 192)
	begins[string](t, 256)
	begins[[5]uint64](t, 256)
	begins[[6]uint64](t, 256)
	begins[[8]uint64](t, 256)
	begins[[9]uint64](t, 320)
	begins[[9]string](t, 384)
	begins[[20]string](t, 512)
}

func begins[V any](t *testing.T, want int64) {
	t.Helper()
	size, padding := roomOf[V]()
	require.Equal(t, want, size)
	require.Less(t, padding, cacheLine)
	k := newKind[V](&namespace{})
	for range 100 {
		var v V
		onHeap = newItemOf(k, v)
		require.Zero(t, uintptr(unsafe.Pointer(onHeap.entry()))%cacheLine)
	}
}

var onHeap *item
