// Package encodings tells that the entries of a namespace go on being written in two encodings. During a deployment that is so for
// a while, and nothing is wrong; for longer it is two versions that were not meant to stay, or two programs that were given one
// prefix, and each load is made twice.
package encodings

import (
	"fmt"
	"sync"
	"time"

	"github.com/tiercache/tiercache/internal/mono"
)

const (
	// Lasts is for how long entries of another encoding have to be written before that is told: longer than deployments take.
	Lasts = time.Hour
	// forgotten is the age at which an entry says nothing of now: a deployment is over, and what it has left lives on.
	forgotten = time.Hour
)

// Other is what has been seen of another encoding in one namespace. The zero Other has seen nothing.
type Other struct {
	mu     sync.Mutex // guards what follows
	seen   bool
	shape  uint64    // of the encoding
	first  mono.Time // when the first entry of it was read
	latest mono.Time // when the latest that was read was written
	told   bool
}

// Saw notes that an entry of the encoding shape is read now, which by its own account was written at that time. It reports whether that
// is the one by which it is to be told that they go on.
//
// Of several encodings one is followed, as long as entries of it are written.
func (o *Other) Saw(shape uint64, written, now mono.Time) (tell bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	// guard: encoding-was-forgotten
	case !o.seen || now.Sub(o.latest) > forgotten:
		// From now on and not from when it was written: a process that a deployment starts reads what was written
		// long before, and then what the last process of the version before writes.
		// guard: encoding-counts-from-when-it-was-seen
		o.seen, o.shape, o.first, o.latest, o.told = true, shape, now, written, false
	case shape == o.shape:
		o.latest = max(o.latest, written)
	}
	tell = !o.told && o.lasts()
	o.told = o.told || tell
	return tell
}

// lasts reports whether entries were written for long enough. o.mu is held.
func (o *Other) lasts() bool { return o.seen && o.latest.Sub(o.first) >= Lasts }

// GoesOn reports whether entries of another encoding have been written for at least Lasts, and lately.
func (o *Other) GoesOn(now mono.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	// guard: encoding-is-of-now
	return o.lasts() && now.Sub(o.latest) <= forgotten
}

// HasSeen reports whether entries of another encoding were ever seen.
func (o *Other) HasSeen() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.seen
}

// Warning says of a namespace that they do, and what to do about it.
func Warning(namespace string) string {
	return fmt.Sprintf("namespace %q: for over an hour entries have been written in another encoding than this process's, so each is loaded twice: two programs share a prefix, or two versions of one still run; give each program a prefix (WithPrefix) or a namespace of its own", namespace)
}
