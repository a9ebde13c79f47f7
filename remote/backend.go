package remote

import (
	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/embedded"
)

// Backend connects stores to a shared tier: [Valkey] or [NewEmbedded]. It is
// implemented by this module only.
type Backend = backend.Backend

// NewEmbedded returns an empty shared tier in this process that holds at most maxBytes of keys
// and values; 0 means 256 MiB. It is the default without a server, and the double of one
// in tests: stores on one behave towards each other as processes on one server do, order
// of invalidations and replies included. It drops the least recently used entries when they
// exceed its bound, as a server under maxmemory does; the change log is never dropped. It
// needs no closing.
func NewEmbedded(maxBytes int64) Backend { return embedded.New(maxBytes) }
