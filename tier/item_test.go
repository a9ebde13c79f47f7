package tier

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

func TestAnItemKnowsWhatItLiesIn(t *testing.T) {
	x := (*itemOf[string])(unsafe.Pointer(newItemOf("v").entry()))
	require.Same(t, &x.Entry, x.Value.entry())
	require.Equal(t, "v", x.value)
	require.Same(t, &x.value, x.Value.value)
	require.Same(t, &x.facts, x.Value.facts)
}

// The allocator has room of 240 bytes, and then of 256.
func TestAnItemTakesNoMoreRoomThanItNeeds(t *testing.T) {
	require.EqualValues(t, 232, unsafe.Sizeof(itemOf[string]{}))
	require.EqualValues(t, 256, unsafe.Sizeof(itemOf[[5]uint64]{}))
}
