package remote_test

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/remotetest"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/remote"
)

func TestAClusterPassesTheBattery(t *testing.T) {
	valkeytest.EachCluster(t, 3, func(t *testing.T, c *valkeytest.Cluster) {
		remotetest.Run(t, clusterHarness(t, c))
	})
}

func clusterBackend(c *valkeytest.Cluster) remote.Backend {
	return remote.Valkey(valkey.ClientOption{InitAddress: c.Addrs()})
}

func clusterHarness(t *testing.T, c *valkeytest.Cluster) remotetest.Harness {
	client, err := valkey.NewClient(valkey.ClientOption{InitAddress: c.Addrs(), DisableCache: true})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	ctx := context.Background()
	on := func(client valkey.Client, args ...string) valkey.ValkeyMessage {
		m, err := client.Do(ctx, client.B().Arbitrary(args...).Build()).ToMessage()
		if err != nil && !valkey.IsValkeyNil(err) {
			panic(strings.Join(args, " ") + ": " + err.Error())
		}
		return m
	}
	keyed := func(name, key string, args ...string) valkey.ValkeyMessage {
		m, err := client.Do(ctx, client.B().Arbitrary(name).Keys(key).Args(args...).Build()).ToMessage()
		if err != nil && remote.Unreachable(err) { // Disconnect ends its connections as well
			m, err = client.Do(ctx, client.B().Arbitrary(name).Keys(key).Args(args...).Build()).ToMessage()
		}
		if err != nil && !valkey.IsValkeyNil(err) {
			panic(name + " " + key + ": " + err.Error())
		}
		return m
	}
	primaries := func(args ...string) (out []valkey.ValkeyMessage) {
		for _, p := range c.Primaries {
			out = append(out, on(p.Client(t), args...))
		}
		return out
	}
	return remotetest.Harness{
		Backend: clusterBackend(c),
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
