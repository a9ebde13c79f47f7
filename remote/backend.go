package remote

import "github.com/tiercache/tiercache/internal/backend"

// Backend connects stores to a shared tier: [Valkey] or [NewEmbedded]. It is
// implemented by this module only.
type Backend = backend.Backend
