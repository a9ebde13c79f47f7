package bench

import (
	"fmt"
	"math"
	"time"

	"github.com/tiercache/tiercache/local"
)

// Advice says how large a local tier must be.
type Advice struct {
	Requests, Keys int
	Best           float64 // hit rate in percent if nothing is ever evicted
	EntryBytes     float64 // of an entry, on average: its size, where known, and local.Overhead
	Sized, TTLs    float64 // shares of the requests whose size, and TTL, is known
	Share          float64 // of the keys, sampled
	Curves         map[local.Policy][]Point
	Wanted         []Wanted
}

// Wanted is the smallest size of a policy for a wanted hit rate, and what doubling it adds.
type Wanted struct {
	Policy  local.Policy
	Size    Point // no entries if the rate cannot be reached
	Doubled Point
}

// keysSampled is how many keys a sample has, if there are as many: enough to be within a point of the truth for caches of
// more than a few hundred entries; smaller ones are simulated with more.
const keysSampled = 20_000

// Advise finds the smallest size for a hit rate in percent, under each policy, from a share of the keys, 0 < share ≤ 1;
// 0 chooses one. Sizes are found to one part in 50.
func Advise(requests []Request, hitRate, share float64) (*Advice, error) {
	if !(hitRate > 0 && hitRate < 100) {
		return nil, fmt.Errorf("bench: hit rate %v: must be between 0 and 100 percent", hitRate)
	}
	if len(requests) == 0 {
		return nil, fmt.Errorf("bench: no requests")
	}
	a := &Advice{Requests: len(requests), Keys: Distinct(requests), Share: share, Curves: make(map[local.Policy][]Point)}
	if share == 0 {
		a.Share = min(1, keysSampled/float64(a.Keys))
	}
	a.Best = BestHitRate(requests)
	a.measure(requests)
	sizes := Sizes(min(64, a.Keys), a.Keys, 12)
	for _, p := range Policies {
		curve, err := Curve(p, requests, sizes, a.Share)
		if err != nil {
			return nil, err
		}
		a.Curves[p] = curve
		w, err := a.want(p, requests, curve, hitRate, a.Share)
		if err != nil {
			return nil, err
		}
		a.Wanted = append(a.Wanted, w)
	}
	return a, nil
}

// BestHitRate is the hit rate in percent of a cache that never evicts.
func BestHitRate(requests []Request) float64 {
	ends := make(map[local.Key]time.Duration)
	hits := 0
	for i := range requests {
		r := &requests[i]
		if end, ok := ends[r.Key]; ok && (end == 0 || r.At < end) {
			hits++
			continue
		}
		ends[r.Key] = r.ends()
	}
	return percent(int64(hits), int64(len(requests)))
}

// measure finds what an entry takes, on average over the keys, of which a cache holds each once.
func (a *Advice) measure(requests []Request) {
	sizes := make(map[local.Key]int64)
	sized, withTTL := 0, 0
	for i := range requests {
		if r := &requests[i]; r.Size > 0 {
			sizes[r.Key] = r.Size
			sized++
		}
		if requests[i].TTL > 0 {
			withTTL++
		}
	}
	var bytes float64
	for _, size := range sizes {
		bytes += float64(size)
	}
	a.EntryBytes = local.Overhead + bytes/float64(max(len(sizes), 1))
	a.Sized, a.TTLs = float64(sized)/float64(len(requests)), float64(withTTL)/float64(len(requests))
}

// Scale makes advice from a trace that has only a share of the keys, 0 < share ≤ 1, advice for all.
func (a *Advice) Scale(share float64) {
	whole := func(n int) int { return int(math.Round(float64(n) / share)) }
	a.Requests, a.Keys = whole(a.Requests), whole(a.Keys)
	for _, curve := range a.Curves {
		for i := range curve {
			curve[i].Entries = whole(curve[i].Entries)
		}
	}
	for i := range a.Wanted {
		w := &a.Wanted[i]
		w.Size.Entries, w.Doubled.Entries = whole(w.Size.Entries), whole(w.Doubled.Entries)
	}
}

// want halves the part of the curve in which the rate is reached until its ends are close.
func (a *Advice) want(p local.Policy, requests []Request, curve []Point, hitRate, share float64) (Wanted, error) {
	w := Wanted{Policy: p}
	at := 0
	for at < len(curve) && curve[at].HitRate < hitRate {
		at++
	}
	if at == len(curve) {
		return w, nil
	}
	low, high := 1, curve[at]
	if at > 0 {
		low = curve[at-1].Entries
	}
	for high.Entries > low+1 && float64(high.Entries) > 1.02*float64(low) {
		middle := int(math.Sqrt(float64(low) * float64(high.Entries)))
		middle = min(max(middle, low+1), high.Entries-1)
		point, err := Curve(p, requests, []int{middle}, share)
		if err != nil {
			return w, err
		}
		if point[0].HitRate >= hitRate {
			high = point[0]
		} else {
			low = middle
		}
	}
	doubled, err := Curve(p, requests, []int{2 * high.Entries}, share)
	if err != nil {
		return w, err
	}
	w.Size, w.Doubled = high, doubled[0]
	return w, nil
}
