// Package pace remembers keys whose loads have failed, and until when each is not tried again for
// readers that have a value without that.
package pace

import (
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/local"
)

// Most is how many keys a Table remembers. Beyond it, keys whose pause is over are forgotten, and
// then others: they are tried again sooner.
const Most = 8192

// Table holds the pauses of a store's keys. The zero Table is ready for use.
type Table struct {
	failing atomic.Int64 // the number of keys: while nothing fails, reads take no lock
	mu      sync.Mutex   // guards keys
	keys    map[local.Key]failure
}

// failure is the latest failed load of a key.
type failure struct {
	err   error
	pause time.Duration
	at    mono.Time // the latest failure, or when it was heard of
	until mono.Time
}

// Paused returns the error of the latest load of a key if it is not to be tried again yet.
func (t *Table) Paused(k local.Key, now mono.Time) (err error, paused bool) {
	f, paused := t.of(k, now)
	return f.err, paused
}

// Until returns the end of a key's pause, if there is one now.
func (t *Table) Until(k local.Key, now mono.Time) (until mono.Time, paused bool) {
	f, paused := t.of(k, now)
	return f.until, paused
}

func (t *Table) of(k local.Key, now mono.Time) (f failure, paused bool) {
	if t.failing.Load() == 0 {
		return failure{}, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	f, ok := t.keys[k]
	return f, ok && now < f.until
}

// Fail begins a pause, and returns its end: first after the first failure, twice as long after each
// that follows the pause of the one before, at most longest; and up to a quarter more, so that
// processes that failed together do not try again together. A load that fails during a pause, of a
// caller that had no value without it, leaves the pause as it is.
func (t *Table) Fail(k local.Key, err error, now mono.Time, first, longest time.Duration) mono.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	f, ok := t.keys[k]
	switch {
	case !ok:
		f.pause = first
	case f.err == ErrElsewhere && now < f.until: // a caller without a value has tried
	// guard: failure-in-pause-keeps-it
	case now < f.until:
		return f.until
	default:
		f.pause = min(2*f.pause, longest)
	}
	f.err, f.at, f.until = err, now, now.Add(f.pause+rand.N(f.pause/4+1))
	t.putLocked(k, f, now)
	return f.until
}

func (t *Table) putLocked(k local.Key, f failure, now mono.Time) {
	if t.keys == nil {
		t.keys = make(map[local.Key]failure)
	}
	if _, ok := t.keys[k]; !ok && len(t.keys) >= Most {
		t.forgetLocked(now)
	}
	t.keys[k] = f
	t.failing.Store(int64(len(t.keys)))
}

// ErrElsewhere stands for the error of another process's load, which is not told. It is given to no caller.
var ErrElsewhere = errors.New("pace: the load of another process has failed")

// Hear notes that another process does not try a key again before until. The pauses that follow are
// reckoned as if the load had failed here.
func (t *Table) Hear(k local.Key, now, until mono.Time, first, longest time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f, ok := t.keys[k]
	switch {
	case !ok:
		f.pause = first
	case now < f.until:
		return // its own pause, or one that it has heard of
	default:
		f.pause = min(2*f.pause, longest)
	}
	f.err, f.at, f.until = ErrElsewhere, now, until
	t.putLocked(k, f, now)
}

// forgetLocked makes room for a key.
func (t *Table) forgetLocked(now mono.Time) {
	for k, f := range t.keys {
		if now >= f.until {
			delete(t.keys, k)
		}
	}
	for k := range t.keys {
		if len(t.keys) < Most {
			return
		}
		delete(t.keys, k)
	}
}

// Succeed ends the pause of a key.
func (t *Table) Succeed(k local.Key) { t.Learn(k, mono.Time(math.MaxInt64)) }

// Learn ends the pause of a key that has a value of born, if that is of after the failure: whichever process has loaded or
// set it. An older value says nothing about the source: it is the one that was to be renewed.
func (t *Table) Learn(k local.Key, born mono.Time) {
	if t.failing.Load() == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	// guard: older-value-ends-no-pause
	if f, ok := t.keys[k]; !ok || born <= f.at {
		return
	}
	delete(t.keys, k)
	t.failing.Store(int64(len(t.keys)))
}
