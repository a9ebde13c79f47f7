package bench

import (
	"github.com/tiercache/tiercache/internal/eviction"
	"github.com/tiercache/tiercache/local"
)

// Contestant is a cache that traces are replayed through.
type Contestant struct {
	Name string
	// Replay sends requests through a cache of so many entries. The error is that of making it.
	Replay func(requests []Request, entries int) (Counts, error)
}

// Policies are those of package local, in the order in which they are shown.
var Policies = []local.Policy{eviction.LRU, eviction.TwoQueue, eviction.TinyLFU, eviction.Adaptive}

// Ours are the policies of package local.
func Ours() (all []Contestant) {
	for _, p := range Policies {
		all = append(all, Contestant{p.String(), func(requests []Request, entries int) (Counts, error) {
			c, err := NewLocal(p, entries, 0)
			if err != nil {
				return Counts{}, err
			}
			n := Replay(c, requests)
			n.Evictions = c.Evicted()
			return n, nil
		}})
	}
	return all
}
