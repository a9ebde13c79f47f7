package tier

import (
	"context"
	"time"

	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/invalidation"
)

// declaration is that the change log knows that keys of a namespace are written
// by themselves.
type declaration struct {
	at    AsOf      // where it stands in the log
	until mono.Time // when it is to be said again: processes of the release before have the log forget
}

// holds reports whether the log knows for sure. Processes of the release before take a
// declaration out, and raise the floor to it.
func (d *declaration) holds(v *invalidation.View, now mono.Time) bool {
	// guard: I6-set-declares-below-floor
	return d.at.Incarnation == v.Incarnation && d.at.Tick > v.Floor && now < d.until
}

// hearsOthers is how recently a process that writes to single keys must have heard the
// log: stores of the other mode, which would not hear of the write, can open only
// after it has been silent for longer than that.
const hearsOthers = 30 * time.Second

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
	now, v := mono.Now(), c.s.tail.View()
	// guard: I2-set-hears-log-first
	if !c.s.cfg.noTracking && v.Age(now) > hearsOthers && c.s.conn.OpenOutage() == nil {
		if err := c.s.tail.CatchUp(ctx); err != nil {
			return err
		}
		v = c.s.tail.View()
	}
	if d := c.ns.declared.Load(); d != nil && d.holds(v, now) {
		return nil
	}
	// guard: I8-first-set-in-outage
	if a := c.s.conn.OpenOutage(); a != nil {
		return a // changes are tried all the same, and this one would be waited for
	}
	at, err := c.s.tail.ChangeSettled(ctx, []invalidation.Scope{invalidation.Written(c.ns.path)}, false, 0)
	if err == nil {
		c.ns.declared.Store(&declaration{at, now.Add(c.s.cfg.maxTTL / 2)})
	}
	return err
}
