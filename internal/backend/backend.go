package backend

import (
	"context"
	"time"

	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/envelope"
	"github.com/tiercache/tiercache/internal/recovery"
)

// Backend connects stores to a shared tier. It is implemented by this module
// only; the interface may grow.
type Backend interface {
	// Connect returns a connection, or an error that says in one line what is
	// wrong. Events may be called before it returns.
	Connect(ctx context.Context, o Options) (Conn, error)
	// String describes the backend without secrets.
	String() string
}

// Checker is a [Backend] that finds, before it connects, settings that can never work.
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
	// Heartbeat is the time between two requests for a proof to each server of a
	// cluster; 0 is 250 ms.
	Heartbeat time.Duration
	// MaxValue is the longest encoded value, in bytes; 0: 64 MiB. What is longer, with
	// all that an entry has besides, is read as one that cannot be decoded.
	MaxValue int64
	// MaxTTL is the longest life of an entry of this store. The change log remembers
	// changes for the longest MaxTTL of all stores that are open.
	MaxTTL time.Duration
	// NoTracking asks for a connection without invalidations of changed keys.
	// Connections of both kinds to one prefix exclude each other.
	NoTracking bool
	Events     Events
	// Panics counts and logs panics in goroutines of the connection, each of which ends
	// it as a lost one; nil: they are not counted or logged.
	Panics *recovery.Panics
}

// Events are the callbacks of a connection. They are called one at a time, and all
// later answers wait for them, so they must be quick and must not call the
// connection. None of them may be nil, but Moved.
type Events struct {
	// Changed is called with the names of keys that were written, deleted, evicted or
	// whose expiry was changed, leases included (see [LeaseOf]).
	Changed func(keys []string)
	// Lost is called when invalidations of any key may have been missed.
	Lost func()
	// Moved is called when a server of a cluster, or another connection to one, is about to answer: what is
	// answered without a delta may come from another server than the one that was proven when it was asked for. Of whose
	// keys invalidations may have been missed the [Shard]s tell.
	Moved func()
	// Published is called with each message of the store's channel; with an empty one
	// after (re)subscribing, when messages may have been missed.
	Published func(message string)
}

// Conn is one store's connection. A function that needs a part of it takes that part.
type Conn interface {
	Reader
	Leaser
	Writer
	Prober
	changelog.Log
	Server
	// Close ends the connection and waits for what it owns. Events are not
	// called after it returned.
	Close() error
}

// Reader reads entries.
type Reader interface {
	// Get reads keys in one round trip, and what is large of them in more. With q the
	// answer also holds the delta, taken before the keys are read. A key of another type
	// than a string counts as missing among several keys, and as found and empty if it is
	// the only one. An empty value counts as missing.
	Get(ctx context.Context, keys []string, q *changelog.DeltaQuery) ([]Item, changelog.Delta, error)
	// GetHeads is Get of keys, behind those of which no more than the first HeadsLen bytes are read: heads. The
	// answer has the heads first. It is for a caller that has the values of those, and asks whether they are still the
	// same writes; the server tracks them as it does what is read whole.
	GetHeads(ctx context.Context, heads, keys []string, q *changelog.DeltaQuery) ([]Item, changelog.Delta, error)
	// GetUntracked is Get of several keys without q, for a caller that keeps none of
	// them. It need not ask for invalidations of the keys, and does not end earlier
	// tracking of them.
	GetUntracked(ctx context.Context, keys []string) ([]Item, error)
	// GetOne is Get of one key.
	GetOne(ctx context.Context, key string) (Item, error)
}

// Leaser keeps the leases of keys, each the right to load a key.
type Leaser interface {
	// Lease takes the leases of keys, or reads the keys that have a value, in one
	// round trip.
	Lease(ctx context.Context, reqs []LeaseRequest) ([]Lease, error)
	// Extend renews the leases that token still holds.
	Extend(ctx context.Context, keys []string, token string, ttl time.Duration) error
	// Release gives up the leases that token still holds.
	Release(ctx context.Context, keys []string, token string) error
	// Discard is [Writer.Delete] of the keys whose leases token holds.
	Discard(ctx context.Context, keys []string, token string) error
}

