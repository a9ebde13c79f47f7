package core

import (
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/tier/internal/encodings"
)

// noteEncoding notes an entry of another encoding than this view's, which was written at that time, and logs once that such go on being written.
func (c *Cache) noteEncoding(shape uint64, written, now mono.Time) {
	if c.ns.other.Saw(shape, written, now) {
		c.s.Config.Logger.Warn("tiercache: " + encodings.Warning(c.ns.Path))
	}
}

// EncodingWarnings name the namespaces whose entries go on being written in another encoding too.
func (s *Store) EncodingWarnings() (out []string) {
	now := mono.Now()
	s.eachNamespace(func(ns *Namespace) {
		if ns.other.GoesOn(now) {
			out = append(out, encodings.Warning(ns.Path))
		}
	})
	return out
}
