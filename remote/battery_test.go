package remote_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/remotetest"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/remote"
)

func TestValkeyPassesTheBattery(t *testing.T) {
	valkeytest.EachVersion(t, func(t *testing.T, s *valkeytest.Server) {
		remotetest.Run(t, valkeyHarness(t, s))
	})
}

func TestValkeyPassesTheBatteryWithoutTracking(t *testing.T) {
	valkeytest.EachVersion(t, func(t *testing.T, s *valkeytest.Server) {
		h := valkeyHarness(t, s)
		h.NoTracking = true
		remotetest.Run(t, h)
	})
}

func backendOf(s *valkeytest.Server) backend.Backend {
	return remote.Valkey(valkey.ClientOption{InitAddress: []string{s.Addr}})
}

// do is a command of a harness. It panics, since a harness is used by goroutines of a test.
func do(client valkey.Client, args ...string) valkey.ValkeyMessage {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	m, err := client.Do(ctx, client.B().Arbitrary(args...).Build()).ToMessage()
	if err != nil && !valkey.IsValkeyNil(err) {
		panic(strings.Join(args, " ") + ": " + err.Error())
	}
	return m
}

func valkeyHarness(t *testing.T, s *valkeytest.Server) remotetest.Harness {
	client := s.Client(t)
	do := func(args ...string) valkey.ValkeyMessage { return do(client, args...) }
	return remotetest.Harness{
		Backend: backendOf(s),
		Read: func(key string) (string, bool) {
			m := do("GET", key)
			raw, err := m.ToString()
			return raw, err == nil
		},
		Put:    func(key, value string) { do("SET", key, value) },
		Delete: func(keys ...string) { do(append([]string{"DEL"}, keys...)...) },
		Flush:  func() { do("FLUSHALL") },
		Keys: func(prefix string) (out []string) {
			m := do("KEYS", "*")
			all, _ := m.AsStrSlice()
			for _, k := range all {
				if strings.HasPrefix(k, prefix) {
					out = append(out, k)
				}
			}
			return out
		},
		Disconnect: func() {
			do("CLIENT", "KILL", "TYPE", "pubsub")
			do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
		},
		PutList: func(key string) { do("DEL", key); do("RPUSH", key, "x") },
		PutMember: func(log string, tick float64, member string) {
			do("ZADD", log, strconv.FormatFloat(tick, 'g', -1, 64), member)
		},
		DeleteMember: func(log, member string) { do("ZREM", log, member) },
	}
}