// Writer stores and deletes entries.
type Writer interface {
	// Stage sends a large envelope ahead of its write, which need not wait for it then. Nothing has changed when it returns,
	// and the write takes as little time as any other. It does nothing if w is small, or was staged. Writes with a Window are
	// staged before that is known; others are when they are written, if they were not before.
	Stage(ctx context.Context, w *Write) error
	// Write stores values in one round trip. Once a part of it may have been sent, it waits for the answer although
	// the caller's context has ended, until the limit of ctx (see bound.Limit): otherwise it would not be known whether
	// the values are stored. If ctx ends before that, nothing is sent, and the error matches remoteerr.NotSent. Nothing is sent
	// a second time unless the server has answered that it did not perform it. An error concerns all writes; if only
	// some got no answer, their errors are in Written.Err.
	Write(ctx context.Context, writes []Write) ([]Written, error)
	// WriteLater is Write for a caller that does not wait. It calls then once, with what Write would have returned,
	// perhaps before WriteLater returns, and perhaps on the reader goroutine of the connection: then must be quick, and
	// must not wait.
	WriteLater(ctx context.Context, writes []Write, then func([]Written, error))
	// Delete removes keys and their leases. It waits, and is sent, as Write is.
	Delete(ctx context.Context, keys []Deletion) ([]Deleted, error)
}

// Prober tells what a server's silence proves: of which server the proof is needed, and
// whether all that it sent has been applied.
type Prober interface {
	// Shard returns the server of a cluster that has key, by whose proof a read of the
	// key is judged; nil where there is one server.
	Shard(key string) *Shard
	// Prove returns once every invalidation of the keys, or of any key if none is named,
	// that was sent before the call has been applied. It does nothing where there is one
	// server, since Delta proves that.
	Prove(ctx context.Context, keys ...string) error
}

// Server is what an operator asks of the server or cluster as a whole.
type Server interface {
	// Info describes the server as it is now.
	Info(ctx context.Context) (Info, error)
	// Trackers is how many connections the server, or that of a cluster which has the change log, tells of changed keys, those of
	// other stores and programs included; 0 if it does not say.
	Trackers(ctx context.Context) (int64, error)
	// LosesWrites reports whether the remote tier can lose the latest changes that it
	// has acknowledged, and go on from an earlier state, change log included.
	LosesWrites() bool
	// Purge removes every key that begins with one of the prefixes.
	Purge(ctx context.Context, p PurgeRequest) (PurgeProgress, error)
}

// DefaultLeaseTTL is how long the leases of a fleet last. It is the same in all processes: one that asks for a held lease
// shortens it to its own length, and a holder renews after a third of its own. So a release may at most double it, or
// halve it. The pages that say how long it is are named by a test of internal/rules.
const DefaultLeaseTTL = 3 * time.Second

// Item is a stored value as it was read. The zero Item is a missing one.
type Item struct {
	Raw     string
	Present bool
	Err     error // of one of several: it is not known what there is
}

// Found reports whether there was a value at all.
func (i Item) Found() bool { return i.Present }

// Envelope is the value as it was given to Write, or any bytes that another program
// stored.
func (i Item) Envelope() string { return i.Raw }

// Seen identifies this version of the value, for LeaseRequest.
func (i Item) Seen() string { return i.Raw[:min(len(i.Raw), SeenLen)] }

// SeenLen is how many leading bytes of an envelope distinguish two writes: those of an
// entry's head, which holds a random number.
const SeenLen = envelope.HeadLen

// LargeLen is how much of an entry a server is sent, or asked for, together with others. What is longer goes by other commands.
const LargeLen = 64 << 10

// HeadsLen is how much of an entry [Reader.GetHeads] reads: its head, also where it stands beside another.
const HeadsLen = envelope.LinkLen + envelope.HeadLen

// LeaseRequest asks for the right to load a key. If the key's value is another
// than the one the caller has Seen (the zero string: none), the answer holds that
// value instead. An empty value cannot be told from none: a caller that has seen
// one sets Any.
type LeaseRequest struct {
	Key, Token, Seen string
	// TTL is how long the lease is to last. It also bounds the rest of another
	// process's lease, which may have been taken before the server's clock was set back.
	TTL time.Duration
	// Any: take the lease whatever the value is.
	Any bool
}

// Lease is the answer: acquired, or the key's new value, or the longest time that
// another process's lease can last. With a value the lease may have been acquired as
// well, before the value was read: a caller that can use the value releases the lease,
// one that cannot keeps it. With Err it may have been acquired too, and the key was not
// read: the caller releases it.
type Lease struct {
	Acquired bool
	Item     Item
	Wait     time.Duration
	Err      error
}

// LeaseSuffix ends the name of a key's lease. Data keys end in '}'.
const LeaseSuffix = "!"

// LeaseOf returns the data key whose lease has the given name.
func LeaseOf(name string) (key string, ok bool) {
	if n := len(name) - len(LeaseSuffix); n > 0 && name[n:] == LeaseSuffix {
		return name[:n], true
	}
	return "", false
}

