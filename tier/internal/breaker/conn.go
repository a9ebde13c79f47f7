package breaker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/bound"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/internal/remoteerr"
)

// Conn is a connection with a breaker for each of its servers: while a server is away it
// refuses requests that readers and writers would wait for, and it records the results of
// requests in the breakers.
//
// It never refuses changes and heartbeats, nor the release of a lease: a request that was
// given up may have taken the lease, which would block other processes once the server
// answers again.
type Conn struct {
	backend.Conn
	timeout time.Duration
	Server  Breaker     // of the only server, or in a cluster of the one that has the log
	Sharded atomic.Bool // the keys are on several servers
	shards  sync.Map    // in a cluster: a *Breaker for each address
	// silence is the age of a server's proof from which on, in a cluster, a request to
	// several servers that failed counts against that server.
	silence time.Duration
	// Refusals are those of requests that only read or write entries.
	Refusals Refusals
	// Bypassed has the beginnings of the names of keys that are not read, loaded under a lease or filled; nil: none.
	Bypassed atomic.Pointer[[]string]
}

// NewConn returns c with breakers. It calls opened and closed, without a lock, when a
// breaker opens or closes.
func NewConn(c backend.Conn, timeout, heartbeat time.Duration, opened, closed func(*Outage)) *Conn {
	return &Conn{Conn: c, timeout: timeout, silence: max(timeout, 2*heartbeat), Server: Breaker{onOpen: opened, onClose: closed}}
}

// Of returns the breaker of the server that has a remote key.
func (g *Conn) Of(name string) *Breaker {
	if !g.Sharded.Load() {
		return &g.Server
	}
	return g.ofShard(g.Shard(name), name)
}

// ofShard returns the breaker of a server of a cluster; name is a key that the server has.
func (g *Conn) ofShard(s *backend.Shard, name string) *Breaker {
	if b, ok := g.shards.Load(s.Address()); ok {
		return b.(*Breaker)
	}
	b := &Breaker{Server: s.Address(), onOpen: g.Server.onOpen, onClose: g.Server.onClose}
	b.Probe = func(ctx context.Context) { g.probeShard(ctx, b, name) }
	if s.Address() == "" { // for keys of which no server is known
		b.Probe = func(ctx context.Context) { g.probeShard(ctx, b) }
	}
	known, _ := g.shards.LoadOrStore(s.Address(), b)
	return known.(*Breaker)
}

// probeShard asks for a proof of the keys, or of all if none is named. If another server
// has the key by now, its answer closes this breaker: should this server be given keys
// again, requests are sent to it.
func (g *Conn) probeShard(ctx context.Context, b *Breaker, names ...string) {
	sent := b.loadState()
	b.recordAnswer(ctx, sent, g.Conn.Prove(ctx, names...))
}

// Prove implements [backend.Prober]. Without names every server has answered, so none of them
// is away: after a Sync no copy is served that was kept for an outage.
func (g *Conn) Prove(ctx context.Context, names ...string) error {
	err := g.Conn.Prove(ctx, names...)
	// guard: I3-sync-ends-outage
	if err == nil && len(names) == 0 {
		g.shards.Range(func(_, b any) bool {
			b.(*Breaker).answered()
			return true
		})
	}
	return err
}

// OfLog returns the breaker of the server that has the change log.
func (g *Conn) OfLog() *Breaker { return &g.Server }

// OpenOutage returns the outage of the server that has the change log, or nil.
func (g *Conn) OpenOutage() *Outage { return g.OfLog().Current.Load() }

// AwaySince returns the beginning of the oldest present outage, or the zero time, and how
// many outages there were that were not brief.
func (g *Conn) AwaySince() (since time.Time, outages int64) {
	count := func(b *Breaker) {
		if a := b.Current.Load(); a != nil && (since.IsZero() || a.Since.Before(since)) {
			since = a.Since
		}
		outages += b.outages.Load()
	}
	count(&g.Server)
	g.shards.Range(func(_, b any) bool {
		count(b.(*Breaker))
		return true
	})
	return since, outages
}

// States returns how many breakers are closed, suspect and open.
func (g *Conn) States() (closed, suspect, open int) {
	var n [numBreakerStates]int
	n[g.Server.loadState().state()]++
	g.shards.Range(func(_, b any) bool {
		n[b.(*Breaker).loadState().state()]++
		return true
	})
	return n[stateClosed], n[stateSuspect], n[stateOpen]
}

