package remote

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/backend"
)

// The first is the check value of CRC16/XMODEM; the rest as CLUSTER KEYSLOT has it.
func TestSlotOfIsThatOfTheServer(t *testing.T) {
	for key, slot := range map[string]int{
		"123456789": 0x31C3 % backend.Slots, "": 0, "{user1000}.following": 3443, "user1000": 3443,
		"foo{}{bar}": 8363, "foo{{bar}}zap": 4015, "foo{bar}{zap}": 5061, "bar": 5061, "{bar": 4015,
	} {
		require.Equal(t, slot, backend.SlotOf(key), key)
	}
}
