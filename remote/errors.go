package remote

import "errors"

// ErrFull is matched by errors of a Write that the server refused because it has no
// memory left. The value was not stored; nothing else is wrong.
var ErrFull = errors.New("the server is out of memory for writes")

// ErrResume is matched by errors of a purge that was to be resumed at a position that no
// purge has reported.
var ErrResume = errors.New("no position that a purge of the same namespace reported")

// ErrClosed is matched by errors of calls after Close.
var ErrClosed = errors.New("the connection is closed")
