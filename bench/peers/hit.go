package main

import (
	"context"
	"fmt"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	theine "github.com/Yiling-J/theine-go"
	"github.com/dgraph-io/ristretto/v2"
	rediscache "github.com/go-redis/cache/v9"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/hashicorp/golang-lru/v2/expirable"
	"github.com/maypok86/otter/v2"
	"github.com/valkey-io/valkey-go"
	"github.com/viccon/sturdyc"

	"github.com/tiercache/tiercache/internal/zipf"
	"github.com/tiercache/tiercache/tier"
)

const resident = 10_000

// roomy is how much more room those get that admit or evict by chance: all keys stay, and every read is a hit.
const roomy = 10

// keptHit is a cache filled with the records of keys, as a function that reads one.
type keptHit func(ctx context.Context, key string) (record, error)

// localHits reads 10,000 resident keys in a Zipf-distributed order that was drawn before. Each rival that can expire entries does.
func localHits() []work {
	kinds := []struct {
		name string
		fill func(p *pitch, keys []string) keptHit
	}{
		{ours, func(p *pitch, keys []string) keptHit { return oursHit(p, keys, nil) }},
		{"ours,_4_sources", func(p *pitch, keys []string) keptHit {
			return oursHit(p, keys, []string{"s0", "s1", "s2", "s3"})
		}},
		{"map+RWMutex", mapHit}, {"golang-lru", lruHit}, {"golang-lru_in_16_shards", shardedHit},
		{"golang-lru_expirable", expirableHit}, {"otter_with_expiry", otterHit}, {"ristretto_with_TTL", ristrettoHit},
		{"theine_with_TTL", theineHit}, {"sturdyc_GetOrFetch", sturdycHit}, {"go-redis/cache_Once", onceHit},
		{"DoCache_with_JSON", doCacheHit}, {"harness", noCache},
	}
	serial, parallel := work{name: "LocalHit/serial", unit: "ns/op"}, work{name: "LocalHit/parallel", unit: "ns/op", everyCPU: true}
	for _, k := range kinds {
		var once sync.Once
		var timed struct{ serial, parallel func(*testing.B) }
		prepare := func(p *pitch) {
			once.Do(func() {
				keys, draws := p.keys(resident), zipf.Draws(resident, zipfDraws)
				timed.serial, timed.parallel = hits(keys, draws, k.fill(p, keys))
			})
		}
		serial.contestants = append(serial.contestants, contestant{k.name, func(p *pitch) func(*testing.B) {
			prepare(p)
			return timed.serial
		}})
		parallel.contestants = append(parallel.contestants, contestant{k.name, func(p *pitch) func(*testing.B) {
			prepare(p)
			return timed.parallel
		}})
	}
	return []work{serial, parallel}
}

func hits(keys []string, draws []uint16, get keptHit) (serial, parallel func(b *testing.B)) {
	ctx := context.Background()
	hit := func(b *testing.B, i int) {
		k := draws[i%zipfDraws]
		if v, err := get(ctx, keys[k]); err != nil || v.ID != int64(k) {
			b.Error(err, v)
		}
	}
	serial = func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			hit(b, i)
		}
	}
	parallel = func(b *testing.B) {
		b.ReportAllocs()
		var start atomic.Uint32
		b.RunParallel(func(pb *testing.PB) {
			for i := int(start.Add(1)) * 7919; pb.Next(); i++ {
				hit(b, i)
			}
		})
	}
	return serial, parallel
}

func oursHit(p *pitch, keys []string, sources []string) keptHit {
	c := view[record](p.store(p.prefix()), "records")
	for batch := range batches(keys) {
		must(c.SetMany(context.Background(), batch, tier.WithSources(sources...)))
	}
	return func(ctx context.Context, key string) (record, error) { return c.Get(ctx, key, noLoad) }
}

func noLoad(context.Context, *tier.Entry) (record, error) { return record{}, errMiss }

// batches yields the records of keys, a thousand at a time.
func batches(keys []string) func(yield func(map[string]record) bool) {
	return func(yield func(map[string]record) bool) {
		for at := 0; at < len(keys); at += 1000 {
			batch := make(map[string]record, 1000)
			for i := at; i < min(at+1000, len(keys)); i++ {
				batch[keys[i]] = recordOf(i)
			}
			if !yield(batch) {
				return
			}
		}
	}
}

// putAll puts the records of keys somewhere.
func putAll(keys []string, put func(key string, v record)) {
	for i, k := range keys {
		put(k, recordOf(i))
	}
}

