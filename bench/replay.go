package bench

import (
	"time"

	"github.com/tiercache/tiercache/local"
)

// Cache is what a trace is replayed through.
type Cache interface {
	// Access reads a key, stores a value of the size if it is not there, and reports whether it was.
	Access(k local.Key, size int64) bool
}

// Counts are what came of a replay.
type Counts struct {
	Requests, Hits  int64
	Bytes, HitBytes int64 // sizes of the values asked for, and of those that hit
	Evictions       int64 // 0 if the cache does not tell
}

// HitRate is the share of requests that hit, in percent.
func (c Counts) HitRate() float64 { return percent(c.Hits, c.Requests) }

// ByteHitRate is the share of the bytes asked for that hit, in percent; 0 if sizes are not known.
func (c Counts) ByteHitRate() float64 { return percent(c.HitBytes, c.Bytes) }

func percent(part, all int64) float64 {
	if all == 0 {
		return 0
	}
	return 100 * float64(part) / float64(all)
}

// expiring is a cache that knows of TTLs.
type expiring interface {
	// AccessAt is Cache.Access at the time of r. A value whose TTL has passed is not there.
	AccessAt(r *Request) bool
}

// Replay sends all requests through c.
func Replay(c Cache, requests []Request) Counts {
	n := Counts{Requests: int64(len(requests))}
	access := func(r *Request) bool { return c.Access(r.Key, r.Size) }
	if e, ok := c.(expiring); ok {
		access = e.AccessAt
	}
	for i := range requests {
		r := &requests[i]
		n.Bytes += r.Size
		if access(r) {
			n.Hits++
			n.HitBytes += r.Size
		}
	}
	return n
}

// Local is the library's local tier in the hands of a replay.
type Local struct {
	cache *local.Cache[time.Duration] // when a value ends; 0: never
}

// NewLocal returns an empty local tier of a policy, bounded by entries, by bytes or by both; 0 is no bound.
func NewLocal(policy local.Policy, entries int, bytes int64) (*Local, error) {
	c, err := local.New(local.Config[time.Duration]{MaxEntries: entries, MaxBytes: bytes, Policy: policy})
	return &Local{c}, err
}

// Access implements [Cache].
func (l *Local) Access(k local.Key, size int64) bool {
	return l.AccessAt(&Request{Key: k, Size: size})
}

// AccessAt is Access at the time of r: a value whose TTL has passed is loaded again.
func (l *Local) AccessAt(r *Request) bool {
	if ends, ok := l.cache.Get(r.Key); ok && (ends == 0 || r.At < ends) {
		return true
	}
	l.cache.Put(r.Key, r.ends(), r.Size)
	return false
}

// ends is when a value that is loaded by r ends; 0: never.
func (r *Request) ends() time.Duration {
	if r.TTL == 0 {
		return 0
	}
	return r.At + r.TTL
}

// Evicted is how many entries left for want of room.
func (l *Local) Evicted() int64 { return int64(l.cache.Stats().Evicted) }