// Openings counts all outages, brief ones too.
func (g *Conn) Openings() int64 {
	n := g.Server.openings.Load()
	g.shards.Range(func(_, b any) bool {
		n += b.(*Breaker).openings.Load()
		return true
	})
	return n
}

// request is a request on its way to one server or several.
type request struct {
	b     *Breaker
	sent  breakerState
	shard *backend.Shard
	more  []request // for the other servers that it goes to
}

// admit returns an error, an *Outage, if a server that has one of the keys is away.
func (g *Conn) admit(keys int, key func(i int) string) (r request, err error) {
	if !g.Sharded.Load() {
		r.b = &g.Server
		r.sent, err = r.b.admit()
		return r, err
	}
	for i := range keys {
		shard := g.Shard(key(i))
		one := request{b: g.ofShard(shard, key(i)), shard: shard}
		if one.sent, err = one.b.admit(); err != nil {
			return r, err
		}
		switch {
		case r.b == nil:
			r = one
		case r.b != one.b && !slices.ContainsFunc(r.more, func(o request) bool { return o.b == one.b }):
			r.more = append(r.more, one)
		}
	}
	return r, nil
}

// recordAnswer records the result of a request in the breakers. An error does not tell
// which of several servers failed, so it counts only against those whose proof is old.
// The log's server is judged by heartbeats.
func (g *Conn) recordAnswer(ctx context.Context, r request, err error) {
	if len(r.more) == 0 {
		r.b.recordAnswer(ctx, r.sent, err)
		return
	}
	now := mono.Now()
	for _, one := range append(r.more, r) {
		if err == nil || one.shard != nil && one.shard.Age(now) > g.silence {
			one.b.recordAnswer(ctx, one.sent, err)
		}
	}
}

// Refused reports whether err says that a request was not sent at all.
func Refused(err error) bool {
	var a *Outage
	return errors.As(err, &a) || errors.Is(err, ErrBypassed)
}

// ErrBypassed is the error of requests for keys of a namespace that an operator has had bypassed.
var ErrBypassed = errors.New("the namespace is bypassed, so that its values come from loaders: see Health for how long")

// refuseBypassed returns ErrBypassed if one of the keys is bypassed.
func (g *Conn) refuseBypassed(keys int, key func(i int) string) error {
	prefixes := g.Bypassed.Load()
	if prefixes == nil {
		return nil
	}
	for i := range keys {
		for _, p := range *prefixes {
			if strings.HasPrefix(key(i), p) {
				return ErrBypassed
			}
		}
	}
	return nil
}

// admitUnbypassed is admit for requests that a bypass stops: those to read, to lease and to fill. Sets and deletions are sent: they
// have to hold when it is over.
func (g *Conn) admitUnbypassed(keys int, key func(i int) string) (request, error) {
	// guard: bypass-refuses-requests
	if err := g.refuseBypassed(keys, key); err != nil {
		return request{}, err
	}
	return g.admit(keys, key)
}

// admitWrite is admitUnbypassed for fills, which have the token of a lease, and admit for sets.
func (g *Conn) admitWrite(writes []backend.Write) (request, error) {
	key := func(i int) string { return writes[i].Key }
	if len(writes) > 0 && writes[0].Token != "" {
		return g.admitUnbypassed(len(writes), key)
	}
	return g.admit(len(writes), key)
}

// ErrRemoteTimeout is the cause of a request's end when the server did not answer in time.
var ErrRemoteTimeout = errors.New("no answer within the remote timeout")

// recordAnswer records the result of a request.
func (b *Breaker) recordAnswer(ctx context.Context, sent breakerState, err error) {
	switch {
	case err == nil:
		b.answered()
	case errors.Is(err, backend.ErrClosed):
	case !remoteerr.Away(err):
		b.answered()
	// guard: I8-caller-gave-up-first
	case ctx.Err() != nil && bound.Cause(ctx) != ErrRemoteTimeout:
		// The caller gave up sooner, which says nothing about the server.
	default:
		b.unanswered(sent, err)
	}
}

