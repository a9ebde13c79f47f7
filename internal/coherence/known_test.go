package coherence

import (
	"context"
	"io"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/faultproxy"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/tier"
)

// Violations that the fault battery led to, each reduced to its schedule. Those
// that still happen are skipped with the reason; TIERCACHE_KNOWN=1 runs them.

func stillViolated(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("TIERCACHE_KNOWN") == "" {
		t.Skip("SKIPPED, a known violation: " + why)
	}
}

// node is one store behind a proxy of its own.
type node struct {
	t     *testing.T
	store *tier.Store
	cache *tier.Cache[int64]
	proxy *faultproxy.Proxy
}

const nodeStaleness = 200 * time.Millisecond

func newNode(t *testing.T, addr, prefix string) *node {
	p, err := faultproxy.Start(addr, 1)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	s, err := tier.Open(context.Background(), tier.WithValkey("valkey://"+p.Addr()), tier.WithPrefix(prefix),
		tier.WithMaxStaleness(nodeStaleness), tier.WithHeartbeat(20*time.Millisecond), tier.WithRemoteTimeout(100*time.Millisecond),
		tier.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))))
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	c, err := tier.New[int64](s, "known")
	require.NoError(t, err)
	return &node{t, s, c, p}
}

func (n *node) get(key string, truth int64, options ...tier.CallOption) int64 {
	n.t.Helper()
	v, err := n.cache.Get(context.Background(), key, func(_ context.Context, e *tier.Entry) (int64, error) {
		e.DependsOn("doc")
		return truth, nil
	}, options...)
	require.NoError(n.t, err)
	return v
}

// synced waits until the store has heard the server that it is connected to.
func (n *node) synced() {
	n.t.Helper()
	require.Eventually(n.t, func() bool { return n.store.Sync(context.Background()) == nil }, patience, time.Millisecond)
}

// moves points the node at another server.
func (n *node) moves(addr string) {
	n.proxy.Retarget(addr)
	n.proxy.Cut()
}

// I1, I6 for explicit writes:
//
//	A:       Set(k, 1); the replica has it
//	replica: lags
//	A:       Set(k, 2) returns
//	primary: dies; the replica is promoted
//	A:       reads k
func TestI6ASetThatAFailoverLostIsNotAnOldValue(t *testing.T) {
	stillViolated(t, "with tracking, Set and Delete leave nothing in the change log, so nobody finds out that they were lost")
	primary, replica, link := pair(t)
	a := newNode(t, primary.Addr, "p")
	b := newNode(t, primary.Addr, "p")
	require.NoError(t, a.cache.Set(context.Background(), "k", 1))
	replica.AwaitReplica(t, primary)
	link.Freeze(faultproxy.ToClient)
	require.NoError(t, a.cache.Set(context.Background(), "k", 2))
	require.Equal(t, int64(2), b.get("k", 2))
	primary.Kill()
	replica.Follow(t, "")
	for _, n := range []*node{a, b} {
		n.moves(replica.Addr)
		n.synced()
	}
	require.Equal(t, int64(2), a.get("k", 2), "A has set 2 itself, and read 2 before")
	require.Equal(t, int64(2), b.get("k", 2), "B has read 2 before")
}

// I1, I2, I8 for explicit writes: a Set that failed comes late.
//
//	A: Set(k, 1) is sent on a connection that a router has forgotten
//	A: gives that connection up: ErrUnavailable
//	A: Set(k, 2) returns, on another connection
//	the router remembers: Set(k, 1) reaches the server
//	A: reads k
func TestI1ASetThatFailedDoesNotOverwriteALaterOne(t *testing.T) {
	stillViolated(t, "a write without a lease is performed whenever it arrives, also after a later one of the same process")
	s := valkeytest.Start(t)
	a := newNode(t, s.Addr, "p")
	a.synced()
	a.proxy.FreezePresent()
	require.ErrorIs(t, a.cache.Set(context.Background(), "k", 1), tier.ErrUnavailable)
	a.synced() // over a new connection
	require.NoError(t, a.cache.Set(context.Background(), "k", 2))
	require.Equal(t, int64(2), a.get("k", 2))
	a.proxy.Thaw()
	late := time.Now().Add(time.Second)
	for time.Now().Before(late) {
		require.Equal(t, int64(2), a.get("k", 2), "the Set of 1 reached the server after that of 2 had returned")
	}
}

// I2, I4: a proof by a server that is no primary any more.
//
//	B:           holds k, connected to the primary
//	the replica: is promoted; the primary is told to follow it, and lags
//	A:           is connected to the new primary; InvalidateSource returns
//	B:           its heartbeats are answered by the old primary: proof
//	B:           reads k, later than the maximum staleness
func TestI2AReplicaProvesNothing(t *testing.T) {
	stillViolated(t, "the heartbeat is a read-only script, which a replica answers like a primary")
	primary, replica, link := pair(t)
	a, b := newNode(t, primary.Addr, "p"), newNode(t, primary.Addr, "p")
	require.Equal(t, int64(1), b.get("k", 1))
	b.synced()
	replica.AwaitReplica(t, primary)
	replica.Follow(t, "")
	link.Freeze(faultproxy.ToServer, faultproxy.ToClient)
	link.Retarget(replica.Addr)
	link.Cut()
	primary.Follow(t, link.Addr()) // and does not get through
	a.moves(replica.Addr)
	require.Eventually(t, func() bool {
		_, err := a.store.InvalidateSource(context.Background(), "doc")
		return err == nil
	}, patience, time.Millisecond)
	acked := time.Now()
	require.Equal(t, int64(2), a.get("k", 2))
	require.Equal(t, int64(2), b.get("k", 2, tier.Fresh()), "fresh")
	for time.Since(acked) <= nodeStaleness {
		b.get("k", 2)
	}
	require.Equal(t, int64(2), b.get("k", 2), "later than the bound")
}

// pair is a primary and its replica, with a link that can be broken.
func pair(t *testing.T) (primary, replica *valkeytest.Server, link *faultproxy.Proxy) {
	fast := valkeytest.Config("repl-diskless-sync-delay", "0")
	primary = valkeytest.Start(t, fast)
	link, err := faultproxy.StartRaw(primary.Addr, 1)
	require.NoError(t, err)
	t.Cleanup(link.Close)
	replica = valkeytest.Start(t, fast, valkeytest.ReplicaOf(link.Addr()))
	replica.AwaitReplica(t, primary)
	return primary, replica, link
}
