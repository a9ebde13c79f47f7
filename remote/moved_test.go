package remote

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/valkeytest"
)

// A server of a cluster proves its keys once the log knows all that it is to know of that server, and it is told that another may answer; and
// one that is a replica by now proves nothing.
func TestAServerThatHasJustBeenAdmittedProvesNothingYet(t *testing.T) {
	servers := valkeytest.StartCluster(t, 3)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var told atomic.Pointer[func()]
	conn, err := Valkey(valkey.ClientOption{InitAddress: servers.Addrs()}).Connect(ctx, backend.Options{Prefix: "p", Timeout: 10 * time.Second,
		Events: backend.Events{Changed: func([]string) {}, Lost: func() {}, Published: func(string) {}, Moved: func() {
			if f := told.Load(); f != nil {
				(*f)()
			}
		}}})
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	c := conn.(*valkeyConn)
	_, err = conn.Append(ctx, changelog.Change{Retention: time.Hour}) // there is a log
	require.NoError(t, err)
	const key = "p:d:n:{k}"
	server := backend.SlotOf(key) * 3 / backend.Slots
	for conn.Shard(key).Gone() {
		require.NoError(t, conn.Prove(ctx))
	}
	c.cancel() // no probes but those that follow
	c.running.Wait()
	require.NoError(t, conn.Prove(ctx)) // it waits for those under way
	address := conn.Shard(key).Addr
	client := c.cluster.Nodes()[address]

	c.histories.mu.Lock()
	clear(c.histories.admitted)
	c.histories.mu.Unlock()
	c.shards.mu.Lock()
	c.shards.dropLocked(address)
	c.shards.mu.Unlock()
	var unproven atomic.Int64
	f := func() {
		if s := conn.Shard(key); s != backend.NoShard && s.Gone() {
			unproven.Add(1)
		}
	}
	told.Store(&f)
	usable, err := c.shards.askOnce(ctx, address, client)
	require.NoError(t, err)
	require.False(t, usable, "it was asked before the log knew of it")
	require.True(t, conn.Shard(key).Gone())
	require.NotZero(t, unproven.Load(), "the slots are its own before it is told that another server may answer")
	told.Store(nil)
	for conn.Shard(key).Gone() { // once, unless the client makes another connection
		_, err = c.shards.askOnce(ctx, address, client)
		require.NoError(t, err)
	}

	servers.Failover(t, servers.Replicas[server])
	for begun := time.Now(); conn.Shard(key).Addr != servers.Replicas[server].Addr; {
		require.Less(t, time.Since(begun), 30*time.Second)
		if c.shards.proveOf(ctx, []string{key}) == nil {
			require.NotSame(t, backend.NoShard, conn.Shard(key), "its server is a replica, and has answered")
		}
	}
}
