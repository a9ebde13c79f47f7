package backend

import (
	"math"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/internal/serverclock"
)

// Shard is a part of the keys that a server of a cluster has, as one connection to that
// server sees it: those of [SlotsTogether] slots, or of fewer if other servers have some of these. An answered probe proves that all
// invalidations of its keys have been applied. Once another server has some of the keys, or another connection is
// used, the Shard is gone for good, and there is another one.
//
// A nil Shard stands for the only server: the answered delta proves all.
type Shard struct {
	Addr string
	// ProvenAt is when the latest answered probe was sent; 0: none, or gone.
	ProvenAt atomic.Int64
	// Reading is the server's clock in the latest answered probe; nil: none was answered.
	Reading atomic.Pointer[serverclock.Reading]
}

// Address is the address of its server; empty if none is known, or of a nil Shard.
func (s *Shard) Address() string {
	if s == nil {
		return ""
	}
	return s.Addr
}

// Age is the time since the latest answered probe was sent; it is the longest
// possible once the shard is gone, and 0 for a nil Shard.
func (s *Shard) Age(now mono.Time) time.Duration {
	if s == nil {
		return 0
	}
	proof := s.ProvenAt.Load()
	if proof == 0 {
		return math.MaxInt64
	}
	return now.Sub(mono.Time(proof))
}

// Clock is the server's clock in the latest answered probe. ok is false if none was answered, as for slots that no
// server is known to have.
func (s *Shard) Clock() (r serverclock.Reading, ok bool) {
	if s == nil {
		return r, false
	}
	if c := s.Reading.Load(); c != nil {
		return *c, true
	}
	return r, false
}

// Proof is when the latest answered probe was sent; 0 means never, that the shard is gone, or a nil Shard.
func (s *Shard) Proof() mono.Time {
	if s == nil {
		return 0
	}
	return mono.Time(s.ProvenAt.Load())
}

// Gone reports whether no copy that was read over this shard may be served any more.
func (s *Shard) Gone() bool { return s != nil && s.ProvenAt.Load() == 0 }

// NoShard is the shard of slots that no server is known to have, or of which several
// servers have some keys.
var NoShard = &Shard{}

// SlotsTogether is how many slots are of one [Shard], if one server has them.
const SlotsTogether = 16

// Slots of a cluster.
const Slots = 16384

// SlotOf is the slot of a key: CRC16 (XMODEM) of the text in its first braces, or of all
// of it if there is none, as the cluster specification has it.
func SlotOf(key string) int {
	tag := key
	if from := strings.IndexByte(key, '{'); from >= 0 {
		if n := strings.IndexByte(key[from+1:], '}'); n > 0 {
			tag = key[from+1 : from+1+n]
		}
	}
	var crc uint16
	for i := range len(tag) {
		crc = crc<<8 ^ crc16[byte(crc>>8)^tag[i]]
	}
	return int(crc) % Slots
}

var crc16 = func() (table [256]uint16) {
	for i := range table {
		crc := uint16(i) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
		table[i] = crc
	}
	return table
}()
