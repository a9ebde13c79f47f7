package remote_test

import (
	"context"
	"crypto/tls"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/remotetest"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/remote"
)

func TestAClusterPassesTheBattery(t *testing.T) {
	t.Parallel()
	valkeytest.EachCluster(t, 3, func(t *testing.T, c *valkeytest.Cluster) {
		remotetest.Run(t, clusterHarness(t, c))
	})
}

func clusterBackend(c *valkeytest.Cluster) backend.Backend {
	return remote.Valkey(valkey.ClientOption{InitAddress: c.Addrs()})
}

func clusterHarness(t *testing.T, c *valkeytest.Cluster) remotetest.Harness {
	client, err := valkey.NewClient(valkey.ClientOption{InitAddress: c.Addrs(), DisableCache: true})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	keyed := func(name, key string, args ...string) valkey.ValkeyMessage {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		m, err := doAgain(ctx, client, client.B().Arbitrary(name).Keys(key).Args(args...).Build())
		if err != nil && !valkey.IsValkeyNil(err) {
			panic(name + " " + key + ": " + err.Error())
		}
		return m
	}
	primaries := func(args ...string) (out []valkey.ValkeyMessage) {
		for _, p := range c.Primaries {
			out = append(out, do(p.Client(t), args...))
		}
		return out
	}
	return remotetest.Harness{
		Backend:   clusterBackend(c),
		LateDials: true,
		Withhold:  func(log string, d time.Duration) { withhold(client, log, d) },
		Read: func(key string) (string, bool) {
			m := keyed("GET", key)
			raw, err := m.ToString()
			return raw, err == nil
		},
		Put: func(key, value string) { keyed("SET", key, value) },
		Delete: func(keys ...string) {
			for _, k := range keys {
				keyed("DEL", k)
			}
		},
		Flush: func() { primaries("FLUSHALL") },
		Keys: func(prefix string) (out []string) {
			for _, m := range primaries("KEYS", "*") {
				all, _ := m.AsStrSlice()
				out = append(out, all...)
			}
			return slices.DeleteFunc(out, func(k string) bool { return !strings.HasPrefix(k, prefix) })
		},
		Disconnect: func() {
			primaries("CLIENT", "KILL", "TYPE", "pubsub")
			primaries("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
		},
		PutList: func(key string) { keyed("DEL", key); keyed("RPUSH", key, "x") },
		PutMember: func(log string, tick float64, member string) {
			keyed("ZADD", log, strconv.FormatFloat(tick, 'g', -1, 64), member)
		},
		DeleteMember: func(log, member string) { keyed("ZREM", log, member) },
	}
}

// connectCluster connects to a cluster of its own and waits until each slot has a
// server that proves itself.
func connectCluster(t *testing.T, c *valkeytest.Cluster) backend.Conn {
	conn := connect(t, clusterBackend(c), "p", newInvalidations())
	_, err := conn.Append(within(t), changelog.Change{Retention: time.Hour}) // there is a log
	require.NoError(t, err)
	for range 2 { // and it knows the servers
		require.NoError(t, conn.Prove(within(t)))
	}
	return conn
}

// slotKey returns a key and its slot.
func slotKey(t *testing.T, c *valkeytest.Cluster) (key string, slot int, owner *valkeytest.Server, other *valkeytest.Server) {
	key = "p:d:n:{k}"
	n, err := c.Primaries[0].Do(t, "CLUSTER", "KEYSLOT", key).AsInt64()
	require.NoError(t, err)
	i := int(n) * len(c.Primaries) / 16384
	return key, int(n), c.Primaries[i], c.Primaries[(i+1)%len(c.Primaries)]
}

// What was read of a slot that has moved since is of no use: its new owner has
// told no store of changes. While it moves, no server answers for it.
func TestAMovedSlotEndsItsShard(t *testing.T) {
	t.Parallel()
	valkeytest.EachCluster(t, 3, func(t *testing.T, c *valkeytest.Cluster) {
		conn := connectCluster(t, c)
		key, slot, from, to := slotKey(t, c)
		before, elsewhere := conn.Shard(key), conn.Shard("p:d:n:{other}")
		require.False(t, before.Gone())
		from.Do(t, "SET", key, "x")
		c.MoveSlot(t, slot, from, to, func() {
			eventually(t, func() bool { return before.Gone() && conn.Shard(key).Gone() }, "it is noticed that the slot is being moved")
			_, _, err := conn.Get(within(t), []string{key}, &changelog.DeltaQuery{Limit: 1})
			require.NoError(t, err, "and it is served")
		})
		eventually(t, func() bool { return !conn.Shard(key).Gone() }, "the new owner proves itself")
		require.NotSame(t, before, conn.Shard(key))
		if conn.Shard("p:d:n:{third}") == elsewhere {
			require.False(t, elsewhere.Gone(), "others go on")
		}
		require.NoError(t, conn.Prove(within(t)))
	})
}

func TestAFailoverEndsTheShardAndAnotherComes(t *testing.T) {
	t.Parallel()
	valkeytest.EachCluster(t, 3, func(t *testing.T, c *valkeytest.Cluster) {
		conn := connectCluster(t, c)
		key, slot, _, _ := slotKey(t, c)
		before := conn.Shard(key)
		c.Failover(t, c.Replicas[slot*len(c.Primaries)/16384])
		eventually(t, func() bool { return before.Gone() && !conn.Shard(key).Gone() }, "the replica proves itself")
		require.NoError(t, conn.Prove(within(t), key))
	})
}

// A primary holds back what may write while it hands its slots over: until then it proves neither the log nor its keys.
func TestAPrimaryThatHandsItsSlotsOverProvesNothing(t *testing.T) {
	t.Parallel()
	valkeytest.EachCluster(t, 3, func(t *testing.T, c *valkeytest.Cluster) {
		conn := connectCluster(t, c)
		key, _, _, _ := slotKey(t, c)
		proves := map[string]func(ctx context.Context) error{
			"the log": func(ctx context.Context) error {
				_, err := conn.Delta(ctx, changelog.DeltaQuery{Limit: 1})
				return err
			},
			"a key": func(ctx context.Context) error { return conn.Prove(ctx, key) },
		}
		for what, prove := range proves {
			require.NoError(t, prove(within(t)), what)
			for _, s := range c.Primaries {
				s.Do(t, "CLIENT", "PAUSE", "60000", "WRITE") // as CLUSTER FAILOVER has it do
			}
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			require.Error(t, prove(ctx), what)
			cancel()
			for _, s := range c.Primaries {
				s.Do(t, "CLIENT", "UNPAUSE")
			}
			eventually(t, func() bool { return prove(within(t)) == nil }, what+" goes on")
		}
	})
}

// A primary that has lost the others refuses to serve its keys, and proves
// nothing: they may have replaced it. What the others answer for stays proven.
func TestAPrimaryWithoutItsClusterProvesNothing(t *testing.T) {
	t.Parallel()
	valkeytest.EachCluster(t, 3, func(t *testing.T, c *valkeytest.Cluster) {
		conn := connectCluster(t, c)
		key, slot, alone, _ := slotKey(t, c)
		for _, s := range c.Nodes() {
			if s != alone && s != c.Replicas[slot*len(c.Primaries)/16384] {
				s.Pause()
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.Error(t, conn.Prove(ctx), "two primaries do not answer")
		eventually(t, func() bool {
			text, err := alone.Do(t, "CLUSTER", "INFO").ToString()
			return err == nil && strings.Contains(text, "cluster_state:fail")
		}, "it notices that it is alone")
		proven := conn.Shard(key).Proof()
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.Error(t, conn.Prove(ctx, key))
		require.LessOrEqual(t, conn.Shard(key).Proof(), proven)
	}, valkeytest.Config("cluster-node-timeout", "500"))
}

// Closing does not wait for requests to a server that is gone, which the client
// tries again for as long as they may take.
func TestClosingEndsWhatIsTriedAgain(t *testing.T) {
	t.Parallel()
	valkeytest.EachCluster(t, 3, func(t *testing.T, c *valkeytest.Cluster) {
		var dials atomic.Int64
		o := valkey.ClientOption{InitAddress: c.Addrs()}
		o.DialCtxFn = func(ctx context.Context, address string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
			dials.Add(1)
			return d.DialContext(ctx, "tcp", address)
		}
		conn, err := remote.Valkey(o).Connect(within(t), backend.Options{Prefix: "p", Timeout: time.Hour, Events: newInvalidations().events()})
		require.NoError(t, err)
		for _, s := range c.Primaries {
			s.Do(t, "DEBUG", "POPULATE", "5000") // some pages
		}
		gone, purged := make(chan struct{}), make(chan error, 1)
		goOn := sync.OnceFunc(func() {
			for _, s := range c.Nodes() {
				s.Kill()
			}
			close(gone)
		})
		go func() {
			_, err := conn.Purge(context.Background(), backend.PurgeRequest{Prefixes: []string{"p:d:"}, Progress: func(backend.PurgeProgress) { goOn() }})
			purged <- err
		}()
		<-gone
		before := dials.Load()
		eventually(t, func() bool { return dials.Load() > before+10 }, "they are tried again")
		closed := make(chan error, 1)
		go func() { closed <- conn.Close() }()
		patience := time.After(time.Minute)
		for ended, want := range map[chan error]error{closed: nil, purged: backend.ErrClosed} {
			select {
			case err := <-ended:
				require.ErrorIs(t, err, want)
			case <-patience:
				t.Fatal("it waits for what may never end")
			}
		}
	})
}
