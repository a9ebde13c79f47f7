package inflight

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// Each remote hit makes one: what is larger takes 64 bytes more, the next size that the allocator has.
func TestACallTakes512Bytes(t *testing.T) {
	if unsafe.Sizeof(uintptr(0)) == 8 {
		require.LessOrEqual(t, unsafe.Sizeof(Call{}), uintptr(512))
	}
}
