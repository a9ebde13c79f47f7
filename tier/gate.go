package tier

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/invalidation"
	"github.com/tiercache/tiercache/remote"
)

// gate stands between a store and its connection: while the server is away it
// refuses what readers and writers would wait for, and it listens to the answers
// for the breaker.
//
// It lets pass what nobody may refuse: changes and heartbeats, and the release
// of a lease, which may have been taken by a request that was given up and would
// block others once the server goes on.
type gate struct {
	remote.Conn
	timeout time.Duration
	server  breaker
}

func newGate(c remote.Conn, timeout time.Duration, opened, closed func(*absence)) *gate {
	return &gate{Conn: c, timeout: timeout, server: breaker{opened: opened, closed: closed}}
}

// of is the breaker that a remote key's requests go through. There is one server,
// so there is one; requests for several keys go through that of the first.
func (g *gate) of(string) *breaker { return &g.server }

// ofLog is the breaker of the server that has the change log.
func (g *gate) ofLog() *breaker { return &g.server }

// away returns the absence of the server that has the change log, or nil.
func (g *gate) away() *absence { return g.ofLog().current.Load() }

// awaySince is since when the server is away, if it is, and how often it was.
func (g *gate) awaySince() (since time.Time, outages int64) {
	if a := g.away(); a != nil {
		since = a.since
	}
	return since, g.server.openings.Load()
}

// refused reports whether err says that a request was not sent at all.
func refused(err error) bool {
	var a *absence
	return errors.As(err, &a)
}

// errPatience is the cause of a request's end for which the server is to blame.
var errPatience = errors.New("no answer within the remote timeout")

// heard tells a breaker how a request went.
func (b *breaker) heard(ctx context.Context, sent standing, err error) {
	switch {
	case err == nil:
		b.answered()
	case errors.Is(err, remote.ErrClosed):
	case !remote.Away(err):
		b.answered()
	case ctx.Err() != nil && context.Cause(ctx) != errPatience:
		// Its caller gave up sooner, which says nothing about the server.
	default:
		b.unanswered(sent, err)
	}
}

// Delta is never refused: it is what heartbeats and probes send. They are given
// more time than a read, so the clock tells whether a read would have been
// answered.
func (g *gate) Delta(ctx context.Context, q invalidation.DeltaQuery) (invalidation.Delta, error) {
	b := g.ofLog()
	sent, begun := b.standing(), mono.Now()
	d, err := g.Conn.Delta(ctx, q)
	took := mono.Now().Sub(begun)
	switch {
	case err == nil && took > g.timeout:
		b.unanswered(sent, fmt.Errorf("it answers after %v", took.Round(time.Millisecond)))
	case err != nil && ctx.Err() == context.DeadlineExceeded && took >= g.timeout-g.timeout/8 && remote.Away(err):
		b.unanswered(sent, err)
	default:
		b.heard(ctx, sent, err)
	}
	return d, err
}

func (g *gate) GetOne(ctx context.Context, key string) (remote.Item, error) {
	b := g.of(key)
	sent, err := b.admit()
	if err != nil {
		return remote.Item{}, err
	}
	it, err := g.Conn.GetOne(ctx, key)
	b.heard(ctx, sent, err)
	return it, err
}

func (g *gate) Get(ctx context.Context, keys []string, q *invalidation.DeltaQuery) ([]remote.Item, invalidation.Delta, error) {
	b := g.of(keys[0])
	sent, err := b.admit()
	if err != nil {
		return nil, invalidation.Delta{}, err
	}
	items, d, err := g.Conn.Get(ctx, keys, q)
	b.heard(ctx, sent, err)
	return items, d, err
}

func (g *gate) Lease(ctx context.Context, reqs []remote.LeaseRequest) ([]remote.Lease, error) {
	b := g.of(reqs[0].Key)
	sent, err := b.admit()
	if err != nil {
		return nil, err
	}
	leases, err := g.Conn.Lease(ctx, reqs)
	said := err
	for i := range leases {
		said = worse(said, leases[i].Err)
	}
	b.heard(ctx, sent, said)
	return leases, err
}

func (g *gate) Write(ctx context.Context, writes []remote.Write) ([]remote.Written, error) {
	b := g.of(writes[0].Key)
	sent, err := b.admit()
	if err != nil {
		return nil, err
	}
	written, err := g.Conn.Write(ctx, writes)
	said := err
	for i := range written {
		said = worse(said, written[i].Err)
	}
	b.heard(ctx, sent, said)
	return written, err
}

// worse is what tells more about the server, of two errors about one request.
func worse(a, b error) error {
	if a == nil || b != nil && remote.Away(b) {
		return b
	}
	return a
}

func (g *gate) Extend(ctx context.Context, keys []string, token string, ttl time.Duration) error {
	b := g.of(keys[0])
	sent, err := b.admit()
	if err != nil {
		return err
	}
	err = g.Conn.Extend(ctx, keys, token, ttl)
	b.heard(ctx, sent, err)
	return err
}

func (g *gate) Delete(ctx context.Context, keys []string) error {
	b := g.of(keys[0])
	sent, err := b.admit()
	if err != nil {
		return err
	}
	err = g.Conn.Delete(ctx, keys)
	b.heard(ctx, sent, err)
	return err
}
