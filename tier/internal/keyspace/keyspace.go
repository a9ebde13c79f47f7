// Package keyspace names the remote keys of a namespace.
package keyspace

import (
	"encoding/base64"
	"encoding/binary"
	"net/url"
	"strings"
	"unsafe"

	"github.com/zeebo/xxh3"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/local"
)

// Space makes the names of a namespace's remote keys.
type Space struct {
	seed   uint64 // of the keys' hash
	Prefix string // of the names
}

// New returns the Space of the namespace path in a store with a prefix.
func New(prefix, path string) Space {
	return Space{seed: xxh3.HashString(path), Prefix: prefix + ":d:" + escape(path) + ":"}
}

// escape spells path with plain bytes and the colons between segments. It is
// injective, and no escaped path holds a brace or a wildcard.
func escape(path string) string {
	const hex = "0123456789abcdef"
	var b strings.Builder
	for i := range len(path) {
		if c := path[i]; Plain(c) || c == ':' {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

// PathOf returns the path of the namespace that a remote name of a store with a prefix is of; "" if it is no such name.
func PathOf(prefix, name string) string {
	rest, ok := strings.CutPrefix(name, prefix+":d:")
	end := strings.LastIndex(rest, ":{")
	if !ok || end < 0 {
		return ""
	}
	path, err := url.PathUnescape(rest[:end])
	if err != nil {
		return ""
	}
	return path
}

// Plain reports whether b is written unescaped in the name of a remote key.
func Plain(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '-' || b == '_' || b == '.'
}

// Hash is the identity of a key. It is the same in every process, since the remote
// name is made of it. Each lookup by hash then compares namespace and key in full, so
// two keys of one hash evict each other and are never taken for one another.
func (n *Space) Hash(key string) local.Key {
	h := xxh3.HashString128Seed(key, n.seed)
	return local.Key{Hi: h.Hi, Lo: h.Lo}
}

// RemoteName is "prefix:d:namespace:{hash}": the braces put a key and its lease
// into one slot, which the key cannot choose.
func (n *Space) RemoteName(h local.Key) string {
	b := n.appendName(make([]byte, 0, n.nameLen()), h)
	return unsafe.String(&b[0], len(b)) // nothing else refers to b
}

// BesideName is the name of the entry of encoding shape that stands beside one of another encoding under RemoteName(h). The
// braces put both into one slot.
func (n *Space) BesideName(h local.Key, shape uint64) string {
	b := append(n.appendName(make([]byte, 0, n.nameLen()+shapeText), h), '~')
	var raw [8]byte
	binary.BigEndian.PutUint64(raw[:], shape)
	b = base64.RawURLEncoding.AppendEncode(b, raw[:])
	return unsafe.String(&b[0], len(b)) // nothing else refers to b
}

// NameAll calls tell with the remote names of count hashes. They share one piece of
// memory, so each keeps the others alive.
func (n *Space) NameAll(count int, hash func(i int) local.Key, tell func(i int, name string)) {
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

func (n *Space) nameLen() int { return len(n.Prefix) + hashText + 2 }

func (n *Space) appendName(b []byte, h local.Key) []byte {
	var raw [16]byte
	for i := range 8 {
		raw[i], raw[8+i] = byte(h.Hi>>(56-8*i)), byte(h.Lo>>(56-8*i))
	}
	b = append(append(b, n.Prefix...), '{')
	return append(base64.RawURLEncoding.AppendEncode(b, raw[:]), '}')
}

const (
	hashText  = 22     // of 16 bytes in base64
	shapeText = 1 + 11 // a tilde, and 8 bytes in base64
)

// Parse returns the hash in a name that an invalidation of the server holds,
// and whether the name is that of the key's lease. An entry that stands beside another has
// the hash of that.
func Parse(name string) (h local.Key, lease, ok bool) {
	if key, is := backend.LeaseOf(name); is {
		name, lease = key, true
	}
	if n := len(name) - shapeText; n > 0 && name[n] == '~' {
		name = name[:n]
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
