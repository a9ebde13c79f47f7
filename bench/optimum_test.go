package bench

import (
	"slices"
	"testing"
)

// TestNoPolicyHitsMoreThanTheOptimum, nor does anything on a short trace, of which all choices are tried.
func TestNoPolicyHitsMoreThanTheOptimum(t *testing.T) {
	for _, w := range Workloads() {
		requests := w.Make(1, 20_000)
		best := Optimum(requests, 300).Hits
		for _, c := range Ours() {
			n, err := c.Replay(requests, 300)
			if err != nil {
				t.Fatal(err)
			}
			if n.Hits > best {
				t.Errorf("%s: %s hits %d times, the optimum %d", w.Name, c.Name, n.Hits, best)
			}
		}
	}
	r := source(9)
	for range 200 {
		requests := numbers(12, func(int) int { return r.IntN(5) })
		if got, want := Optimum(requests, 2).Hits, exhaustive(requests, nil, 2); got != int64(want) {
			t.Fatalf("%d hits, at best %d", got, want)
		}
	}
}

// exhaustive tries to evict each, or not to store.
func exhaustive(requests []Request, cached []Request, size int) int {
	if len(requests) == 0 {
		return 0
	}
	r := requests[0]
	if slices.Contains(cached, r) {
		return 1 + exhaustive(requests[1:], cached, size)
	}
	with := append(slices.Clone(cached), r)
	if len(with) <= size {
		return exhaustive(requests[1:], with, size)
	}
	best := 0
	for i := range with {
		best = max(best, exhaustive(requests[1:], slices.Delete(slices.Clone(with), i, i+1), size))
	}
	return best
}
