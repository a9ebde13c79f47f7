package tier

import (
	"context"

	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/invalidation"
)

// declaration is that the change log knows that keys of a namespace are written
// by themselves.
type declaration struct {
	incarnation uint64    // of the log
	until       mono.Time // when it is to be said again: the log forgets
}

// declare sees to it, before Set or Delete write to single keys, that the change
// log knows of it. These leave nothing else there, so without it nobody would find
// out about this:
//
//	A:       Set(k, 1); the replica has it
//	A:       Set(k, 2) returns; the replica lags
//	primary: dies; the replica is promoted, and has 1
//
// With it, the first that hears of the new primary has the namespace change.
func (c *core) declare(ctx context.Context) error {
	if c.cfg.localOnly || !c.s.conn.LosesWrites() {
		return nil
	}
	now := mono.Now()
	if d := c.ns.declared.Load(); d != nil && d.incarnation == c.s.AsOf().Incarnation && now < d.until {
		return nil
	}
	if a := c.s.conn.away(); a != nil {
		return a // changes are tried all the same, and this one would be waited for
	}
	at, err := c.s.tail.ChangeSettled(ctx, []invalidation.Scope{invalidation.Written(c.ns.path)}, false, 0)
	if err == nil {
		c.ns.declared.Store(&declaration{at.Incarnation, now.Add(c.s.cfg.maxTTL / 2)})
	}
	return err
}