func found(v record, ok bool) (record, error) {
	if !ok {
		return v, errMiss
	}
	return v, nil
}

// noCache is what drawing, calling and checking cost alone. The lengths of the keys tell it what is asked for.
func noCache(_ *pitch, keys []string) keptHit {
	all := strings.Repeat("k", len(keys))
	for i := range keys {
		keys[i] = all[:i+1]
	}
	return func(_ context.Context, key string) (record, error) { return record{ID: int64(len(key) - 1)}, nil }
}

func mapHit(_ *pitch, keys []string) keptHit {
	var mu sync.RWMutex
	m := make(map[string]record)
	putAll(keys, func(k string, v record) { m[k] = v })
	return func(_ context.Context, key string) (record, error) {
		mu.RLock()
		v, ok := m[key]
		mu.RUnlock()
		return found(v, ok)
	}
}

func newLRU(size int) *lru.Cache[string, record] {
	c, err := lru.New[string, record](size)
	must(err)
	return c
}

func lruHit(_ *pitch, keys []string) keptHit {
	c := newLRU(len(keys))
	putAll(keys, func(k string, v record) { c.Add(k, v) })
	return func(_ context.Context, key string) (record, error) { return found(c.Get(key)) }
}

func shardedHit(_ *pitch, keys []string) keptHit {
	var shards [16]*lru.Cache[string, record]
	for i := range shards {
		shards[i] = newLRU(len(keys)) // each could hold all: hashes are not spread evenly
	}
	seed := maphash.MakeSeed()
	of := func(key string) *lru.Cache[string, record] { return shards[maphash.String(seed, key)%16] }
	putAll(keys, func(k string, v record) { of(k).Add(k, v) })
	return func(_ context.Context, key string) (record, error) { return found(of(key).Get(key)) }
}

func expirableHit(_ *pitch, keys []string) keptHit {
	c := expirable.NewLRU[string, record](len(keys), nil, time.Hour)
	putAll(keys, func(k string, v record) { c.Add(k, v) })
	return func(_ context.Context, key string) (record, error) { return found(c.Get(key)) }
}

func newOtter(size int) *otter.Cache[string, record] {
	c, err := otter.New(&otter.Options[string, record]{
		MaximumSize: size, ExpiryCalculator: otter.ExpiryWriting[string, record](time.Hour),
	})
	must(err)
	return c
}

func otterHit(_ *pitch, keys []string) keptHit {
	c := newOtter(len(keys) * roomy)
	putAll(keys, func(k string, v record) { c.Set(k, v) })
	return func(_ context.Context, key string) (record, error) { return found(c.GetIfPresent(key)) }
}

func ristrettoHit(_ *pitch, keys []string) keptHit {
	n := int64(len(keys) * roomy)
	c, err := ristretto.NewCache(&ristretto.Config[string, record]{NumCounters: 10 * n, MaxCost: n, BufferItems: 64, IgnoreInternalCost: true})
	must(err)
	putAll(keys, func(k string, v record) {
		for !c.SetWithTTL(k, v, 1, time.Hour) {
			c.Wait()
		}
		c.Wait()
	})
	return func(_ context.Context, key string) (record, error) { return found(c.Get(key)) }
}

func theineHit(_ *pitch, keys []string) keptHit {
	c, err := theine.NewBuilder[string, record](int64(len(keys) * roomy)).Build()
	must(err)
	putAll(keys, func(k string, v record) { c.SetWithTTL(k, v, 1, time.Hour) })
	return func(_ context.Context, key string) (record, error) { return found(c.Get(key)) }
}

func sturdycHit(_ *pitch, keys []string) keptHit {
	c := sturdyc.New[record](len(keys)*roomy, 16, time.Hour, 10)
	putAll(keys, func(k string, v record) { c.Set(k, v) })
	fetch := func(context.Context) (record, error) { return record{}, errMiss }
	return func(ctx context.Context, key string) (record, error) { return c.GetOrFetch(ctx, key, fetch) }
}

func onceHit(p *pitch, keys []string) keptHit {
	c := rediscache.New(&rediscache.Options{Redis: p.goRedis(), LocalCache: rediscache.NewTinyLFU(len(keys)*roomy, time.Hour)})
	putAll(keys, func(k string, v record) { must(c.Set(&rediscache.Item{Key: k, Value: v, TTL: time.Hour})) })
	miss := func(*rediscache.Item) (any, error) { return nil, errMiss }
	return func(ctx context.Context, key string) (v record, err error) {
		err = c.Once(&rediscache.Item{Ctx: ctx, Key: key, Value: &v, TTL: time.Hour, Do: miss})
		return v, err
	}
}

