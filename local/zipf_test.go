package local

import (
	"math"
	"math/rand/v2"
	"sort"
)

// zipf draws 0 … n-1 with probability proportional to 1/(i+1)^s. The one in math/rand has no s ≤ 1, which caches see
// most.
type zipf struct{ sum []float64 }

func newZipf(n int, s float64) zipf {
	sum, total := make([]float64, n), 0.0
	for i := range sum {
		total += math.Pow(float64(i+1), -s)
		sum[i] = total
	}
	return zipf{sum}
}

func (z zipf) draw(r *rand.Rand) int {
	return sort.SearchFloat64s(z.sum, r.Float64()*z.sum[len(z.sum)-1])
}