// Delta is never refused: heartbeats and probes send it. They have more time than a
// read, so Delta measures whether a read would have been answered.
func (g *Conn) Delta(ctx context.Context, q changelog.DeltaQuery) (changelog.Delta, error) {
	b := g.OfLog()
	sent, begun := b.loadState(), mono.Now()
	d, err := g.Conn.Delta(ctx, q)
	took := mono.Now().Sub(begun)
	switch {
	// guard: I8-late-heartbeat-is-failure
	// guard: busy-heartbeat-is-no-failure
	case err == nil && took > g.timeout && !d.Busy:
		b.unanswered(sent, fmt.Errorf("it took %v to answer", took.Round(time.Millisecond)))
	// guard: I8-failed-heartbeat-counts
	case err != nil && ctx.Err() == context.DeadlineExceeded && took >= g.timeout-g.timeout/8 && remoteerr.Away(err):
		b.unanswered(sent, err)
	default:
		b.recordAnswer(ctx, sent, err)
	}
	return d, err
}

func (g *Conn) GetOne(ctx context.Context, key string) (backend.Item, error) {
	r, err := g.admitUnbypassed(1, func(int) string { return key })
	if err != nil {
		return backend.Item{}, err
	}
	it, err := g.Conn.GetOne(ctx, key)
	g.noteReads(Reads, []string{key}, []backend.Item{it}, err)
	g.recordAnswer(ctx, r, err)
	return it, err
}

// Get with a query goes to the log's server as well. Without that server's answer the
// items cannot be judged.
func (g *Conn) Get(ctx context.Context, keys []string, q *changelog.DeltaQuery) ([]backend.Item, changelog.Delta, error) {
	return g.read(ctx, keys, q, func() ([]backend.Item, changelog.Delta, error) { return g.Conn.Get(ctx, keys, q) })
}

// GetHeads is as Get.
func (g *Conn) GetHeads(ctx context.Context, heads, keys []string, q *changelog.DeltaQuery) ([]backend.Item, changelog.Delta, error) {
	return g.read(ctx, slices.Concat(heads, keys), q, func() ([]backend.Item, changelog.Delta, error) { return g.Conn.GetHeads(ctx, heads, keys, q) })
}

func (g *Conn) read(ctx context.Context, keys []string, q *changelog.DeltaQuery, send func() ([]backend.Item, changelog.Delta, error)) ([]backend.Item, changelog.Delta, error) {
	r, err := g.admitUnbypassed(len(keys), func(i int) string { return keys[i] })
	if err != nil {
		return nil, changelog.Delta{}, err
	}
	if g.Sharded.Load() && q != nil {
		sent, err := g.Server.admit()
		if err != nil {
			return nil, changelog.Delta{}, err
		}
		r.more = append(r.more, request{b: &g.Server, sent: sent})
	}
	items, d, err := send()
	worst := worstItem(items, err)
	g.noteReads(kindOfRead(len(keys)), keys, items, err)
	g.recordAnswer(ctx, r, worst)
	return items, d, err
}

func (g *Conn) GetUntracked(ctx context.Context, keys []string) ([]backend.Item, error) {
	r, err := g.admitUnbypassed(len(keys), func(i int) string { return keys[i] })
	if err != nil {
		return nil, err
	}
	items, err := g.Conn.GetUntracked(ctx, keys)
	worst := worstItem(items, err)
	g.noteReads(ReadsOfMany, keys, items, err)
	g.recordAnswer(ctx, r, worst)
	return items, err
}

// worstItem is Worst for a request to read.
func worstItem(items []backend.Item, err error) error {
	for i := range items {
		err = worse(err, items[i].Err)
	}
	return err
}

// Stage, of what is large, is refused as the write is that follows it.
func (g *Conn) Stage(ctx context.Context, w *backend.Write) error {
	r, err := g.admitWrite([]backend.Write{*w})
	if err != nil {
		return err
	}
	err = g.Conn.Stage(ctx, w)
	if err != nil { // that it was staged does not mean that it is written
		g.noteAll(kindOfWrite(w.Token, true), []string{w.Key}, err)
	}
	g.recordAnswer(ctx, r, err)
	return err
}

func (g *Conn) Lease(ctx context.Context, reqs []backend.LeaseRequest) ([]backend.Lease, error) {
	r, err := g.admitUnbypassed(len(reqs), func(i int) string { return reqs[i].Key })
	if err != nil {
		return nil, err
	}
	leases, err := g.Conn.Lease(ctx, reqs)
	g.noteLeases(reqs, leases, err)
	g.recordAnswer(ctx, r, worstLease(leases, err))
	return leases, err
}