func doCacheHit(p *pitch, keys []string) keptHit {
	ctx, c := context.Background(), p.valkey()
	get := func(ctx context.Context, key string) (v record, err error) {
		err = c.DoCache(ctx, c.B().Get().Key(key).Cache(), time.Hour).DecodeJSON(&v)
		return v, err
	}
	putAll(keys, func(k string, v record) { must(c.Do(ctx, c.B().Set().Key(k).Value(valkey.JSON(v)).Build()).Error()) })
	for _, k := range keys {
		_, err := get(ctx, k)
		must(err)
	}
	return get
}

// churned is a cache under constant change.
type churned struct {
	hit   func(key string) bool
	put   func(key string, v record)
	drop  func(key string)
	after func(i int) // every write
}

// hitLatency times single hits of 5,000 keys in a cache with room for 10,000, while another goroutine stores ever new
// keys, which evicts, and removes and invalidates. A key that was evicted is put back and read again. Reading the clock is in
// it, so the row "clock" is the floor.
func hitLatency() []work {
	kinds := []struct {
		name string
		make func(p *pitch) churned
	}{
		{ours, func(p *pitch) churned {
			ctx := context.Background()
			s, err := tier.Open(ctx, tier.WithLocalEntries(resident))
			must(err)
			p.host.Cleanup(func() { _ = s.Close() })
			c := view[record](s, "records", tier.WithLocalOnly())
			return churned{
				hit:  func(key string) bool { _, err := c.Get(ctx, key, noLoad); return err == nil },
				put:  func(key string, v record) { must(c.Set(ctx, key, v)) },
				drop: func(key string) { must(c.Delete(ctx, key)) },
				after: func(i int) {
					if i%100 == 0 {
						_, err := s.InvalidateSource(ctx, "none")
						must(err)
					}
				},
			}
		}},
		{"golang-lru", func(*pitch) churned {
			c := newLRU(resident)
			return churned{
				hit: func(key string) bool { _, ok := c.Get(key); return ok },
				put: func(key string, v record) { c.Add(key, v) }, drop: func(key string) { c.Remove(key) },
			}
		}},
		{"otter_with_expiry", func(*pitch) churned {
			c := newOtter(resident)
			return churned{
				hit: func(key string) bool { _, ok := c.GetIfPresent(key); return ok },
				put: func(key string, v record) { c.Set(key, v) }, drop: func(key string) { c.Invalidate(key) },
			}
		}},
		{"clock", func(*pitch) churned {
			return churned{hit: func(string) bool { return true }, put: func(string, record) {}, drop: func(string) {}}
		}},
	}
	w := work{name: "HitLatencyBesideWriters", unit: "p99.9-ns"}
	for _, k := range kinds {
		w.contestants = append(w.contestants, contestant{k.name, func(p *pitch) func(*testing.B) {
			c, keys, draws := k.make(p), p.keys(resident), zipf.Draws(resident/2, zipfDraws)
			return func(b *testing.B) { c.time(b, keys, draws) }
		}})
	}
	return []work{w}
}

func (c churned) time(b *testing.B, keys []string, draws []uint16) {
	for i, k := range keys[:resident/2] {
		c.put(k, recordOf(i))
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; !stop.Load(); i++ {
			c.put(fmt.Sprintf("new:%d", i), recordOf(i))
			if i%4 == 0 {
				c.drop(fmt.Sprintf("new:%d", i-100))
			}
			if c.after != nil {
				c.after(i)
			}
		}
	})
	took := make([]time.Duration, b.N)
	clear(took) // so that no page is missing
	misses := 0
	b.ResetTimer()
	for i := range b.N {
		key := keys[draws[i%zipfDraws]]
		for {
			begun := time.Now()
			ok := c.hit(key)
			took[i] = time.Since(begun)
			if ok {
				break
			}
			misses++
			c.put(key, recordOf(i))
		}
	}
	b.StopTimer()
	stop.Store(true)
	wg.Wait()
	b.ReportMetric(at(took, 0.5), "p50-ns")
	b.ReportMetric(at(took, 0.999), "p99.9-ns")
	b.ReportMetric(at(took, 0.999)/at(took, 0.5), "p99.9/p50")
	b.ReportMetric(float64(misses), "misses")
}
