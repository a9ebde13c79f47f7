package changelog

import (
	"context"
	"time"

	"github.com/tiercache/tiercache/invalidation"
)

// Log is the change log as a tail uses it. Package remote implements it.
type Log interface {
	// Delta reads the changes after q.Since, in one atomic step, on the connection
	// whose pushes keep local copies true: when it returns, every push that the
	// server sent before answering has been applied. It also reads the latest changes
	// of q.Scopes.
	Delta(ctx context.Context, q DeltaQuery) (Delta, error)
	// Append records that the scopes changed, all at one tick, and raises the
	// floor if all is set. An absent log is created under a new incarnation.
	Append(ctx context.Context, c Change) (Appended, error)
	// Renew replaces a log that lost history by an empty one of a new
	// incarnation, unless that has already been done: it acts if the log is
	// absent, ends before lost.Known, or is of the incarnation lost.Forked. The
	// new log begins after lost.Known, and holds that position: see Delta.After.
	Renew(ctx context.Context, lost Loss) error
}

// Loss describes how it was found that a log lost history.
type Loss struct {
	// Known is the position up to which the caller had applied the log.
	Known invalidation.AsOf
	// Forked is an incarnation under which another history goes on; 0 is none.
	Forked uint64
}

// DeltaQuery asks for the changes after Since and the latest change of Scopes.
type DeltaQuery struct {
	Since invalidation.Tick
	// Incarnation is that of the log that Since is a position of: see Delta.After.
	Incarnation uint64
	Limit       int // most changes worth sending; beyond it only Overflow is set
	Scopes      []invalidation.Scope
}

// Delta is the answer to a DeltaQuery.
type Delta struct {
	// Incarnation is 0 if there is no log.
	Incarnation uint64
	Tick        invalidation.Tick // latest
	Floor       invalidation.Tick
	// ServerTime is the server's wall clock when it answered; it is used only
	// together with expiry stamps of the same server.
	ServerTime time.Time
	// Changes are those after Since, unless there were more than Limit.
	Changes  []ScopeTick
	Overflow bool
	// Damaged: the log holds members that no store writes. It counts as lost.
	Damaged bool
	// After is a position in another log: the process that began this log had applied
	// the other one up to it. It is set if this log is not of the Incarnation asked for.
	After invalidation.AsOf
	// Known are the latest changes of the asked scopes, in their order; 0 means
	// that the log has none.
	Known []invalidation.Tick
	// Lags are those after which changes settle (see [settlingScope]). They are told if there is an Overflow, if the log is
	// not of the Incarnation asked for, or if such a scope was asked for.
	Lags []Lag
	// Histories counts how often the connection had found a server that may have lost
	// writes to single keys when this was read, and the log held all of their histories.
	Histories int64
	// Connection identifies the connection that answered. If it is not the same as
	// before, pushes may have been lost in between.
	Connection int64
	// Sharded: the keys are on several servers, each of which tells of its own (see backend.Shard), so that another Connection
	// is no loss of what is told of others.
	Sharded bool
	// Busy: the connection was busy with other answers while this one was waited for, so
	// that the time that it took says nothing of the server. See wire.LeastRate.
	Busy bool

	bypass bool // BypassScope was among Changes
}

// ScopeTick is one member of the log.
type ScopeTick struct {
	Scope invalidation.Scope
	Tick  invalidation.Tick
}

// Change is what Append records.
type Change struct {
	Scopes []invalidation.Scope
	All    bool
	// Retention: scopes that last changed longer ago than this are forgotten
	// and the floor is raised to the latest of them. It must not be shorter
	// than the life of any entry. While stores with a longer one are open, theirs
	// counts. The log is bounded besides: beyond a million scopes, or what fits into a
	// quarter of the server's memory, the oldest are forgotten in the same way.
	Retention time.Duration
	// Known is the position up to which the caller has applied the log. A log that ends
	// before it lost history: it is renewed before the change is recorded, as by Renew.
	Known invalidation.AsOf
}

// Appended is the position of a change in the log.
type Appended struct {
	Incarnation uint64
	Prev, Tick  invalidation.Tick
	// Missed is a message of all that changed after Change.Known, if that is a position of this log and there are changes
	// between it and this one; else it is empty.
	Missed string
}
