package remote_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/remote"
)

// What is tracked is kept by its name, and the memory of these names is used again:
//
//	GetMany: reads a and b, whose names are in its room
//	hub:     tracks them under those names
//	GetMany: spells c and d into the room, and the hub's table has other keys than it
//	         was built with
func TestWhatIsReadIntoRoomInProcessIsNotTracked(t *testing.T) {
	e := remote.NewEmbedded(0)
	c := connect(t, e, "p", newNotices())
	tracked := func() int64 {
		i, err := c.Info(t.Context())
		require.NoError(t, err)
		return i.TrackedKeys
	}
	e.Put("a", "value")
	items, err := c.GetInto(t.Context(), []string{"a", "none"}, &remote.Room{})
	require.NoError(t, err)
	require.True(t, items[0].Found())
	require.False(t, items[1].Found())
	require.Zero(t, tracked())
	_, _, err = c.Get(t.Context(), []string{"a", "none"}, nil)
	require.NoError(t, err)
	require.EqualValues(t, 2, tracked())
}
