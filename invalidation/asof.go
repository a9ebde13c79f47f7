package invalidation

import (
	"fmt"

	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/internal/readtime"
)

// Tick is a position in the change log: max(previous tick+1, the server's time
// in µs). It orders changes of one incarnation; it is not a time.
type Tick int64

// Never is later than every tick: the last change of a scope with a pending change.
const Never Tick = 1<<63 - 1

// AsOf is the position in a change log as of which a value is true. The zero AsOf
// matches no log, so a value without one is never valid.
type AsOf struct {
	// Incarnation is the random id of the log that Tick is a position of.
	Incarnation uint64
	// Tick is the position up to which the load saw every change.
	Tick Tick
	// taken is when the store said so, if a change that it knew of had not settled by then: see internal/readtime.
	taken mono.Time
}

func init() {
	readtime.Of = func(a any) mono.Time { return a.(AsOf).taken }
	readtime.With = func(a any, at mono.Time) any {
		of := a.(AsOf)
		of.taken = at
		return of
	}
}

// IsZero reports whether a is the zero AsOf.
func (a AsOf) IsZero() bool { return a == AsOf{} }

func (a AsOf) String() string { return fmt.Sprintf("%016x@%d", a.Incarnation, a.Tick) }
