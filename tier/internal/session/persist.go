package session

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/internal/recovery"
	"github.com/tiercache/tiercache/internal/remoteerr"
	"github.com/tiercache/tiercache/remote"
)

// firstPause and lastPause are between two attempts of Open: the first and the longest.
const firstPause, lastPause = 20 * time.Millisecond, 500 * time.Millisecond

// persist has attempt made until it succeeds, fails for good, or ctx ends. What may pass is the server's (it starts, loads
// its data, is being replaced); what was asked for is the same at the next attempt. Of several errors the one is
// returned that says most: the last attempt's may only say that the time was over.
func persist(ctx context.Context, attempt func() error) error {
	begun := mono.Now()
	var told error
	for n, pause := 1, firstPause; ; n, pause = n+1, min(2*pause, lastPause) {
		err := attempt()
		if err == nil {
			return nil
		}
		if told == nil || !saysNothing(err) && ctx.Err() == nil {
			told = err
		}
		// guard: open-fails-at-once
		// guard: open-asks-again
		if !mayPass(err) {
			return err
		}
		select {
		case <-time.After(pause/2 + rand.N(pause/2+1)):
		case <-ctx.Done():
		}
		if ctx.Err() == nil {
			continue
		}
		if n > 1 {
			told = fmt.Errorf("given up after %v and %d attempts: %w", mono.Now().Sub(begun).Round(time.Millisecond), n, told)
		}
		if !errors.Is(told, ctx.Err()) {
			told = fmt.Errorf("%w: %w", told, ctx.Err())
		}
		return told
	}
}

// saysNothing reports whether err says no more than that a context has ended.
func saysNothing(err error) bool {
	_, says := backend.MayPass(err)
	return !says && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled))
}

// mayPass reports whether the same attempt may succeed later.
func mayPass(err error) bool {
	if passes, says := backend.MayPass(err); says {
		return passes
	}
	return (remoteerr.Away(err) || errors.Is(err, remote.ErrFull)) && !errors.Is(err, recovery.ErrPanicked)
}
