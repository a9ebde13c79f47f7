package tier_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/tier"
)

// maxIdleBytes bounds the heap of a store that does nothing.
const maxIdleBytes = 600_000

// A service may have a store for each of its tenants.
func TestAnIdleStoreTakesLittleMemory(t *testing.T) {
	srv := valkeytest.Shared(t)
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	const stores = 50
	open := func() {
		s, err := tier.Open(t.Context(), tier.WithValkey(srv.URL()), tier.WithPrefix(valkeytest.Prefix(t)), tier.WithRemoteTimeout(10*time.Second))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		require.NoError(t, s.Sync(t.Context()))
	}
	open()
	before := heap()
	for range stores {
		open()
	}
	each := (heap() - before) / stores
	t.Logf("%d bytes each", each)
	require.Less(t, each, int64(maxIdleBytes))
}
