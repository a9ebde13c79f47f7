package remote_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/remoteerr"
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

// doAgain does a command that may be done twice, once more if its connection had been ended: Disconnect of a cluster's harness
// ends those of its own client too, which learns of it from the next command.
func doAgain(ctx context.Context, client valkey.Client, cmd valkey.Completed) (valkey.ValkeyMessage, error) {
	m, err := client.Do(ctx, cmd.Pin()).ToMessage()
	if err != nil && remoteerr.Unreachable(err) {
		return client.Do(ctx, cmd).ToMessage()
	}
	return m, err
}

// withhold has messages of a change log wait.
func withhold(client valkey.Client, log string, d time.Duration) {
	const script = `
local t = redis.call('TIME')
local told = string.format('%.0f', redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2])
for _, m in ipairs(redis.call('ZRANGE', KEYS[1], 0, 3)) do
  if string.byte(m) == 109 then
    told = string.match(m, '^m(%d+)')
    redis.call('ZREM', KEYS[1], m)
  end
end
return redis.call('ZADD', KEYS[1], -1, 'm' .. told .. ':' .. string.format('%.0f', t[1] * 1000000 + t[2] + ARGV[1]))`
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	micros := strconv.FormatInt((changelog.MessageBurst + d).Microseconds(), 10)
	if _, err := doAgain(ctx, client, client.B().Eval().Script(script).Numkeys(1).Key(log).Arg(micros).Build()); err != nil {
		panic("withhold messages of " + log + ": " + err.Error())
	}
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
		Withhold: func(log string, d time.Duration) { withhold(client, log, d) },
		PutList:  func(key string) { do("DEL", key); do("RPUSH", key, "x") },
		PutMember: func(log string, tick float64, member string) {
			do("ZADD", log, strconv.FormatFloat(tick, 'g', -1, 64), member)
		},
		DeleteMember: func(log, member string) { do("ZREM", log, member) },
	}
}
