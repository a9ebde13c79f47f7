package remote_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/remote"
)

// The table of tracked keys is bounded, and a key that no process keeps need not be in it.
func TestWhatIsReadUntrackedInProcessIsNotTracked(t *testing.T) {
	e := remote.NewEmbedded(0)
	c := connect(t, e, "p", newNotices())
	tracked := func() int64 {
		i, err := c.Info(t.Context())
		require.NoError(t, err)
		return i.TrackedKeys
	}
	e.Put("a", "value")
	items, err := c.GetUntracked(t.Context(), []string{"a", "none"})
	require.NoError(t, err)
	require.True(t, items[0].Found())
	require.False(t, items[1].Found())
	require.Zero(t, tracked())
	_, _, err = c.Get(t.Context(), []string{"a", "none"}, nil)
	require.NoError(t, err)
	require.EqualValues(t, 2, tracked())
}
