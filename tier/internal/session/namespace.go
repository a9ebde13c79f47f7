package session

import (
	"slices"
	"sync/atomic"

	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/invalidation"
	"github.com/tiercache/tiercache/tier/internal/keyspace"
)

// Namespace is what a session knows of a namespace.
type Namespace struct {
	Path string
	keyspace.Space
	// bypassed: no tier is used for it. It stands beside what each read needs.
	bypassed atomic.Bool
	scopes   []invalidation.Scope
	// pins holds the scopes for all entries.
	pins *changelog.Pins
	// misses is the recent share of reads of the remote tier that missed, in 256ths.
	misses   atomic.Int32
	declared *Declared
}

// Init sets the namespace's path, and pins what its entries depend on until unpin.
func (n *Namespace) Init(s *Session, path string, declared *Declared) (unpin func()) {
	n.Path, n.Space, n.scopes, n.declared = path, keyspace.New(s.Cfg.Prefix, path), invalidation.Namespaces(path), declared
	n.pins = s.Tail.PinForever(n.scopes)
	s.bypass.join(n)
	return n.pins.Release
}

// IsBypassed reports whether no tier is to be used for the namespace: see [Session.Bypass].
func (n *Namespace) IsBypassed() bool { return n.bypassed.Load() }

// Names returns n: of a type that it is a part of, it is what names the remote keys.
func (n *Namespace) Names() *Namespace { return n }

// CountRead counts a read of the remote tier. The latest counts for an eighth; that two at
// once may count as one does not matter.
func (n *Namespace) CountRead(missed bool) {
	was := n.misses.Load()
	now := was - was/8
	if missed {
		now += 256 / 8
	}
	if now != was {
		n.misses.Store(now)
	}
}

// MostlyMisses reports whether the next read is likely to miss.
func (n *Namespace) MostlyMisses() bool { return n.misses.Load() > 128 }

// ExpectMisses has reads taken to miss until very many have not.
func (n *Namespace) ExpectMisses() { n.misses.Store(1 << 30) }

// Scopes returns all scopes that a value made from the sources depends on.
func (n *Namespace) Scopes(sources []string) []invalidation.Scope {
	return slices.Concat(n.scopes, sourceScopes(sources))
}

// KeyScope returns the scope of a key, where keys are scopes.
func (n *Namespace) KeyScope(key string) invalidation.Scope {
	return invalidation.Key(n.RemoteName(n.Hash(key)))
}
