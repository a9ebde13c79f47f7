package tier

import "github.com/tiercache/tiercache/tier/internal/core"

// MaxKey is the longest key in bytes: 1 MiB. Keys may hold any bytes, and are not empty.
const MaxKey = core.MaxKey
