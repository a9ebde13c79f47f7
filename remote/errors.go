package remote

import "github.com/tiercache/tiercache/internal/backend"

// ErrFull is matched by errors of a Set that the server refused because it has no
// memory left. The value was not stored; nothing else is wrong.
var ErrFull = backend.ErrFull

// ErrResume is matched by errors of a purge that was to be resumed at a position that no
// purge has reported.
var ErrResume = backend.ErrResume