// Write is a value to store: with a Token only while that holds the lease,
// without one in any case.
//
// The same step reads the key, so that the server sends an invalidation when the value
// changes later. The write itself causes one invalidation, to each connection that has
// read the key before, this connection included: its echo. The echo is delivered after
// the invalidations of all changes before the write, and before those of all changes
// after it; Write may return before the echo. The invalidations of changes before the
// write have been delivered when Write returns.
type Write struct {
	Key, Token string
	// LeaseTTL is how long leases last; 0: [DefaultLeaseTTL]. If another Token holds the key's lease,
	// that lease may last for LeaseTTL from now on: a holder that has died blocks the
	// key for longer, once for each fill that comes too late.
	LeaseTTL time.Duration
	// Envelope is stored as it is. It must not be written to any more: it may still be
	// sent after a Write has returned whose context has ended.
	Envelope []byte
	// Expires is by the server's clock, as in the envelope. If it has passed when the
	// write arrives (the life was short, or the clock was set forwards meanwhile) the
	// write has no echo; an older value is removed.
	Expires time.Time
	// Window is for writes without a Token: one that was given up may otherwise reach the
	// server after a later one that was sent on another connection.
	Window
	// Unread: this connection may not have read the key, or may have received an
	// invalidation of it since. The write reads the key first, so that it has an echo
	// in any case.
	Unread bool
	// Queued, unless nil, is called once, before Write sends anything.
	Queued func()
	// Staged is set by Stage: where the envelope is.
	Staged string
}

// Window is the time in which a server performs a request, by the clock of the server that has the key, in
// microseconds. Outside of it the request is refused, and changes nothing.
type Window struct {
	NotBefore time.Time // the earliest time; zero: no bound
	Before    time.Time // the first time that is too late; zero: no bound
	// Connection is the [changelog.Delta.Connection] of the clock that the bounds are by; 0:
	// any. Where there is one server and another connection to it by now, nothing is sent, and
	// the error matches remoteerr.NotSent: it may be to another server, whose clock may be behind.
	Connection int64
}

func (w Window) Bounded() bool { return !w.NotBefore.IsZero() || !w.Before.IsZero() }

// Admits reports whether a server whose clock shows now performs the request.
func (w Window) Admits(now time.Time) bool {
	return !now.Before(w.NotBefore) && (w.Before.IsZero() || now.Before(w.Before))
}

// Deletion is a key to delete within a Window.
type Deletion struct {
	Key string
	Window
}

// Deleted is the result of a Deletion.
type Deleted struct {
	Late bool // it was refused, outside of its Window
	Err  error
}

// Queue calls Queued of all writes.
func Queue(writes []Write) {
	for i := range writes {
		if f := writes[i].Queued; f != nil {
			f()
		}
	}
}

// Written is the result of a Write.
type Written struct {
	// Stored is false if the lease was gone (another process wrote or deleted the key),
	// or the write arrived outside of its Window, or after its value had expired.
	Stored bool
	// Expired: the write was performed, and nothing is stored, since the value had expired.
	Expired bool
	Err     error
}

// Refused reports whether the write was not performed, or it is not known whether it was.
func (w Written) Refused() bool { return !w.Stored && !w.Expired }

// Memory is that of one server.
type Memory struct {
	Server string // its address, in a cluster
	Policy string // maxmemory-policy
	// Max is maxmemory, Counted what the server compares with it: not, for instance, the buffers of its replicas. Bytes.
	Max, Counted int64
	// Exceeded: it has been above Max for a while, since nothing could be evicted.
	Exceeded bool
}

// Full reports whether the server refuses to store more, or is about to. Where it can evict, it is always about as full as it may
// be, and a little more while it tells of itself.
func (m Memory) Full() bool {
	// guard: full-before-refusing
	if m.Policy == "noeviction" {
		return m.Max > 0 && m.Counted >= m.Max/100*95
	}
	// guard: memory-is-full
	return m.Max > 0 && m.Exceeded
}

// fullerThan reports whether m has a smaller share left than o.
func (m Memory) fullerThan(o Memory) bool {
	return m.Max > 0 && (o.Max == 0 || float64(m.Counted)/float64(m.Max) > float64(o.Counted)/float64(o.Max))
}

// Fuller returns that of two which has less left.
func Fuller(a, b Memory) Memory {
	if b.fullerThan(a) {
		return b
	}
	return a
}

// Info describes a server.
type Info struct {
	Server     string // kind and version
	Policy     string // maxmemory-policy; empty if the server did not tell it
	MaxMemory  int64  // bytes, 0 = no limit
	UsedMemory int64  // bytes
	// Fullest is the memory of the server that has the least left.
	Fullest Memory
	// TrackedKeys and TrackedMax are the size and bound of the tracking table.
	TrackedKeys, TrackedMax int64
	// LogScopes and LogMost are the size and bound of the change log: see
	// [changelog.Change.Retention].
	LogScopes, LogMost int64
	// Unknown names what the server did not tell, and why (an ACL, a provider).
	Unknown string
}
