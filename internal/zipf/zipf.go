// Package zipf draws numbers by Zipf's law, for tests and benchmarks. The one
// in math/rand has no exponent ≤ 1, which caches see most.
package zipf

import (
	"math"
	"math/rand/v2"
	"sort"
)

// Zipf draws 0 … n-1, each i with a probability proportional to 1/(i+1)^s.
type Zipf struct{ upTo []float64 }

// New returns the law for n numbers and exponent s ≥ 0.
func New(n int, s float64) Zipf {
	upTo, sum := make([]float64, n), 0.0
	for i := range upTo {
		sum += math.Pow(float64(i+1), -s)
		upTo[i] = sum
	}
	return Zipf{upTo}
}

// Draw draws one number.
func (z Zipf) Draw(r *rand.Rand) int {
	return sort.SearchFloat64s(z.upTo, r.Float64()*z.upTo[len(z.upTo)-1])
}

// Draws returns the same draws of n numbers with exponent 1 each time, n < 1<<16,
// of which the hot ones are no neighbours.
func Draws(n, draws int) []uint16 {
	r, z := rand.New(rand.NewPCG(1, 2)), New(n, 1)
	places := r.Perm(n)
	out := make([]uint16, draws)
	for i := range out {
		out[i] = uint16(places[z.Draw(r)])
	}
	return out
}
