package pace

import (
	"math"
	"sync/atomic"
	"time"
)

// LoadTime is how long the loads of a view have taken lately. The zero LoadTime knows of none.
type LoadTime struct{ mean atomic.Int64 } // a time.Duration

// Note counts a load that took d.
func (t *LoadTime) Note(d time.Duration) {
	for {
		old := t.mean.Load()
		next := old + (int64(d)-old)/8
		if old == 0 {
			next = int64(d)
		}
		if t.mean.CompareAndSwap(old, next) {
			return
		}
	}
}

// EarlyShare is the share of an entry's TTL after which it is renewed ahead of its end: share, or sooner, so
// that a load begins and ends before that. By how much sooner is drawn for the entry and the process, as in
// XFetch (Vattani and others, "Optimal Probabilistic Cache Stampede Prevention"): so a fleet does not begin at once.
// XFetch draws with each read, and many readers begin ever earlier.
//
// random is the same for the same entry in the same process, and even.
func (t *LoadTime) EarlyShare(share float64, ttl time.Duration, random uint64) float64 {
	took := float64(t.mean.Load())
	if share <= 0 || took == 0 || ttl <= 0 {
		return share
	}
	u := (float64(mix(random)>>11) + 1) / (1 << 53) // above 0, up to 1
	lead := took * (1 - math.Log(u)/2)
	// guard: early-enough-for-load
	return min(share, max(1-lead/float64(ttl), leastShare))
}

// leastShare keeps loads that take about as long as their TTL from following each other without a pause.
const leastShare = 0.5

// mix spreads the bits of x (splitmix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
