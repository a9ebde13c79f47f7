package tier

import (
	"context"
	"sync/atomic"
	"time"
)

// pace is how the loads of a view have gone of late.
type pace struct{ quick atomic.Int32 }

const (
	// quickLoad is how long a load takes at most that is quick: several times what it
	// costs to have another goroutine run it.
	quickLoad = 100 * time.Microsecond
	// manyQuick is how many quick loads it takes to expect another one.
	manyQuick = 16
	// slowWeighs is how many quick ones make up for one that was not.
	slowWeighs = 4
	// mostQuick bounds what is remembered of them.
	mostQuick = 4 * manyQuick
)

// learn notes how a load went. That two at once may count as one does not matter. One
// that did not return in time, or at all, has all begin anew.
func (p *pace) learn(took time.Duration, returned bool) {
	was := p.quick.Load()
	now := min(was+1, mostQuick)
	switch {
	case !returned:
		now = 0
	case took > quickLoad:
		now = max(was-slowWeighs, 0)
	}
	if now != was {
		p.quick.Store(now)
	}
}

// mayRunHere reports whether a caller with that context runs the loader itself,
// instead of waiting for a goroutine that does.
//
// A goroutine of its own is what lets a caller leave its load to others, or to
// nobody; and on a processor that has nothing else to do it costs 25 to 30 µs, of which
// most is waking another, that then looks for work in vain. So whoever cannot leave,
// and has a loader to which that matters, does without. Two promises are lost to this
// very caller: that of WithLoadTimeout, should a loader that was quick for so long hang
// and ignore the end of its context, and that a Goexit is an error.
//
// What is renewed in the background is never loaded here: Close waits for that
// goroutine.
func (l *loadRun) mayRunHere(ctx context.Context) bool {
	return ctx.Done() == nil && l.cfg.softTimeout == 0 && l.pace.quick.Load() >= manyQuick
}
