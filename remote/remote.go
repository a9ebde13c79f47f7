package remote

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/tiercache/tiercache/internal/envelope"
	"github.com/tiercache/tiercache/internal/recovery"
	"github.com/tiercache/tiercache/invalidation"
)

// Backend connects stores to a shared tier. It is implemented by this package
// only; the interface may grow.
type Backend interface {
	// Connect returns a connection, or an error that says in one line what is
	// wrong. Events may be called before it returns.
	Connect(ctx context.Context, o Options) (Conn, error)
	// String describes the backend without secrets.
	String() string
}

// Checker is a [Backend] that knows before it connects what can never work.
type Checker interface {
	// Check returns one error that names every setting that contradicts o.
	Check(o Options) error
}

// Options of a connection.
type Options struct {
	// Prefix begins every key of the store.
	Prefix string
	// Timeout bounds dialling, and single requests where the caller's context
	// does not.
	Timeout time.Duration
	// Heartbeat is how often each server of a cluster is asked for a proof; 0 is
	// 250 ms.
	Heartbeat time.Duration
	// MaxTTL is the longest life of an entry of this store. The change log remembers
	// for as long as the longest of all stores that are open.
	MaxTTL time.Duration
	// NoTracking asks for a connection without notices of changed keys. Connections of
	// both kinds to one prefix exclude each other.
	NoTracking bool
	Events     Events
	// Panics is told of panics in goroutines of the connection, each of which ends it as
	// a lost one; nil: nobody is.
	Panics *recovery.Panics
}

// Events is what a connection reports. The functions are called one at a time
// and hold up everything that follows, so they are quick and never call back.
// None of them may be nil.
type Events struct {
	// Changed is told the names of keys that were written, deleted, evicted or
	// whose expiry was touched, leases included (see [LeaseOf]).
	Changed func(keys []string)
	// Lost says that notices may have been missed.
	Lost func()
	// Published is handed each message of the store's channel; an empty one
	// after (re)subscribing, when messages may have been missed.
	Published func(message string)
}

// Conn is one store's connection.
type Conn interface {
	invalidation.Log

	// Get reads keys in one round trip. With q the answer also holds the delta,
	// taken before the keys are read. A value of another type than a string is
	// missing among several, and found and empty if it is asked for alone.
	Get(ctx context.Context, keys []string, q *invalidation.DeltaQuery) ([]Item, invalidation.Delta, error)
	// GetUntracked is Get of several keys without q, for a caller that keeps none of
	// them: it need not ask for notices of theirs, and leaves alone what was asked for
	// before.
	GetUntracked(ctx context.Context, keys []string) ([]Item, error)
	// GetOne is Get of one key.
	GetOne(ctx context.Context, key string) (Item, error)
	// Lease takes leases of keys, or reads those that there are, in one round
	// trip.
	Lease(ctx context.Context, reqs []LeaseRequest) ([]Lease, error)
	// Extend renews held leases; those that are lost are left alone.
	Extend(ctx context.Context, keys []string, token string, ttl time.Duration) error
	// Release gives up leases that token still holds.
	Release(ctx context.Context, keys []string, token string) error
	// Write stores values in one round trip. Once a part of it may have been sent, it waits for the answer although
	// the caller's context has ended, until the limit of ctx (see bound.Limit): what became of it would not be known
	// otherwise. If ctx ends before that, nothing is sent, and the error matches [NotSent]. Nothing is sent a second time
	// unless the server has answered that it did not perform it. An error is of all writes; if only some have got no
	// answer, theirs are in Written.Err.
	Write(ctx context.Context, writes []Write) ([]Written, error)
	// WriteLater is Write for who does not wait. then is told, once, what Write would
	// have returned, perhaps before WriteLater returns, and perhaps by whoever reads the
	// connection: it must be quick, and wait for nothing.
	WriteLater(ctx context.Context, writes []Write, then func([]Written, error))
	// Delete removes keys and their leases. It waits, and is sent, as Write is.
	Delete(ctx context.Context, keys []Deletion) ([]Deleted, error)
	// Discard is Delete of those keys whose leases token holds.
	Discard(ctx context.Context, keys []string, token string) error
	// Purge removes every key that begins with one of the prefixes.
	Purge(ctx context.Context, p PurgeRequest) (PurgeProgress, error)
	// Shard returns what to judge a key by that is about to be read.
	Shard(key string) *Shard
	// Prove returns once every notice about the keys, or about any if none is named,
	// that was sent before the call has been delivered. Of the only server there is,
	// Delta does.
	Prove(ctx context.Context, keys ...string) error
	// LosesWrites reports whether the remote tier can lose the latest of what it
	// has acknowledged and go on with what was before, change log and all.
	LosesWrites() bool
	// Info describes the server as it is now.
	Info(ctx context.Context) (Info, error)
	// Close ends the connection and waits for what it owns. Events are not
	// called after it returned.
	Close() error
}

