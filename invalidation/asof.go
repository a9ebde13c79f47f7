package invalidation

import "fmt"

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
}

// IsZero reports whether a is the zero AsOf.
func (a AsOf) IsZero() bool { return a == AsOf{} }

func (a AsOf) String() string { return fmt.Sprintf("%016x@%d", a.Incarnation, a.Tick) }
