package tier

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"unsafe"

	"github.com/zeebo/xxh3"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/invalidation"
	"github.com/tiercache/tiercache/local"
)

// MaxKey is the longest key in bytes. Keys may hold anything.
const MaxKey = 1 << 20

func checkKey(key string) error {
	if key == "" {
		return errors.New("tier: a key must not be empty")
	}
	if len(key) > MaxKey {
		return fmt.Errorf("tier: key %.40q… is %d bytes long, the limit is %d", key, len(key), MaxKey)
	}
	return nil
}

// namespace is what the views of one namespace share in a store.
type namespace struct {
	path   string
	seed   uint64 // of the keys' hash
	name   string // the prefix of its remote keys' names
	scopes []invalidation.Scope
	// pins holds the scopes for all entries.
	pins  *changelog.Pins
	stats counters
	// misses is the recent share of reads of the remote tier that missed, in 256ths.
	misses atomic.Int32
	// declared is nil until a key of the namespace is set or deleted.
	declared atomic.Pointer[declaration]
	views    views
}

// learn counts a read of the remote tier. The latest counts for an eighth; that two at
// once may count as one does not matter.
func (n *namespace) learn(missed bool) {
	was := n.misses.Load()
	now := was - was/8
	if missed {
		now += 256 / 8
	}
	if now != was {
		n.misses.Store(now)
	}
}

// mostlyMisses reports whether the next read is likely to miss.
func (n *namespace) mostlyMisses() bool { return n.misses.Load() > 128 }

func newNamespace(prefix, path string) *namespace {
	return &namespace{
		path:   path,
		seed:   xxh3.HashString(path),
		name:   prefix + ":d:" + escape(path) + ":",
		scopes: invalidation.Namespaces(path),
	}
}

// escape spells path with plain bytes and the colons between segments. It is
// injective, and no escaped path holds a brace or a wildcard.
func escape(path string) string {
	const hex = "0123456789abcdef"
	var b strings.Builder
	for i := range len(path) {
		if c := path[i]; plain(c) || c == ':' {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

// hash is the identity of a key. It is the same in every process, since the remote
// name is made of it. Each lookup by hash then compares namespace and key in full, so
// two keys of one hash evict each other and are never taken for one another.
func (n *namespace) hash(key string) local.Key {
	h := xxh3.HashString128Seed(key, n.seed)
	return local.Key{Hi: h.Hi, Lo: h.Lo}
}

// remoteName is "prefix:d:namespace:{hash}": the braces put a key and its lease
// into one slot, which the key cannot choose.
func (n *namespace) remoteName(h local.Key) string {
	b := n.appendName(make([]byte, 0, n.nameLen()), h)
	return unsafe.String(&b[0], len(b)) // nothing else refers to b
}

// nameAll calls tell with the remote names of count hashes. They share one piece of
// memory, so each keeps the others alive.
func (n *namespace) nameAll(count int, hash func(i int) local.Key, tell func(i int, name string)) {
	if count == 0 {
		return
	}
	b := make([]byte, 0, count*n.nameLen())
	for i := range count {
		b = n.appendName(b, hash(i))
	}
	all := unsafe.String(&b[0], len(b)) // b is not written to any more, and nothing else refers to it
	for i := range count {
		tell(i, all[i*n.nameLen():(i+1)*n.nameLen()])
	}
}

func (n *namespace) nameLen() int { return len(n.name) + hashText + 2 }

func (n *namespace) appendName(b []byte, h local.Key) []byte {
	var raw [16]byte
	for i := range 8 {
		raw[i], raw[8+i] = byte(h.Hi>>(56-8*i)), byte(h.Lo>>(56-8*i))
	}
	b = append(append(b, n.name...), '{')
	return append(base64.RawURLEncoding.AppendEncode(b, raw[:]), '}')
}

const hashText = 22 // of 16 bytes in base64

// parseRemoteName returns the hash in a name that an invalidation of the server holds,
// and whether the name is that of the key's lease.
func parseRemoteName(name string) (h local.Key, lease, ok bool) {
	if key, is := backend.LeaseOf(name); is {
		name, lease = key, true
	}
	n := len(name) - hashText - 2
	if n < 0 || name[n] != '{' || name[len(name)-1] != '}' {
		return h, lease, false
	}
	var text [hashText]byte
	var raw [16]byte
	copy(text[:], name[n+1:])
	if _, err := base64.RawURLEncoding.Decode(raw[:], text[:]); err != nil {
		return h, lease, false
	}
	for i := range 8 {
		h.Hi, h.Lo = h.Hi<<8|uint64(raw[i]), h.Lo<<8|uint64(raw[8+i])
	}
	return h, lease, true
}
