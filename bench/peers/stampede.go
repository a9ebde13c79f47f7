package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	rediscache "github.com/go-redis/cache/v9"
	"github.com/valkey-io/valkey-go"
	"github.com/viccon/sturdyc"

	"github.com/tiercache/tiercache/tier"
)

const (
	fleet    = 4    // stores, as of so many processes
	crowd    = 1000 // callers of each
	loadTime = 50 * time.Millisecond
)

// stampedes has 1,000 callers in each of 4 stores ask for one missing key at once; a load takes 50 ms. What counts is how
// long it takes until all have their answer, and how often the origin was asked.
func stampedes() []work {
	ctx := context.Background()
	value := blob(0, 128)
	kinds := []struct {
		name string
		// open returns how one store gets a key, calling slow when it is missing.
		open func(p *pitch, prefix string) func(key string, slow func()) error
	}{
		{"GET+SET", func(p *pitch, _ string) func(string, func()) error {
			c := p.valkey()
			return func(key string, slow func()) error {
				err := c.Do(ctx, c.B().Get().Key(key).Build()).Error()
				if !valkey.IsValkeyNil(err) {
					return err
				}
				slow()
				return c.Do(ctx, c.B().Set().Key(key).Value(value).Ex(time.Hour).Build()).Error()
			}
		}},
		{ours, func(p *pitch, prefix string) func(string, func()) error {
			c := view[string](p.store(prefix), "blobs")
			return func(key string, slow func()) error {
				_, err := c.Get(ctx, key, func(context.Context, *tier.Entry) (string, error) { slow(); return value, nil })
				return err
			}
		}},
		{"sturdyc_GetOrFetch", func(*pitch, string) func(string, func()) error {
			c := sturdyc.New[string](resident, 16, time.Hour, 10)
			return func(key string, slow func()) error {
				_, err := c.GetOrFetch(ctx, key, func(context.Context) (string, error) { slow(); return value, nil })
				return err
			}
		}},
		{"go-redis/cache_Once", func(p *pitch, _ string) func(string, func()) error {
			c := rediscache.New(&rediscache.Options{Redis: p.goRedis(), LocalCache: rediscache.NewTinyLFU(resident, time.Hour)})
			return func(key string, slow func()) error {
				var v string
				return c.Once(&rediscache.Item{Ctx: ctx, Key: key, Value: &v, TTL: time.Hour,
					Do: func(*rediscache.Item) (any, error) { slow(); return value, nil }})
			}
		}},
	}
	w := work{name: fmt.Sprintf("Stampede/stores=%d/callers=%d", fleet, crowd), unit: "ms"}
	for _, k := range kinds {
		w.contestants = append(w.contestants, contestant{k.name, func(p *pitch) func(*testing.B) {
			prefix := p.prefix()
			var stores [fleet]func(string, func()) error
			for i := range stores {
				stores[i] = k.open(p, prefix)
			}
			var key atomic.Int64
			return func(b *testing.B) {
				var loads atomic.Int64
				for range b.N {
					stampede(b, stores[:], fmt.Sprintf("%s:%d", prefix, key.Add(1)), &loads)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/1e6/float64(b.N), "ms")
				b.ReportMetric(float64(loads.Load())/float64(b.N), "loads")
			}
		}})
	}
	return []work{w}
}

func stampede(b *testing.B, stores []func(string, func()) error, key string, loads *atomic.Int64) {
	slow := func() {
		loads.Add(1)
		time.Sleep(loadTime)
	}
	start := make(chan struct{})
	var ready, done sync.WaitGroup
	for _, get := range stores {
		for range crowd {
			ready.Add(1)
			done.Go(func() {
				ready.Done()
				<-start
				if err := get(key, slow); err != nil {
					b.Error(err)
				}
			})
		}
	}
	b.StopTimer()
	ready.Wait()
	b.StartTimer()
	close(start)
	done.Wait()
}
