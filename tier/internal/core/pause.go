package core

import (
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/tier/internal/inflight"
	"github.com/tiercache/tiercache/tier/internal/pace"
	"github.com/tiercache/tiercache/tier/internal/record"
)

// pause begins the pause of a call's key, whose load has failed: see WithRetryAfter.
func (c *Cache) pause(f *inflight.Call, err error) (until mono.Time) {
	until = c.s.pauses.Fail(f.H, err, mono.Now(), c.cfg.RetryFirst, c.cfg.RetryMax)
	if f.RefreshTarget != nil {
		c.refreshEarlyAt(f.RefreshTarget, until)
	}
	return until
}

// finishPaused ends a call whose load has failed recently with that error, if its caller has a
// value past its TTL instead, or wants no load (WithFailFast). It reports whether it did.
//
// Callers by other views, which have neither, lead a call of their own: see canServe.
func (c *Cache) finishPaused(f *inflight.Call) bool {
	if f.Force || f.RefreshTarget != nil {
		return false
	}
	err, paused := c.s.pauses.Paused(f.H, mono.Now())
	// guard: pause-of-another-process-is-of-stale-values
	failsFast := c.cfg.FailFast && err != pace.ErrElsewhere
	if !paused || !failsFast && !c.servesOnError(f.Stale) {
		return false
	}
	c.finishAll([]*inflight.Call{f}, inflight.Outcome{Err: err, StaleFallback: f.Stale, Paused: true})
	return true
}

// servesOnError reports whether an item past its TTL may be served instead of an error.
func (c *Cache) servesOnError(it *record.Item) bool {
	return it != nil && c.cfg.StaleOnError > 0 && c.ofType(it) && c.stillServable(it, c.cfg.StaleOnError)
}
