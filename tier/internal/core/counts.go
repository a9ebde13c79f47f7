package core

import (
	"context"
	"errors"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/unawaited"
	"github.com/tiercache/tiercache/tier/internal/breaker"
	"github.com/tiercache/tiercache/tier/internal/inflight"
	"github.com/tiercache/tiercache/tier/internal/inspect"
)

// countShared counts an answer of a call that another caller led.
func (c *Cache) countShared(out *inflight.Outcome) {
	c.ns.Stats.Shared.Add(1)
	if out.Stale {
		c.ns.Stats.Stale.Add(1)
	}
}

// countMiss counts a remote miss.
func (c *Cache) countMiss(why MissCause) {
	c.ns.Stats.RemoteMisses[why].Add(1)
	c.ns.CountRead(true)
}

// countMissed is countUnusable for a read that says nothing of what the next one finds.
func (c *Cache) countMissed(ctx context.Context, cause MissCause, err error) {
	c.ns.Stats.RemoteMisses[cause].Add(1)
	if err != nil {
		c.s.observeLater(Event{Kind: EventBadEntry, Namespace: c.ns.Path, Err: err, Background: unawaited.Is(ctx)})
	}
}

// countUnusable counts a stored entry of which open made no item.
func (c *Cache) countUnusable(ctx context.Context, cause MissCause, err error) {
	c.ns.CountRead(true)
	c.countMissed(ctx, cause, err)
}

// countReadError counts a read that was not answered, unless its caller gave up.
func (c *Cache) countReadError(ctx context.Context, err error) {
	if ctx.Err() == nil && !errors.Is(err, backend.ErrClosed) {
		c.countRequestError(unawaited.Is(ctx), err)
	}
}

// countRemoteError counts a request that the remote tier did not answer. It does not
// count one that was not sent.
func (c *Cache) countRemoteError(err error) { c.countRequestError(false, err) }

// countReleaseError counts a lease that could not be given up, for which no caller waits. That can be before the run begins, so it
// asks nothing of the run.
func (c *Cache) countReleaseError(err error) { c.countRequestError(true, err) }

func (c *Cache) countRequestError(background bool, err error) {
	if breaker.Refused(err) {
		return
	}
	c.ns.Stats.RemoteErrors.Add(1)
	c.s.observeLater(Event{Kind: EventRemote, Namespace: c.ns.Path, Err: err, Background: background})
}

// kindOfRead returns what a read that no fast path answered is counted as.
func kindOfRead(got *inflight.Served, err error) inspect.Kind {
	switch {
	case err == nil && got.Origin == inflight.FromRemote:
		return inspect.KindRemoteHit
	case err == nil && got.Origin == inflight.FromLoader:
		return inspect.KindLoadedRead
	}
	return inspect.KindNone
}
