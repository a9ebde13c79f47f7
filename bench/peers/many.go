package main

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/tiercache/tiercache/tier"
)

// many asks for 100 keys at once, all of which are local, remote, or half of them in no tier. MGET is the floor for the
// last two: it gives as many bytes, checks and loads nothing.
func many() []work {
	const n, size = 100, 128
	ctx := context.Background()
	type getAll func(keys []string, options ...tier.CallOption) error
	open := func(p *pitch) (keys []string, get getAll) {
		c := view[string](p.store(p.prefix()), "blobs")
		keys = p.keys(n)
		for i, k := range keys {
			must(c.Set(ctx, k, blob(i, size)))
		}
		load := func(_ context.Context, keys []string, _ tier.Entries) (map[string]string, error) {
			out := make(map[string]string, len(keys))
			for _, k := range keys {
				out[k] = blob(0, size)
			}
			return out, nil
		}
		return keys, func(keys []string, options ...tier.CallOption) error {
			got, err := c.GetMany(ctx, keys, load, options...)
			if err == nil && len(got) != n {
				err = errMiss
			}
			return err
		}
	}
	mget := contestant{"MGET", func(p *pitch) func(*testing.B) {
		c, keys := p.valkey(), p.keys(n)
		for i, k := range keys {
			must(c.Do(ctx, c.B().Set().Key(k).Value(blob(i, size)).Ex(time.Hour).Build()).Error())
		}
		return serially(func(int) error {
			got, err := c.Do(ctx, c.B().Mget().Key(keys...).Build()).AsStrSlice()
			if err == nil && len(got) != n {
				err = errMiss
			}
			return err
		})
	}}
	return []work{
		{name: "GetMany/local", unit: "ns/op", contestants: []contestant{{ours, func(p *pitch) func(*testing.B) {
			keys, get := open(p)
			return serially(func(int) error { return get(keys) })
		}}}},
		{name: "GetMany/remote", unit: "ns/op", contestants: []contestant{{ours, func(p *pitch) func(*testing.B) {
			keys, get := open(p)
			return serially(func(int) error { return get(keys, tier.NoLocal()) })
		}}, mget}},
		{name: "GetMany/half-missing", unit: "ns/op", contestants: []contestant{{ours, func(p *pitch) func(*testing.B) {
			keys, get := open(p)
			fresh := 0
			return serially(func(int) error {
				for i := range n / 2 {
					fresh++
					keys[i] = strconv.Itoa(fresh)
				}
				return get(keys, tier.NoLocal())
			})
		}}, mget}},
	}
}
