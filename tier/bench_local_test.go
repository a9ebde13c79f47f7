package tier_test

import (
	"context"
	"fmt"
	"testing"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/internal/zipf"
	"github.com/tiercache/tiercache/tier"
)

// BenchmarkLocalHit reads 10,000 resident keys. All are hits: a miss costs a thousand times as much, and a workload with
// some would measure how many. With sources, the entries depend on 4 that are shared by many.
func BenchmarkLocalHit(b *testing.B) {
	ctx := context.Background()
	keys, draws := benchKeys(10_000), zipf.Draws(10_000, zipfDraws)
	s := openBench(b, valkeytest.Prefix(b))
	for _, sources := range []int{0, 4} {
		c := benchView[record](b, s, fmt.Sprintf("records:%d", sources))
		fillWith(b, c, keys, recordOf, tier.WithSources([]string{"s0", "s1", "s2", "s3"}[:sources]...))
		hit := func(i int) {
			k := int(draws[i%zipfDraws])
			v, err := c.Get(ctx, keys[k], unneeded[record])
			if err != nil || v.ID != int64(k) {
				b.Error(err, v)
			}
		}
		serially(b, fmt.Sprintf("sources=%d/serial", sources), hit)
		inParallel(b, fmt.Sprintf("sources=%d/parallel", sources), hit)
	}
}

// BenchmarkGolangLRU is BenchmarkLocalHit on the LRU that the local tier is built on, without anything around it.
func BenchmarkGolangLRU(b *testing.B) {
	keys, draws := benchKeys(10_000), zipf.Draws(10_000, zipfDraws)
	c, err := lru.New[string, record](len(keys))
	if err != nil {
		b.Fatal(err)
	}
	for i, k := range keys {
		c.Add(k, recordOf(i))
	}
	hit := func(i int) {
		k := int(draws[i%zipfDraws])
		if v, ok := c.Get(keys[k]); !ok || v.ID != int64(k) {
			b.Error(ok, v)
		}
	}
	serially(b, "serial", hit)
	inParallel(b, "parallel", hit)
}