// worstLease is Worst for a request for leases.
func worstLease(leases []backend.Lease, err error) error {
	for i := range leases {
		err = worse(err, leases[i].Err)
	}
	return err
}

func (g *Conn) Write(ctx context.Context, writes []backend.Write) ([]backend.Written, error) {
	r, err := g.admitWrite(writes)
	if err != nil {
		return nil, err
	}
	written, err := g.Conn.Write(ctx, writes)
	worst := Worst(written, err)
	g.noteWrites(writes, written, err)
	g.recordChangeAnswer(ctx, r, worst)
	return written, err
}

// recordChangeAnswer is recordAnswer for requests whose answer is awaited even if the caller gives up.
func (g *Conn) recordChangeAnswer(ctx context.Context, r request, err error) {
	limit := bound.Limit(ctx)
	if err != nil && limit.Err() == nil && ctx.Err() != nil {
		return // it ended before its limit: nothing was sent, or the connection was lost
	}
	// guard: I8-abandoned-write-counts
	g.recordAnswer(limit, r, err)
}

func (g *Conn) WriteLater(ctx context.Context, writes []backend.Write, then func([]backend.Written, error)) {
	r, err := g.admitWrite(writes)
	if err != nil {
		then(nil, err)
		return
	}
	g.Conn.WriteLater(ctx, writes, func(written []backend.Written, err error) {
		worst := Worst(written, err)
		g.noteWrites(writes, written, err)
		g.recordAnswer(ctx, r, worst)
		then(written, err)
	})
}

// Worst returns the error that says most about the server, of the results of a request
// to write.
func Worst(written []backend.Written, err error) error {
	for i := range written {
		err = worse(err, written[i].Err)
	}
	return err
}

// worse returns the error that says more about the server, of two errors of one request.
func worse(a, b error) error {
	if a == nil || b != nil && remoteerr.Away(b) {
		return b
	}
	return a
}

func (g *Conn) Extend(ctx context.Context, keys []string, token string, ttl time.Duration) error {
	r, err := g.admit(len(keys), func(i int) string { return keys[i] })
	if err != nil {
		return err
	}
	err = g.Conn.Extend(ctx, keys, token, ttl)
	g.noteAll(Renewals, keys, err)
	g.recordAnswer(ctx, r, err)
	return err
}

func (g *Conn) Delete(ctx context.Context, keys []backend.Deletion) ([]backend.Deleted, error) {
	r, err := g.admit(len(keys), func(i int) string { return keys[i].Key })
	if err != nil {
		return nil, err
	}
	deleted, err := g.Conn.Delete(ctx, keys)
	worst := WorstOf(deleted, err)
	g.noteDeletions(keys, deleted, err)
	g.recordChangeAnswer(ctx, r, worst)
	return deleted, err
}

// WorstOf is Worst for a request to delete.
func WorstOf(deleted []backend.Deleted, err error) error {
	for i := range deleted {
		err = worse(err, deleted[i].Err)
	}
	return err
}

func (g *Conn) Discard(ctx context.Context, keys []string, token string) error {
	r, err := g.admit(len(keys), func(i int) string { return keys[i] })
	if err != nil {
		return err
	}
	err = g.Conn.Discard(ctx, keys, token)
	g.noteAll(Deletions, keys, err)
	g.recordAnswer(ctx, r, err)
	return err
}

// Release is never refused by a breaker: see [Conn].
func (g *Conn) Release(ctx context.Context, keys []string, token string) error {
	err := g.Conn.Release(ctx, keys, token)
	g.noteAll(Releases, keys, err)
	return err
}

// Append is never refused by a breaker: a change is tried all the same.
func (g *Conn) Append(ctx context.Context, ch changelog.Change) (changelog.Appended, error) {
	done, err := g.Conn.Append(ctx, ch)
	// guard: refusal-of-changes
	g.noteChange(err)
	return done, err
}

func (g *Conn) Purge(ctx context.Context, p backend.PurgeRequest) (backend.PurgeProgress, error) {
	done, err := g.Conn.Purge(ctx, p)
	g.Refusals.record(Purges, "", err)
	return done, err
}
