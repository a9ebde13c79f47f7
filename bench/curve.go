package bench

import (
	"errors"
	"fmt"
	"math"

	"github.com/tiercache/tiercache/local"
)

// Point of a curve: the hit rate, in percent, of a cache of so many entries.
type Point struct {
	Entries int
	HitRate float64
}

// sample is the part of requests whose keys' hashes are in the lowest share (spatial sampling: Waldspurger et al.,
// "Efficient MRC construction with SHARDS", FAST 2015): of each key all requests, or none.
type sample struct {
	requests []Request
	share    float64
	expected float64 // requests that a fair sample would have
}

func takeSample(requests []Request, share float64) (sample, error) {
	if !(share > 0 && share <= 1) {
		return sample{}, fmt.Errorf("bench: sampling share %v: must be above 0, at most 1", share)
	}
	if len(requests) == 0 {
		return sample{}, errors.New("bench: no requests")
	}
	s := sample{share: share, expected: share * float64(len(requests))}
	if share == 1 {
		s.requests = requests
		return s, nil
	}
	// Not the bits by which package local chooses slots and miniatures: those would all be alike within the sample.
	below := uint64(share * (1 << 32))
	for i := range requests {
		if k := requests[i].Key; (k.Lo*0x9e3779b97f4a7c15)>>32 < below {
			s.requests = append(s.requests, requests[i])
		}
	}
	if len(s.requests) == 0 {
		return sample{}, fmt.Errorf("bench: no request among %d falls into a sample of %v", len(requests), share)
	}
	return s, nil
}

// rate is the hit rate in the whole, in percent, if there were so many hits in the sample. A sample that has too many
// or too few requests has or lacks hot keys, whose requests hit at any size: they are taken off or added as hits
// (SHARDS-adj, section 3.3 of the paper).
func (s sample) rate(hits float64) float64 {
	return 100 * min(1, max(0, (hits+s.expected-float64(len(s.requests)))/s.expected))
}

// leastMiniature is the fewest entries that a miniature has: with less it tells more of single keys than of a policy.
// Measured on Zipf 0.8: 80 are off by 1.7 points, 240 by 0.6.
const leastMiniature = 200

// shareFor doubles a share until a cache of so many entries has a miniature that is large enough.
func shareFor(size int, share float64) float64 {
	for share < 1 && share*float64(size) < leastMiniature {
		share *= 2
	}
	return min(share, 1)
}

// Curve returns the hit rates of a policy at each of these sizes, from miniature simulations with a share of the keys,
// 0 < share ≤ 1: the policy itself in caches as much smaller (Waldspurger et al., "Cache modeling and optimization using
// miniature simulations", USENIX ATC 2017). A cache too small for that is simulated with more keys.
func Curve(policy local.Policy, requests []Request, sizes []int, share float64) ([]Point, error) {
	return miniatures(requests, sizes, share, func(requests []Request, entries int) (Counts, error) {
		c, err := NewLocal(policy, entries, 0)
		if err != nil {
			return Counts{}, err
		}
		return Replay(c, requests), nil
	})
}

func miniatures(requests []Request, sizes []int, share float64, replay func([]Request, int) (Counts, error)) ([]Point, error) {
	if _, err := takeSample(requests, share); err != nil {
		return nil, err
	}
	points := make([]Point, len(sizes))
	for i, size := range sizes {
		part, err := takeSample(requests, shareFor(size, share))
		if err != nil {
			return nil, err
		}
		n, err := replay(part.requests, max(1, int(math.Round(float64(size)*part.share))))
		if err != nil {
			return nil, err
		}
		points[i] = Point{size, part.rate(float64(n.Hits))}
	}
	return points, nil
}

// Sizes returns n sizes from least to most, in equal ratios.
func Sizes(least, most, n int) (sizes []int) {
	for i := range n {
		ratio := float64(i) / float64(max(n-1, 1))
		size := int(math.Round(float64(least) * math.Pow(float64(most)/float64(least), ratio)))
		if len(sizes) == 0 || size > sizes[len(sizes)-1] {
			sizes = append(sizes, size)
		}
	}
	return sizes
}
