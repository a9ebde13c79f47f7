package invalidation

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/zeebo/xxh3"
)

// Scope names what changes as a unit, as a member of the change log. The first
// byte is its kind, so a source can never be taken for a namespace or for one of
// the log's own members.
type Scope string

const (
	// MaxPlain is the longest name that stands in the log as it is. A longer
	// one is replaced by its 128-bit hash; should two ever collide, a change of
	// one also invalidates the other, which costs a miss.
	MaxPlain = 64

	// MaxNamespace is the longest namespace path in bytes.
	MaxNamespace = 512

	// MaxSource is the longest source id in bytes.
	MaxSource = 1 << 20
)

func scope(kind, name string) Scope {
	if len(name) <= MaxPlain {
		return Scope(kind + ":" + name)
	}
	h := xxh3.HashString128(name).Bytes()
	return Scope(kind + "#" + hex.EncodeToString(h[:]))
}

// Source is the scope of one source document.
func Source(id string) Scope { return scope("s", id) }

// Key is the scope of one cache key, used where the server offers no client
// tracking. id is any string that is unique to the key in its store.
func Key(id string) Scope { return scope("k", id) }

// Namespace is the scope of one namespace path.
func Namespace(path string) Scope { return scope("n", path) }

// Written is the declaration that keys of a namespace are written by themselves,
// with Set or Delete, and not only filled by loads. No entry depends on it. The log
// keeps it so that the namespace changes if a server may have lost such writes.
func Written(path string) Scope { return scope("w", path) }

// Namespaces returns the scopes of path and of every path above it, topmost
// first: "a:b" depends on "a" and on "a:b".
func Namespaces(path string) []Scope {
	var out []Scope
	for i := 0; i < len(path); i++ {
		if path[i] == ':' {
			out = append(out, Namespace(path[:i]))
		}
	}
	return append(out, Namespace(path))
}

// CheckNamespace returns an error that names path and the rule it breaks: one
// or more segments joined by ':', none of them empty, at most [MaxNamespace]
// bytes in all. Any other byte is allowed.
func CheckNamespace(path string) error {
	if len(path) > MaxNamespace {
		return fmt.Errorf("namespace %.40q… is %d bytes long, the limit is %d", path, len(path), MaxNamespace)
	}
	for seg := range strings.SplitSeq(path, ":") {
		if seg == "" {
			return fmt.Errorf("namespace %q has an empty segment: segments are joined by single colons", path)
		}
	}
	return nil
}

// CheckSource returns an error that names the rule id breaks: 1 to [MaxSource]
// bytes of anything.
func CheckSource(id string) error {
	if id == "" {
		return errors.New("a source id must not be empty")
	}
	if len(id) > MaxSource {
		return fmt.Errorf("source id %.40q… is %d bytes long, the limit is %d", id, len(id), MaxSource)
	}
	return nil
}
