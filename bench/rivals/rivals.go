// Package rivals has the caches that package local is compared with, and the optimum. It promises nothing but that each
// is set up as its authors advise, and has stored and evicted what it wants to before the next request comes.
package rivals

import (
	"github.com/dgraph-io/ristretto/v2"
	"github.com/hashicorp/golang-lru/arc/v2"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/maypok86/otter/v2"

	"github.com/tiercache/tiercache/bench"
	"github.com/tiercache/tiercache/local"
)

// All are the rivals, and last the optimum.
func All() []bench.Contestant {
	return []bench.Contestant{
		{Name: "golang-lru", Replay: func(requests []bench.Request, entries int) (bench.Counts, error) {
			c, err := lru.New[local.Key, struct{}](entries)
			return replayAdder(c, requests, err)
		}},
		{Name: "golang-lru ARC", Replay: func(requests []bench.Request, entries int) (bench.Counts, error) {
			c, err := arc.NewARC[local.Key, struct{}](entries)
			return replayAdder(silent{c}, requests, err)
		}},
		{Name: "otter", Replay: func(requests []bench.Request, entries int) (bench.Counts, error) {
			c, err := otter.New(&otter.Options[local.Key, struct{}]{
				MaximumSize: entries,
				Executor:    func(maintain func()) { maintain() },
			})
			return replayAdder(otterCache{c}, requests, err)
		}},
		{Name: "ristretto", Replay: replayRistretto},
		{Name: "optimum", Replay: func(requests []bench.Request, entries int) (bench.Counts, error) {
			return bench.Optimum(requests, entries), nil
		}},
	}
}

// adder is the shape of golang-lru's caches.
type adder interface {
	Get(local.Key) (struct{}, bool)
	Add(local.Key, struct{}) bool
}

type added struct{ adder }

func (a added) Access(k local.Key, _ int64) bool {
	_, ok := a.Get(k)
	if !ok {
		a.Add(k, struct{}{})
	}
	return ok
}

func replayAdder(a adder, requests []bench.Request, err error) (bench.Counts, error) {
	if err != nil {
		return bench.Counts{}, err
	}
	return bench.Replay(added{a}, requests), nil
}

type silent struct {
	*arc.ARCCache[local.Key, struct{}]
}

func (s silent) Add(k local.Key, v struct{}) bool {
	s.ARCCache.Add(k, v)
	return true
}

type otterCache struct {
	*otter.Cache[local.Key, struct{}]
}

func (o otterCache) Get(k local.Key) (struct{}, bool) { return o.GetIfPresent(k) }

func (o otterCache) Add(k local.Key, v struct{}) bool {
	_, ok := o.Set(k, v)
	return ok
}

// replayRistretto waits for each value to be stored: it does so in the background, and drops some when hurried.
func replayRistretto(requests []bench.Request, entries int) (bench.Counts, error) {
	c, err := ristretto.NewCache(&ristretto.Config[uint64, struct{}]{
		NumCounters: 10 * int64(entries), MaxCost: int64(entries), BufferItems: 64, IgnoreInternalCost: true,
		KeyToHash: func(k uint64) (uint64, uint64) { return k, 0 },
	})
	if err != nil {
		return bench.Counts{}, err
	}
	defer c.Close()
	return bench.Replay(ristrettoCache{c}, requests), nil
}

type ristrettoCache struct {
	*ristretto.Cache[uint64, struct{}]
}

func (r ristrettoCache) Access(k local.Key, _ int64) bool {
	if _, ok := r.Get(k.Lo); ok {
		return true
	}
	r.Set(k.Lo, struct{}{}, 1)
	r.Wait()
	return false
}
