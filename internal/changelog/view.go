package changelog

import (
	"time"

	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/internal/serverclock"
	"github.com/tiercache/tiercache/invalidation"
)

// View is one consistent picture of what the process knows. A new one is
// published for every change, so that a reader needs a single atomic load.
//
// It is one pointer rather than several atomic words because of this schedule:
//
//	reader:    sees Seq 7, to which its entry was checked
//	heartbeat: applies a change that kills the entry (Seq 8), renews Proof
//	reader:    sees the new Proof, and serves the entry as if it were recent
//
// With one pointer the reader has either the old Seq and the old Proof, or
// both new ones.
type View struct {
	Incarnation uint64
	// Watermark is the tick up to which the log has been applied without a gap.
	Watermark invalidation.Tick
	// Floor: values with an older as-of are not valid. Never while a change of
	// everything is being sent.
	Floor invalidation.Tick
	// Seq moves with every change, pending change and loss: a value that was found
	// valid at one Seq stays valid until Seq moves.
	Seq uint64
	// Epoch moves when pushes may have been lost: local copies that were read
	// in an earlier epoch are not served.
	Epoch uint64
	// Moves counts the calls of Tail.Moved, and the other connections to the log of a cluster: what was asked for before,
	// without a delta, may be answered by another server than the one that was proven then.
	Moves uint64
	// MovedAt is when Tail.Moved was called last; 0: never. An answer without a delta is judged by a later Proof alone.
	MovedAt mono.Time
	// Generation moves when what was known of scopes was discarded: marks of before are not
	// kept up to date.
	Generation uint64
	// Proof is when the latest answered delta read was sent; 0 means never, or
	// not since the connection was lost.
	Proof mono.Time
	// clock is the server's clock in the latest answered delta read.
	clock serverclock.Reading
	// told is the Delta.Connection of that delta.
	told int64
}

// AsOf is the position that a load which begins now is true as of.
func (v *View) AsOf() invalidation.AsOf {
	return invalidation.AsOf{Incarnation: v.Incarnation, Tick: v.Watermark}
}

// LogEpoch is Epoch for local copies of whose changes the log tells, and nothing else. A lost
// connection loses nothing of the log: the delta that proves the view again holds it. It is no
// Epoch.
func (v *View) LogEpoch() uint64 { return logEpochs | v.Generation }

// IsLogEpoch tells a LogEpoch from an Epoch.
func IsLogEpoch(epoch uint64) bool { return epoch&logEpochs != 0 }

const logEpochs = 1 << 63

// Age is the age of the proof: the time since the latest answered delta read was sent.
func (v *View) Age(now mono.Time) time.Duration {
	if v.Proof == 0 {
		return 1<<63 - 1
	}
	return now.Sub(v.Proof)
}

// ServerTime is an upper bound of the server's clock.
func (v *View) ServerTime(now mono.Time) time.Time { return v.clock.Latest(now) }

// Clock is the server's clock in the latest answered delta read, with both bounds.
func (v *View) Clock() serverclock.Reading { return v.clock }

// Connection is the [Delta.Connection] of the delta that Clock is from.
func (v *View) Connection() int64 { return v.told }

// Covers reports whether a value as of a can be valid by its incarnation and the
// floor; the scopes are judged by their marks.
func (v *View) Covers(a invalidation.AsOf) bool {
	// guard: I6-incarnation
	return a.Incarnation == v.Incarnation && a.Tick >= v.Floor
}
