package inspect

import (
	"math/bits"
	"time"
)

// histogram counts times in buckets that are an eighth of their length wide, from 1 µs to about an hour.
type histogram struct {
	count   int64
	longest time.Duration
	buckets [32 * bucketsPerDoubling]uint32
}

const bucketsPerDoubling = 8

func (h *histogram) add(d time.Duration) {
	h.count++
	h.longest = max(h.longest, d)
	h.buckets[bucketOf(d)]++
}

// bucketOf: below 8 µs one for each; above, 8 for each doubling.
func bucketOf(d time.Duration) int {
	us := uint64(max(d.Microseconds(), 0))
	if us < bucketsPerDoubling {
		return int(us)
	}
	shift := bits.Len64(us) - 4 // keeps the leading bit and three more
	return min(shift*bucketsPerDoubling+int(us>>shift), len(histogram{}.buckets)-1)
}

// upTo is the longest time of a bucket.
func upTo(bucket int) time.Duration {
	if bucket < 2*bucketsPerDoubling {
		return time.Duration(bucket+1) * time.Microsecond
	}
	shift := bucket/bucketsPerDoubling - 1
	return time.Duration(uint64(bucket-shift*bucketsPerDoubling+1)<<shift) * time.Microsecond
}

func (h *histogram) merge(o *histogram) {
	h.count += o.count
	h.longest = max(h.longest, o.longest)
	for i, n := range o.buckets {
		h.buckets[i] += n
	}
}

// quantile returns the time that a part of the times does not exceed, too long by an eighth at most.
func (h *histogram) quantile(part float64) time.Duration {
	rank := int64(part*float64(h.count)) + 1
	for i, n := range h.buckets {
		if rank -= int64(n); rank <= 0 {
			return min(upTo(i), h.longest)
		}
	}
	return h.longest
}
