package bench

import "github.com/tiercache/tiercache/local"

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

// Replay sends all requests through c.
func Replay(c Cache, requests []Request) Counts {
	n := Counts{Requests: int64(len(requests))}
	for i := range requests {
		r := &requests[i]
		n.Bytes += r.Size
		if c.Access(r.Key, r.Size) {
			n.Hits++
			n.HitBytes += r.Size
		}
	}
	return n
}

// Local is the library's local tier in the hands of a replay.
type Local struct {
	cache *local.Cache[struct{}]
}

// NewLocal returns an empty local tier of a policy, bounded by entries, by bytes or by both; 0 is no bound.
func NewLocal(policy local.Policy, entries int, bytes int64) (*Local, error) {
	c, err := local.New(local.Config[struct{}]{MaxEntries: entries, MaxBytes: bytes, Policy: policy})
	return &Local{c}, err
}

// Access implements [Cache].
func (l *Local) Access(k local.Key, size int64) bool {
	if _, ok := l.cache.Get(k); ok {
		return true
	}
	l.cache.Put(k, struct{}{}, size)
	return false
}

// Evicted is how many entries left for want of room.
func (l *Local) Evicted() int64 { return int64(l.cache.Stats().Evicted) }
