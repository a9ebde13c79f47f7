package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	rediscache "github.com/go-redis/cache/v9"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/tier"
)

const perCaller = 32 // keys that each of the 32 callers has for itself

// remoteHits reads what only the server has. Values are strings, so that each decodes nothing but its own frame.
func remoteHits() []work {
	var all []work
	for _, size := range []int{128, 4 << 10} {
		kinds := []struct {
			name string
			get  func(p *pitch, keys []string) func(ctx context.Context, key string) (string, error)
		}{
			{"valkey-go_GET", func(p *pitch, keys []string) func(context.Context, string) (string, error) {
				return bareGet(p.valkey(), keys, size)
			}},
			{"valkey-go_GET,_one_connection", func(p *pitch, keys []string) func(context.Context, string) (string, error) {
				return bareGet(p.valkeyWith(valkey.ClientOption{PipelineMultiplex: -1}), keys, size)
			}},
			// As a connection is used that invalidations come over: two goroutines stand between the caller and the network.
			{"valkey-go_GET,_pipelined", func(p *pitch, keys []string) func(context.Context, string) (string, error) {
				return bareGet(p.valkeyWith(valkey.ClientOption{PipelineMultiplex: -1, AlwaysPipelining: true}), keys, size)
			}},
			{ours, func(p *pitch, keys []string) func(context.Context, string) (string, error) {
				c := view[string](p.store(p.prefix()), "blobs")
				for i, k := range keys {
					must(c.Set(context.Background(), k, blob(i, size)))
				}
				noLocal := tier.NoLocal()
				return func(ctx context.Context, key string) (string, error) { return c.Get(ctx, key, noBlob, noLocal) }
			}},
			{"go-redis/cache_Get", func(p *pitch, keys []string) func(context.Context, string) (string, error) {
				c := rediscache.New(&rediscache.Options{Redis: p.goRedis()})
				for i, k := range keys {
					must(c.Set(&rediscache.Item{Key: k, Value: blob(i, size), TTL: time.Hour}))
				}
				return func(ctx context.Context, key string) (v string, err error) { return v, c.Get(ctx, key, &v) }
			}},
		}
		serial := work{name: fmt.Sprintf("RemoteHit/%dB/serial", size), unit: "ns/op"}
		parallel := work{name: fmt.Sprintf("RemoteHit/%dB/callers=32", size), unit: "ns/op"}
		for _, k := range kinds {
			prepare := func(p *pitch) (op func(caller, i int) error) {
				keys := p.keys((callers + 4) * perCaller)
				get := k.get(p, keys)
				return func(caller, i int) error {
					v, err := get(context.Background(), keys[caller*perCaller+i%perCaller])
					if err == nil && len(v) != size {
						err = errMiss
					}
					return err
				}
			}
			addBoth(&serial, &parallel, k.name, prepare)
		}
		all = append(all, serial, parallel)
	}
	return all
}

// addBoth adds a contestant, whose op is called by one caller in the one work, and by 32 in the other.
func addBoth(serial, parallel *work, name string, prepare func(p *pitch) (op func(caller, i int) error)) {
	serial.contestants = append(serial.contestants, contestant{name, func(p *pitch) func(*testing.B) {
		op := prepare(p)
		return serially(func(i int) error { return op(0, i) })
	}})
	parallel.contestants = append(parallel.contestants, contestant{name, func(p *pitch) func(*testing.B) { return byCallers(prepare(p)) }})
}

func noBlob(context.Context, *tier.Entry) (string, error) { return "", errMiss }

func bareGet(c valkey.Client, keys []string, size int) func(ctx context.Context, key string) (string, error) {
	for i, k := range keys {
		must(c.Do(context.Background(), c.B().Set().Key(k).Value(blob(i, size)).Ex(time.Hour).Build()).Error())
	}
	return func(ctx context.Context, key string) (string, error) {
		return c.Do(ctx, c.B().Get().Key(key).Build()).ToString()
	}
}

// misses asks for a new key each time; the loader answers at once, so that what is left is the way there and back.
func misses() []work {
	const size = 128
	ctx, value := context.Background(), blob(0, size)
	kinds := []struct {
		name string
		get  func(p *pitch) func(key string) error
	}{
		{"GET+SET", func(p *pitch) func(string) error {
			c := p.valkey()
			return func(key string) error {
				if err := c.Do(ctx, c.B().Get().Key(key).Build()).Error(); !valkey.IsValkeyNil(err) {
					return errors.Join(errMiss, err)
				}
				return c.Do(ctx, c.B().Set().Key(key).Value(value).Ex(time.Hour).Build()).Error()
			}
		}},
		{ours, func(p *pitch) func(string) error { return loading(ctx, p, value) }},
		{ours + ",_may_be_called_off", func(p *pitch) func(string) error {
			mayEnd, cancel := context.WithCancel(ctx)
			p.host.Cleanup(cancel)
			return loading(mayEnd, p, value)
		}},
		{"three-step_cache-aside", func(p *pitch) func(string) error {
			c := p.valkey()
			return func(key string) error { return threeSteps(ctx, c, key, value) }
		}},
		{"go-redis/cache_Once", func(p *pitch) func(string) error {
			c := rediscache.New(&rediscache.Options{Redis: p.goRedis(), LocalCache: rediscache.NewTinyLFU(resident, time.Hour)})
			return func(key string) error {
				var v string
				return c.Once(&rediscache.Item{Ctx: ctx, Key: key, Value: &v, TTL: time.Hour,
					Do: func(*rediscache.Item) (any, error) { return value, nil }})
			}
		}},
	}
	serial, parallel := work{name: "MissLoadFill/serial", unit: "ns/op"}, work{name: "MissLoadFill/callers=32", unit: "ns/op"}
	for _, k := range kinds {
		prepare := func(p *pitch) func(_, _ int) error {
			get, prefix := k.get(p), p.prefix()
			var n atomic.Int64
			return func(_, _ int) error { return get(prefix + ":" + strconv.FormatInt(n.Add(1), 10)) }
		}
		addBoth(&serial, &parallel, k.name, prepare)
	}
	return []work{serial, parallel}
}

// loading asks ours for keys that it has to load. A caller that cannot be called off may run the loader itself.
func loading(ctx context.Context, p *pitch, value string) func(key string) error {
	c := view[string](p.store(p.prefix()), "blobs")
	load := func(context.Context, *tier.Entry) (string, error) { return value, nil }
	return func(key string) error {
		_, err := c.Get(ctx, key, load)
		return err
	}
}

// fill stores a value if the placeholder is still the caller's.
const fill = `if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) return 1 end return 0`

var fillScript = valkey.NewLuaScript(fill)

// threeSteps is cache-aside with one load per fleet and a fenced fill, as one writes it by hand: ask; put a placeholder
// where there is nothing; fill if it is still there. A caller that finds another's placeholder would have to wait; here none does.
func threeSteps(ctx context.Context, c valkey.Client, key, value string) error {
	if err := c.Do(ctx, c.B().Get().Key(key).Build()).Error(); !valkey.IsValkeyNil(err) {
		return errors.Join(errMiss, err)
	}
	mine := strconv.FormatUint(rand.Uint64(), 36)
	claim := c.B().Set().Key(key).Value(mine).Nx().Get().PxMilliseconds(10_000).Build()
	if err := c.Do(ctx, claim).Error(); !valkey.IsValkeyNil(err) {
		return errors.Join(errMiss, err)
	}
	return fillScript.Exec(ctx, c, []string{key}, []string{mine, value, "3600000"}).Error()
}
