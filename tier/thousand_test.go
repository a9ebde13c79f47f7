package tier_test

import (
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// The thousand are opened in process, and with make soak on a server too, where
// that takes longer than a test should.
func TestAThousandStoresOpenedAndClosedLeaveNothing(t *testing.T) {
	onServers := 100
	if os.Getenv("TIERCACHE_SOAK") != "" {
		onServers = 1000
	}
	t.Run("embedded", func(t *testing.T) {
		hub := remote.NewEmbedded(0)
		leavesNothing(t, 1000, func() int { return 0 }, tier.WithRemote(hub), tier.WithRemoteTimeout(10*time.Second))
	})
	t.Run("valkey", func(t *testing.T) {
		s := valkeytest.Start(t)
		leavesNothing(t, onServers, func() int { return connections(t, s) }, tier.WithValkey(s.URL()), tier.WithRemoteTimeout(10*time.Second))
	})
	t.Run("valkey, without tracking", func(t *testing.T) {
		s := valkeytest.Start(t)
		leavesNothing(t, onServers, func() int { return connections(t, s) }, tier.WithValkey(s.URL()), tier.WithRemoteTimeout(10*time.Second), tier.WithoutTracking())
	})
}

// connections counts those of the server, the one that asks among them.
func connections(t *testing.T, s *valkeytest.Server) int {
	list, err := s.Do(t, "CLIENT", "LIST").ToString()
	require.NoError(t, err)
	return strings.Count(list, "\n")
}

// leavesNothing opens, uses and closes stores, and compares what is there before
// and after: goroutines, connections, and bytes but for what the runtime keeps.
func leavesNothing(t *testing.T, stores int, connections func() int, options ...tier.Option) {
	use := func() {
		s, err := tier.Open(t.Context(), options...)
		require.NoError(t, err)
		defer s.Close()
		c := view[int](t, s, "docs", tier.WithStaleWhileRevalidate(time.Hour))
		_, err = c.Get(t.Context(), "k", is(1, "doc"))
		require.NoError(t, err)
		require.NoError(t, c.Set(t.Context(), "other", 2))
		_, err = s.InvalidateSource(t.Context(), "doc")
		require.NoError(t, err)
		require.NoError(t, s.Close())
	}
	use() // what is made once for the process
	goroutines, conns, bytes := runtime.NumGoroutine(), connections(), heap()
	for range stores {
		use()
	}
	// What has closed its channel or its connection may not quite have ended.
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-poll.C {
		g, c, b := runtime.NumGoroutine(), connections(), heap()
		if g <= goroutines && c <= conns && b < bytes+256<<10 {
			t.Logf("%d stores; before: %d goroutines, %d connections, %d bytes; after: %d, %d, %d", stores, goroutines, conns, bytes, g, c, b)
			return
		}
		require.True(t, time.Now().Before(deadline), "before: %d goroutines, %d connections, %d bytes; after: %d, %d, %d", goroutines, conns, bytes, g, c, b)
	}
}

// heap is what is alive.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // pools live for two
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
