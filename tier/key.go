package tier

import "github.com/tiercache/tiercache/tier/internal/core"

// MaxKey is the longest key in bytes. Keys may hold anything.
const MaxKey = core.MaxKey
