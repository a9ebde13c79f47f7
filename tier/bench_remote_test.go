package tier_test

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/tier"
)

// BenchmarkRemoteHit reads what only the server has, beside a GET of as many bytes. Values are strings, so that neither
// side decodes anything; ours is some 100 bytes longer on the wire and is checked. Both have one connection. No two
// callers ever ask for the same key at once, or ours would send one request for both.
func BenchmarkRemoteHit(b *testing.B) {
	const perCaller = 32
	ctx := context.Background()
	keys := benchKeys((callers + 2) * perCaller)
	prefix := valkeytest.Prefix(b)
	s, bare := openBench(b, prefix), valkeytest.Shared(b).Client(b)
	for _, size := range []int{128, 4 << 10} {
		c := benchView[string](b, s, fmt.Sprintf("blobs:%d", size))
		value := func(i int) string { return blob(i, size) }
		fillWith(b, c, keys, value)
		names := make([]string, len(keys))
		for i, k := range keys {
			names[i] = fmt.Sprintf("%s:bare:%d:%s", prefix, size, k)
			set := bare.B().Set().Key(names[i]).Value(value(i)).Ex(time.Hour).Build()
			if err := bare.Do(ctx, set).Error(); err != nil {
				b.Fatal(err)
			}
		}
		noLocal := tier.NoLocal()
		ours := func(caller, i int) {
			v, err := c.Get(ctx, keys[caller*perCaller+i%perCaller], unneeded[string], noLocal)
			if err != nil || len(v) != size {
				b.Error(err, len(v))
			}
		}
		get := func(caller, i int) {
			v, err := bare.Do(ctx, bare.B().Get().Key(names[caller*perCaller+i%perCaller]).Build()).ToString()
			if err != nil || len(v) != size {
				b.Error(err, len(v))
			}
		}
		serially(b, fmt.Sprintf("%dB/serial/ours", size), func(i int) { ours(0, i) })
		serially(b, fmt.Sprintf("%dB/serial/GET", size), func(i int) { get(0, i) })
		byCallers(b, fmt.Sprintf("%dB/callers=32/ours", size), ours)
		byCallers(b, fmt.Sprintf("%dB/callers=32/GET", size), get)
	}
}

// BenchmarkMissLoadFill asks for a new key each time, whose loader answers at once: what is left is the way there. Beside
// it the same by hand, without protection from anything: GET, then SET.
//
// Ours answers the caller before the store is acknowledged; what still goes on then is paid for by the next iterations.
func BenchmarkMissLoadFill(b *testing.B) {
	ctx := context.Background()
	prefix := valkeytest.Prefix(b)
	s, bare := openBench(b, prefix), valkeytest.Shared(b).Client(b)
	c := benchView[string](b, s, "blobs")
	value := blob(0, 128)
	load := is(value)
	var fresh atomic.Int64
	ours := func(int, int) {
		if v, err := c.Get(ctx, strconv.FormatInt(fresh.Add(1), 10), load); err != nil || v != value {
			b.Error(err, v)
		}
	}
	byHand := func(int, int) {
		name := prefix + ":bare:" + strconv.FormatInt(fresh.Add(1), 10)
		if bare.Do(ctx, bare.B().Get().Key(name).Build()).Error() == nil {
			b.Error("found")
		}
		if err := bare.Do(ctx, bare.B().Set().Key(name).Value(value).Ex(time.Hour).Build()).Error(); err != nil {
			b.Error(err)
		}
	}
	serially(b, "serial/ours", func(i int) { ours(0, i) })
	serially(b, "serial/GET+SET", func(i int) { byHand(0, i) })
	byCallers(b, "callers=32/ours", ours)
	byCallers(b, "callers=32/GET+SET", byHand)
}

// BenchmarkGetMany asks for 100 keys at once: all local, all remote (beside an MGET of as many bytes), and half of them in
// no tier, which one batch load then makes.
func BenchmarkGetMany(b *testing.B) {
	const n = 100
	ctx := context.Background()
	prefix := valkeytest.Prefix(b)
	s, bare := openBench(b, prefix), valkeytest.Shared(b).Client(b)
	c := benchView[string](b, s, "blobs")
	keys, names := benchKeys(n), make([]string, n)
	value := func(i int) string { return blob(i, 128) }
	fillWith(b, c, keys, value)
	for i, k := range keys {
		names[i] = prefix + ":bare:" + k
		if err := bare.Do(ctx, bare.B().Set().Key(names[i]).Value(value(i)).Ex(time.Hour).Build()).Error(); err != nil {
			b.Fatal(err)
		}
	}
	load := func(_ context.Context, keys []string, _ tier.Entries) (map[string]string, error) {
		out := make(map[string]string, len(keys))
		for _, k := range keys {
			out[k] = blob(0, 128)
		}
		return out, nil
	}
	getAll := func(keys []string, options ...tier.CallOption) {
		if got, err := c.GetMany(ctx, keys, load, options...); err != nil || len(got) != n {
			b.Error(err, len(got))
		}
	}
	serially(b, "local", func(int) { getAll(keys) })
	serially(b, "remote/ours", func(int) { getAll(keys, tier.NoLocal()) })
	serially(b, "remote/MGET", func(int) {
		if got, err := bare.Do(ctx, bare.B().Mget().Key(names...).Build()).AsStrSlice(); err != nil || len(got) != n {
			b.Error(err, len(got))
		}
	})
	var fresh int64
	half := append([]string(nil), keys...)
	serially(b, "half-missing", func(int) {
		for i := range n / 2 {
			fresh++
			half[i] = strconv.FormatInt(fresh, 10)
		}
		getAll(half, tier.NoLocal())
	})
}
