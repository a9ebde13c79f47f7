package tier

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/local"
)

// A copy that is older than what was loaded is not left in place of it: the invalidation of its
// own write, which takes nothing out, may come when the newer one is about to take its
// place.
func TestI1ListLeavesNoOlderCopy(t *testing.T) {
	l, err := local.New(local.Config[item]{MaxEntries: 10})
	require.NoError(t, err)
	for _, gone := range []bool{false, true} {
		table, h, k := newTable(l), local.Key{Lo: 1}, newKind[string](&namespace{})
		older, newer, w := newItemOf(k, "older"), newItemOf(k, "newer"), &watch{}
		older.meta().expectsOwnEcho = true
		require.True(t, table.put(h, older))
		table.watch(h, w)
		require.True(t, table.resetBaseline(h, w))
		if gone {
			table.unwatch(h, w)
		}
		table.applyInvalidation(h)
		require.NotNil(t, l.PeekEntry(h), "it was the echo")
		table.insertProvisional(h, w, newer)
		require.Nil(t, l.PeekEntry(h))
		require.False(t, w.hasProvisional)
	}
}
