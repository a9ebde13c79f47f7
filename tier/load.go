package tier

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tiercache/tiercache/internal/mono"
)

// loaded is what a loader made of one key.
type loaded struct {
	it  *item // with the value and nothing else; may be nil with err
	err error
}

// loadFunc runs the user's loader for the flights, whose entries it fills, and
// returns a result for each.
type loadFunc func(ctx context.Context, fs []*flight, es []*Entry) []loaded

// errLeft is the cause of a load's end when nobody waits for it any more.
var errLeft = errors.New("tier: nobody waits for the load")

// load has the flights' values loaded by one run of the loader, in a goroutine
// of its own. The loader's context has ctx's values, and ends when the last
// waiter of every flight has left, with the load timeout, or with the store.
func (c *core) load(ctx context.Context, fs []*flight, load loadFunc, o callConfig) {
	if !c.s.spawn(func() { c.run(ctx, fs, load, o) }) {
		c.end(fs, outcome{err: ErrClosed})
	}
}

// end ends flights with what no tier keeps. They land first: whoever was told of
// an error and comes again at once is given a new load and not the old error.
func (c *core) end(fs []*flight, out outcome) {
	for _, f := range fs {
		c.s.table.land(f)
		f.finish(out)
	}
}

func (c *core) run(ctx context.Context, fs []*flight, load loadFunc, o callConfig) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	defer context.AfterFunc(c.s.ctx, func() { cancel(ErrClosed) })()
	ctx, stop := context.WithTimeoutCause(ctx, c.cfg.loadTimeout,
		fmt.Errorf("tier: load took longer than %v: %w", c.cfg.loadTimeout, context.DeadlineExceeded))
	defer stop()
	l := &loadRun{core: c, load: load, o: o, token: newToken()}
	fs, leave := l.depart(fs, func() { cancel(errLeft) })
	if len(fs) == 0 {
		return
	}
	ready, held := l.lease(ctx, fs)
	for _, f := range fs {
		if f.finished() {
			leave[f]() // answered already: its waiters' leaving ends nothing
		}
	}
	for len(held) > 0 && len(fs) > 1 {
		// Others load these. They are waited for one by one, so that the rest of
		// the batch need not wait too.
		last := held[len(held)-1]
		held = held[:len(held)-1]
		c.load(ctx, []*flight{last}, load, o)
		leave[last]()
	}
	if len(held) == 1 {
		ready = l.awaitLease(ctx, held[0])
	}
	if len(ready) > 0 {
		l.fill(ctx, ready, l.runLoader(ctx, ready))
	}
}

// loadRun is one run of a loader.
type loadRun struct {
	*core
	load  loadFunc
	o     callConfig
	token string // names this run as the holder of its leases
}

// depart registers the run with its flights, and ends those that nobody waits
// for. cancel is called when the last waiter of the last flight has left, or
// leave has been called for it.
func (l *loadRun) depart(fs []*flight, cancel func()) (wanted []*flight, leave map[*flight]func()) {
	left := newCountdown(len(fs), cancel)
	leave = make(map[*flight]func(), len(fs))
	for _, f := range fs {
		leave[f] = sync.OnceFunc(left)
		if l.s.table.departs(f, leave[f]) {
			wanted = append(wanted, f)
		} else {
			l.end([]*flight{f}, outcome{err: errAbandoned})
			leave[f]()
		}
	}
	return wanted, leave
}

// runLoader runs the loader while it keeps the leases alive. The as-of is taken
// here, before the loader starts (R2): what changes from now on makes the
// values unbelievable, and what changed before was seen by the loader.
func (l *loadRun) runLoader(ctx context.Context, fs []*flight) loadResult {
	view := l.s.tail.View()
	r := loadResult{asOf: view.AsOf(), entries: make([]*Entry, len(fs)), begun: mono.Now()}
	if given := l.o.asOf; !given.IsZero() && (given.Incarnation != r.asOf.Incarnation || given.Tick < r.asOf.Tick) {
		r.asOf = given
	}
	leased := false
	for i, f := range fs {
		r.entries[i] = &Entry{}
		switch {
		case l.cfg.localOnly: // its basis is that of setMeanwhile
		case f.offline:
			l.s.table.restart(f, view)
		default:
			leased = true
		}
		f.seq = view.Seq
		if r.asOf != view.AsOf() {
			f.seq = 0 // older than what those knew who share it: they all check
		}
		f.keyTick = view.Watermark
		if f.offline {
			l.ns.stats.unleased.Add(1)
		}
	}
	l.ns.stats.loads.Add(int64(len(fs)))
	results := make(chan []loaded, 1)
	l.s.mu.loading.Go(func() {
		protected(results, fs, func() []loaded { return l.load(withLoading(ctx, l.s, l.ns, fs), fs, r.entries) })
	})
	r.loaded = l.attend(ctx, fs, results, leased)
	l.s.observe(EventLoad, l.ns, mono.Now().Sub(r.begun), firstError(r.loaded))
	return r
}

// loadResult is what a run of the loader gave, one element per flight.
type loadResult struct {
	asOf    AsOf
	begun   mono.Time
	entries []*Entry
	loaded  []loaded
}

func firstError(ls []loaded) error {
	for _, l := range ls {
		if l.err != nil {
			return l.err
		}
	}
	return nil
}

// attend waits for the loader, or for the end of ctx if the loader ignores it.
func (l *loadRun) attend(ctx context.Context, fs []*flight, results <-chan []loaded, leased bool) []loaded {
	var renew <-chan time.Time
	if leased {
		ticker := time.NewTicker(l.s.cfg.leaseTTL / 3)
		defer ticker.Stop()
		renew = ticker.C
	}
	for {
		select {
		case r := <-results:
			return because(ctx, r)
		case <-renew:
			rctx, cancel := l.s.request(ctx)
			if err := l.s.conn.Extend(rctx, names(fs), l.token, l.s.cfg.leaseTTL); err != nil {
				l.failed(err)
			}
			cancel()
		case <-ctx.Done():
			select {
			case r := <-results: // it was in time after all
				return because(ctx, r)
			default:
			}
			failed := make([]loaded, len(fs))
			for i := range failed {
				failed[i].err = context.Cause(ctx)
			}
			return failed
		}
	}
}

// because adds why ctx ended to the errors of a loader that heeded its end: a
// caller of a store that is closing is to see ErrClosed, not a cancellation.
func because(ctx context.Context, results []loaded) []loaded {
	for i, r := range results {
		if r.err != nil && ctx.Err() != nil && errors.Is(r.err, ctx.Err()) && !errors.Is(r.err, context.Cause(ctx)) {
			results[i].err = fmt.Errorf("%w: %w", context.Cause(ctx), r.err)
		}
	}
	return results
}

// protected runs the loader so that a panic or a Goexit becomes its result.
func protected(results chan<- []loaded, fs []*flight, load func() []loaded) {
	returned := false
	defer func() {
		if returned {
			return
		}
		failed := &LoadPanic{}
		if p := recover(); p != nil { // else it is a Goexit, which goes on
			failed.Value, failed.Stack = p, debug.Stack()
		}
		results <- everyone(fs, failed)
	}()
	out := load()
	returned = true
	results <- out
}

func everyone(fs []*flight, err error) []loaded {
	out := make([]loaded, len(fs))
	for i := range out {
		out[i].err = err
	}
	return out
}

// newCountdown returns a function whose nth call calls f.
func newCountdown(n int, f func()) context.CancelFunc {
	var left atomic.Int64
	left.Store(int64(n))
	return func() {
		if left.Add(-1) == 0 {
			f()
		}
	}
}