// Item is a stored value as it was read. The zero Item is a missing one.
type Item struct {
	raw   string
	found bool
}

// stamp is a moment by the server's clock as scripts take it: in ms.
func stamp(at time.Time) string { return strconv.FormatInt(max(at.UnixMilli(), 1), 10) }

// Found reports whether there was a value at all.
func (i Item) Found() bool { return i.found }

// Envelope is the value as it was given to Write, or whatever another program
// put there.
func (i Item) Envelope() string { return i.raw }

// Seen identifies this version of the value, for LeaseRequest.
func (i Item) Seen() string { return i.raw[:min(len(i.raw), SeenLen)] }

// SeenLen is how many leading bytes of an envelope tell two writes apart: those
// of an entry's head, in which there is a random number.
const SeenLen = envelope.HeadLen

// LeaseRequest asks for the right to load a key. If the key's value is another
// than the one the caller has Seen (the zero string: none), it gets that
// value instead. An empty value cannot be told from none: whoever has seen one
// asks for Any.
type LeaseRequest struct {
	Key, Token, Seen string
	// TTL is how long the lease is to last, and how long another's lasts from now
	// on at most: it may have been taken before the server's clock was set back.
	TTL time.Duration
	// Any: take the lease whatever the value is.
	Any bool
}

// Lease is the answer: acquired, or the key's new value, or how long another's
// lease lasts at most. With a value the lease may have been acquired as well, and
// before the value was read: who can use the value gives it up, who cannot has it.
// With Err it may have been too, and the key was not read: it is to be given up.
type Lease struct {
	Acquired bool
	Item     Item
	Wait     time.Duration
	Err      error
}

// leaseSuffix ends the name of a key's lease. Data keys end in '}'.
const leaseSuffix = "!"

// LeaseOf returns the data key whose lease has the given name.
func LeaseOf(name string) (key string, ok bool) {
	if n := len(name) - len(leaseSuffix); n > 0 && name[n:] == leaseSuffix {
		return name[:n], true
	}
	return "", false
}

// Write is a value to store: with a Token only while that holds the lease,
// without one in any case.
//
// The same step reads the key, so a notice comes when the value changes from
// there on. The write itself causes the one notice that is owed to those who
// have read the key before, this connection included. It is delivered after
// the notices of all changes before the write, and before those of all after
// it; Write may return first. What changed before the write has been told when
// Write returns.
type Write struct {
	Key, Token string
	// LeaseTTL is how long leases last; 0: 3 s. If another than Token holds that of the
	// key, he may hold it for that long from now on: a dead owner blocks the key for
	// longer, once for each fill that comes too late.
	LeaseTTL time.Duration
	// Envelope is stored as it is, and written to by nobody from here on: it may
	// still be sent when a Write returns whose context has ended.
	Envelope []byte
	// Expires is by the server's clock, as the envelope says. What has expired
	// when it arrives (its life was short, or the clock was set forwards meanwhile)
	// owes no notice; an older value is gone.
	Expires time.Time
	// Window is for writes without a Token: one that was given up may otherwise reach the
	// server after a later one that was sent on another connection.
	Window
	// Unread: this connection may not have read the key, or may have been told of
	// a change of it since. The write reads it first, so that its own notice is
	// owed in any case.
	Unread bool
	// Queued, unless nil, is called once, before Write sends anything.
	Queued func()
}

