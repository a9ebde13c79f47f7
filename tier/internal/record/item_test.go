package record

import (
	"strconv"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

func TestAnItemKnowsWhatItLiesIn(t *testing.T) {
	x := (*itemOf[string])(unsafe.Pointer(NewItemOf(NewKind[string](nil), "v").Entry()))
	require.Same(t, &x.Entry, x.Value.Entry())
	require.Equal(t, "v", x.value)
	require.Same(t, &x.value, ValueIn[string](&x.Value))
	require.Same(t, &x.meta, x.Value.Meta())
}

// What decides about a hit is in one cache line, and 48 bytes of value in the next.
func TestAnItemTakesNoMoreRoomThanItNeeds(t *testing.T) {
	skipNarrow(t)
	type value [6]uint64
	var x itemOf[value]
	header := unsafe.Offsetof(x.Value)
	require.EqualValues(t, 64, header+unsafe.Offsetof(x.Value.Seq))
	require.EqualValues(t, 128, unsafe.Offsetof(x.value)+unsafe.Sizeof(x.value))
	require.EqualValues(t, 240, unsafe.Sizeof(x))
}

func TestItemsBeginWithACacheLine(t *testing.T) {
	skipNarrow(t)
	begins[struct{}](t, 192)
	begins[string](t, 256)
	begins[[5]uint64](t, 256)
	begins[[6]uint64](t, 256)
	begins[[8]uint64](t, 256)
	begins[[9]uint64](t, 320)
	begins[[9]string](t, 384)
	begins[[20]string](t, 512)
}

// skipNarrow skips tests of what is laid out for 64 bits. On 32 it works, in more cache lines.
func skipNarrow(t *testing.T) {
	if strconv.IntSize == 32 {
		t.Skip("the layout is that of 64 bits")
	}
}

func begins[V any](t *testing.T, want int64) {
	t.Helper()
	size, padding := RoomOf[V]()
	require.Equal(t, want, size)
	require.Less(t, padding, CacheLine)
	k := NewKind[V](nil)
	for range 100 {
		var v V
		onHeap = NewItemOf(k, v)
		require.Zero(t, uintptr(unsafe.Pointer(onHeap.Entry()))%CacheLine)
	}
}

var onHeap *Item
