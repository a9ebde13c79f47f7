package tier

import (
	"context"
	"time"

	"github.com/tiercache/tiercache/tier/internal/core"
)

// Loader makes the value of a key. Its ctx carries the first caller's values but not
// its cancellation: it ends when no caller waits any more, with the load timeout, or
// with the store. Through e the loader says what the value depends on. It may return
// [ErrNotFound].
//
// At most one loader of a key runs at a time in a process, and in the fleet
// while the remote tier answers. One that goes on after its ctx has ended is not
// waited for, unless the view has [WithDetachedLoads]: another may run beside it.
//
// It runs in a goroutine of its own.
type Loader[V any] func(ctx context.Context, e *Entry) (V, error)

// BatchLoader makes the values of several keys. A key that is absent from the
// map is "not found". With an error, a key that is in the map is loaded and kept all the
// same, and the others fail: leave out what failed. e.For(key) says what a key's value
// depends on.
type BatchLoader[V any] func(ctx context.Context, keys []string, e Entries) (map[string]V, error)

// Entry is how a loader describes the value it makes. Its methods may be
// called from several goroutines until the loader returns. A bad argument is the
// error of the load, whatever the loader returns: nothing is kept, and errors.Is
// finds the loader's own error too, unless that is ErrNotFound, which would say
// that there is no value.
type Entry core.LoadEntry

func (e *Entry) entry() *core.LoadEntry { return (*core.LoadEntry)(e) }

// DependsOn names sources that the value is made from: when one changes
// (Store.InvalidateSource) the value is not believed any more. It may be called
// at any time, also after a source has been read: the load's as-of covers all
// it reads.
func (e *Entry) DependsOn(sources ...string) { e.entry().AddSources(sources) }

// SetTTL replaces the cache's TTL for this entry: at most the store's maximum, or the load fails. It is
// rounded down to whole milliseconds, so that SetTTL(time.Until(end)) lasts no longer than end. If
// nothing is left the value is not stored: see DoNotStore.
func (e *Entry) SetTTL(d time.Duration) { e.entry().SetTTL(d) }

// SetCost replaces the estimate of the value's heap bytes in the local tier, which is
// a guess for values that are not plain data: see [WithLocalBytes]. It is stored with
// the value: where that is read from the remote tier it counts as at least what was
// read, and at most 64 times that and 4 KiB.
func (e *Entry) SetCost(bytes int64) { e.entry().SetCost(bytes) }

// DoNotStore has the value returned to the callers that wait for it and kept nowhere. What was stored
// before is removed, except by a refresh in the background, whose value no caller is given: that leaves it alone
// until its end.
func (e *Entry) DoNotStore() { e.entry().SetDiscard() }

// Entries gives a batch loader the entry of each of its keys.
type Entries struct{ byKey map[string]*Entry }

// For returns the entry of key. For a key that the loader was not asked for it
// returns an entry that is not used.
func (e Entries) For(key string) *Entry {
	if entry := e.byKey[key]; entry != nil {
		return entry
	}
	return &Entry{}
}
