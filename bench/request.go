package bench

import (
	"encoding/binary"
	"time"

	"github.com/tiercache/tiercache/local"
	"github.com/zeebo/xxh3"
)

// Request is one read of one key.
type Request struct {
	Key  local.Key
	Size int64         // heap bytes of the value; 0 if not known
	At   time.Duration // since the first request; 0 if not known
	TTL  time.Duration // of the value, from when it is loaded; 0: none, or not known
}

// KeyOf hashes a key of a trace, as the library does: 128 bits of xxh3.
func KeyOf(key []byte) local.Key {
	h := xxh3.Hash128(key)
	return local.Key{Hi: h.Hi, Lo: h.Lo}
}

// KeyNumber is the key of an item of a generated workload.
func KeyNumber(i int) local.Key {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(i))
	return KeyOf(b[:])
}

// Distinct counts the keys in requests.
func Distinct(requests []Request) int {
	seen := make(map[local.Key]struct{})
	for i := range requests {
		seen[requests[i].Key] = struct{}{}
	}
	return len(seen)
}