// Window is the time in which a server performs a request, by the clock of the server that has the key, in
// microseconds. Outside of it the request is refused, and changes nothing.
type Window struct {
	NotBefore time.Time // the earliest moment; zero: any
	Before    time.Time // the first moment that is too late; zero: none is
	// Connection is the [invalidation.Delta.Connection] by whose clock the bounds are; 0: of
	// any. Where there is one server and it is another by now, nothing is sent, and the error
	// matches [NotSent]: the other server's clock may be behind.
	Connection int64
}

func (w Window) bounded() bool { return !w.NotBefore.IsZero() || !w.Before.IsZero() }

// admits reports whether a server whose clock says now performs the request.
func (w Window) admits(now time.Time) bool {
	return !now.Before(w.NotBefore) && (w.Before.IsZero() || now.Before(w.Before))
}

// Deletion is a key to delete, in its time.
type Deletion struct {
	Key string
	Window
}

// Deleted is the result of a Deletion.
type Deleted struct {
	Late bool // it was refused, outside of its Window
	Err  error
}

// queue calls Queued of all.
func queue(writes []Write) {
	for i := range writes {
		if f := writes[i].Queued; f != nil {
			f()
		}
	}
}

// Written is the result of a Write.
type Written struct {
	// Stored is false if the lease was gone (somebody wrote or deleted the key), or
	// the write came outside of its Window, or after its value had expired.
	Stored bool
	// Expired: it was performed, and nothing is stored, since its time was over.
	Expired bool
	Err     error
}

// Refused reports whether nothing was performed, or it is not known.
func (w Written) Refused() bool { return !w.Stored && !w.Expired }

// PurgeRequest says what to remove. Keys are removed in batches; Progress, if
// not nil, is called after each.
type PurgeRequest struct {
	Prefixes []string
	Resume   string // a Progress.Resume of an earlier purge, or empty
	Progress func(PurgeProgress)
}

// PurgeProgress counts what a purge has done so far.
type PurgeProgress struct {
	Scanned int64 // keys looked at, of the whole server; Valkey is asked for 1000 at a time, and counted so
	Removed int64 // keys removed, leases included
	// Resume continues the purge after the last finished batch; it is empty
	// when the purge is complete.
	Resume string
}

// Info describes a server.
type Info struct {
	Server     string // kind and version
	Policy     string // maxmemory-policy; empty if it could not be learnt
	MaxMemory  int64  // bytes, 0 = no limit
	UsedMemory int64  // bytes
	// TrackedKeys and TrackedMax are the size and bound of the tracking table.
	TrackedKeys, TrackedMax int64
	// LogScopes and LogMost are the size and bound of the change log: see
	// [invalidation.Change.Retention].
	LogScopes, LogMost int64
	// Unknown tells what could not be learnt, and why (an ACL, a provider).
	Unknown string
}

// ErrFull is matched by errors of a Write that the server refused for want of
// memory. The value was not stored; nothing else is wrong.
var ErrFull = errors.New("the server is out of memory for writes")

// ErrResume is matched by errors of a purge that was to be resumed at what no
// purge has reported.
var ErrResume = errors.New("no position that a purge of the same namespace reported")

// ErrClosed is matched by errors of calls after Close.
var ErrClosed = errors.New("the connection is closed")

func logKey(prefix string) string  { return prefix + ":{" + prefix + "}:log" }
func channel(prefix string) string { return prefix + ":{" + prefix + "}:changes" }
