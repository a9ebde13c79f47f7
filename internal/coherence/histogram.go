package coherence

import (
	"math"
	"math/bits"
	"time"
)

// Histogram counts durations in buckets that are an eighth of their value wide.
type Histogram struct {
	Buckets [buckets]int64
	Count   int64
	Max     time.Duration
}

const (
	fineBits = 3
	buckets  = 64 << fineBits
)

// Add counts d.
func (h *Histogram) Add(d time.Duration) {
	h.Buckets[bucket(d)]++
	h.Count++
	h.Max = max(h.Max, d)
}

// bucket of d is told by its highest bits.
func bucket(d time.Duration) int {
	if d < 1<<fineBits {
		return int(max(d, 0))
	}
	shift := bits.Len64(uint64(d)) - 1 - fineBits
	return (shift+1)<<fineBits + int(uint64(d)>>shift)&(1<<fineBits-1)
}

// upper is the largest duration in a bucket.
func upper(i int) time.Duration {
	if i < 1<<fineBits {
		return time.Duration(i)
	}
	shift := i>>fineBits - 1
	low := int64(1<<fineBits+i&(1<<fineBits-1)) << shift
	return time.Duration(low + 1<<shift - 1)
}

// Merge adds the samples of other.
func (h *Histogram) Merge(other *Histogram) {
	for i, n := range other.Buckets {
		h.Buckets[i] += n
	}
	h.Count += other.Count
	h.Max = max(h.Max, other.Max)
}

// Quantile returns a duration that the share q of samples does not exceed.
func (h *Histogram) Quantile(q float64) time.Duration {
	left := int64(math.Ceil(q * float64(h.Count)))
	for i, n := range h.Buckets {
		if left -= n; left <= 0 && n > 0 {
			return min(upper(i), h.Max)
		}
	}
	return h.Max
}
