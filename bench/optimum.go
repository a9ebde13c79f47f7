package bench

import (
	"container/heap"

	"github.com/tiercache/tiercache/local"
)

// Optimum replays requests through a cache of so many entries that knows the future: the entry that is asked for again last, or
// never, leaves, or is not stored at all (Belady, "A study of replacement algorithms for a virtual-storage computer",
// IBM Systems Journal 1966). No policy can hit more.
func Optimum(requests []Request, entries int) Counts {
	n := Counts{Requests: int64(len(requests))}
	next := nextUses(requests)
	last := &farthest{}
	due := make(map[local.Key]int) // next use of those in the cache
	for i := range requests {
		r := &requests[i]
		n.Bytes += r.Size
		if _, ok := due[r.Key]; ok {
			n.Hits++
			n.HitBytes += r.Size
		}
		due[r.Key] = next[i]
		heap.Push(last, use{next[i], r.Key})
		for len(due) > entries {
			// What was used since it came into the heap is there again, and above: what is past is below all that is to come.
			delete(due, heap.Pop(last).(use).key)
		}
	}
	return n
}

// OptimumCurve returns the optimum's hit rates at these sizes, from a share of the keys, 0 < share ≤ 1, as [Curve] does
// for policies.
func OptimumCurve(requests []Request, sizes []int, share float64) ([]Point, error) {
	return miniatures(requests, sizes, share, func(requests []Request, entries int) (Counts, error) {
		return Optimum(requests, entries), nil
	})
}

// nextUses says of each request when its key is asked for again; never is the number of requests.
func nextUses(requests []Request) []int {
	next, seen := make([]int, len(requests)), make(map[local.Key]int)
	for i := len(requests) - 1; i >= 0; i-- {
		next[i] = len(requests)
		if at, ok := seen[requests[i].Key]; ok {
			next[i] = at
		}
		seen[requests[i].Key] = i
	}
	return next
}

type use struct {
	at  int
	key local.Key
}

// farthest is a heap whose top is used last.
type farthest []use

func (f farthest) Len() int           { return len(f) }
func (f farthest) Less(i, j int) bool { return f[i].at > f[j].at }
func (f farthest) Swap(i, j int)      { f[i], f[j] = f[j], f[i] }
func (f *farthest) Push(u any)        { *f = append(*f, u.(use)) }
func (f *farthest) Pop() any {
	old := *f
	u := old[len(old)-1]
	*f = old[:len(old)-1]
	return u
}
