package inflight

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier/internal/record"
)

// Guard: callers that join a load are given no value past its TTL that was read before an invalidation of the key, or before one may
// have been lost, with the connection or with the server of a cluster that was read.
func TestI2NoFallbackIsOlderThanWhatMayHaveBeenLost(t *testing.T) {
	l, err := local.New(local.Config[record.Item]{MaxEntries: 10})
	require.NoError(t, err)
	for name, change := range map[string]func(table *Table, f *Call, v *changelog.View, shard *backend.Shard){
		"":           func(*Table, *Call, *changelog.View, *backend.Shard) {},
		"key":        func(table *Table, f *Call, _ *changelog.View, _ *backend.Shard) { table.ApplyInvalidation(f.H) },
		"connection": func(_ *Table, _ *Call, v *changelog.View, _ *backend.Shard) { v.Epoch++ },
		"server":     func(_ *Table, _ *Call, _ *changelog.View, shard *backend.Shard) { shard.ProvenAt.Store(0) },
	} {
		table, shard, v := NewTable(l), &backend.Shard{}, &changelog.View{}
		shard.ProvenAt.Store(1)
		table.ShardOf = func(string) *backend.Shard { return shard }
		f, leads, _ := table.Join(nil, local.Key{Lo: 1}, "k", true)
		require.True(t, leads)
		f.Name = "k"
		table.Restart(f, v, mono.Now()) // the entry is read
		f.Stale = record.NewItemOf(record.NewKind[string](nil), "v")
		change(table, f, v, shard)
		table.Restart(f, v, mono.Now()) // the lease is asked for
		assert.Equal(t, name == "", f.Stale != nil, name)
	}
}
