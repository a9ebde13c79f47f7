package inflight

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier/internal/record"
)

// A copy that is older than what was loaded is not left in place of it: the invalidation of its
// own write, which takes nothing out, may come when the newer one is about to take its
// place.
func TestI1ListLeavesNoOlderCopy(t *testing.T) {
	l, err := local.New(local.Config[record.Item]{MaxEntries: 10})
	require.NoError(t, err)
	for _, gone := range []bool{false, true} {
		table, h, k := NewTable(l), local.Key{Lo: 1}, record.NewKind[string](nil)
		older, newer, w := record.NewItemOf(k, "older"), record.NewItemOf(k, "newer"), &Watch{}
		older.Meta().ExpectsOwnEcho = true
		require.True(t, table.put(h, older))
		table.Watch(h, w)
		require.True(t, table.ResetBaseline(h, w))
		if gone {
			table.Unwatch(h, w)
		}
		table.ApplyInvalidation(h)
		require.NotNil(t, l.PeekEntry(h), "it was the echo")
		table.InsertProvisional(h, w, newer)
		require.Nil(t, l.PeekEntry(h))
		require.False(t, w.hasProvisional)
	}
}
