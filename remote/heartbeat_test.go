package remote

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/internal/valkeytest"
)

// calls returns how often clients, and scripts, have called each command.
func calls(t *testing.T, s *valkeytest.Server) map[string]string {
	text, err := s.Do(t, "INFO", "commandstats").ToString()
	require.NoError(t, err)
	out := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, rest, ok := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls="); ok {
			out[name], _, _ = strings.Cut(rest, ",")
		}
	}
	return out
}

// Heartbeats are most of what an idle fleet sends.
func TestADeltaIsOneCommand(t *testing.T) {
	c, s, _ := connectDirectly(t, valkey.ClientOption{})
	require.NoError(t, c.Renew(t.Context(), changelog.Loss{}))
	delta := func() {
		_, err := c.Delta(t.Context(), changelog.DeltaQuery{Limit: 1})
		require.NoError(t, err)
	}
	delta() // and what comes with the first
	var got map[string]string
	require.Eventually(t, func() bool { // a request may come again on a machine that is slow
		s.Do(t, "CONFIG", "RESETSTAT")
		for range 10 {
			delta()
		}
		got = calls(t, s)
		return got["evalsha_ro"] == "10"
	}, 30*time.Second, time.Millisecond, "a delta is one command")
	require.NotContains(t, got, "client|id", "the connection is ours, and its number known")
	require.NotContains(t, got, "client|caching")
}

// A delta proves what was told over the connection that answered, and its clock is that of
// this connection's server.
func TestADeltaNamesTheConnectionThatAnswered(t *testing.T) {
	c, s, _ := connectDirectly(t, valkey.ClientOption{})
	require.NoError(t, c.Renew(t.Context(), changelog.Loss{}))
	var last int64
	var w *dialled
	for range 3 {
		w = c.directly(t, w)
		d, err := c.Delta(t.Context(), changelog.DeltaQuery{Limit: 1})
		require.NoError(t, err)
		require.Greater(t, d.Connection, last)
		require.Equal(t, c.dials.Load(), d.Connection>>dialsFrom, "writes are compared with it")
		again, err := c.Delta(t.Context(), changelog.DeltaQuery{Limit: 1})
		require.NoError(t, err)
		require.Equal(t, d.Connection, again.Connection)
		last = d.Connection
		s.Do(t, "CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "YES")
	}
}

// The servers of a cluster are asked as long as its log is.
func TestAnIdleClusterStoreSendsNoProbes(t *testing.T) {
	c := valkeytest.SharedCluster(t)
	opened, err := Valkey(valkey.ClientOption{InitAddress: c.Addrs()}).Connect(t.Context(), backend.Options{
		Prefix: valkeytest.Prefix(t), Timeout: 20 * time.Millisecond, Heartbeat: 10 * time.Millisecond,
		Events: backend.Events{Changed: func([]string) {}, Lost: func() {}, Published: func(string) {}}})
	require.NoError(t, err)
	defer opened.Close()
	conn := opened.(*valkeyConn)
	// When each primary was last asked.
	sent := func() (all []mono.Time) {
		conn.shards.mu.Lock()
		defer conn.shards.mu.Unlock()
		for _, n := range conn.shards.nodes {
			all = append(all, n.sent)
		}
		slices.Sort(all)
		return all
	}
	for range 2 {
		before := sent()
		require.Eventually(t, func() bool {
			_, err := conn.Delta(t.Context(), changelog.DeltaQuery{Limit: 1})
			return err == nil && !slices.Equal(sent(), before)
		}, time.Minute, time.Millisecond, "reads of the log wake the probes")
		require.Eventually(t, func() bool { return conn.shards.idle(mono.Now()) }, time.Minute, time.Millisecond, "it is idle some heartbeats later")
		looks, probes := 0, 0
		require.Eventually(t, func() bool {
			last := before
			if before = sent(); !slices.Equal(last, before) {
				probes++
			}
			looks++
			return looks == 20
		}, time.Minute, 15*time.Millisecond)
		require.Less(t, probes, 5, "one may have been under way")
		for _, n := range before {
			require.NotZero(t, n)
		}
	}
}
