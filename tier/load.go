package tier

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	crand "crypto/rand"

	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/remote"
)

// loaded is what a loader made of one key.
type loaded struct {
	value any
	err   error
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

func newToken() string {
	var b [12]byte
	_, _ = crand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
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

// lease asks for the fleet's leases of the flights. ready are those to load
// now, held those that another process loads. Flights that turn out to have
// been answered meanwhile are ended.
func (l *loadRun) lease(ctx context.Context, fs []*flight) (ready, held []*flight) {
	var ask []*flight
	for _, f := range fs {
		if l.cfg.localOnly || f.offline {
			ready = append(ready, f)
			continue
		}
		ask = append(ask, f)
	}
	for len(ask) > 0 {
		leases, err := l.askLeases(ctx, ask)
		if err != nil {
			l.failed(err)
			l.releaseLater(names(ask))
			for _, f := range ask {
				f.offline = true
			}
			return append(ready, ask...), held
		}
		var again []*flight
		for i, f := range ask {
			switch lease := leases[i]; {
			case lease.Acquired:
				ready = append(ready, f)
			case lease.Err != nil:
				l.failed(lease.Err)
				f.offline = true
				f.refused = errors.Is(lease.Err, remote.ErrFull)
				ready = append(ready, f)
			case !lease.Item.Found():
				held = append(held, f)
			case !l.serve(ctx, f, lease.Item, l.load, l.o):
				again = append(again, f) // another version, and no good either
			}
		}
		ask = again
		if ctx.Err() != nil {
			l.end(ask, outcome{err: context.Cause(ctx)})
			return ready, held
		}
	}
	return ready, held
}

func (l *loadRun) askLeases(ctx context.Context, fs []*flight) ([]remote.Lease, error) {
	reqs := make([]remote.LeaseRequest, len(fs))
	for i, f := range fs {
		// Registered before the request, since it reads the key (R9).
		l.s.table.restart(f, l.s.tail.View())
		reqs[i] = remote.LeaseRequest{Key: f.name, Token: l.token, Seen: f.seen, TTL: l.s.cfg.leaseTTL, Any: f.force}
	}
	rctx, cancel := l.s.request(ctx)
	defer cancel()
	return l.s.conn.Lease(rctx, reqs)
}

const (
	// maxLeaseWait bounds one wait for another's lease: notices end it sooner,
	// and this is for those that get lost.
	maxLeaseWait = time.Second
	// leasePoll is used where no notices come.
	leasePoll = 20 * time.Millisecond
)

// awaitLease waits until another process has loaded f's key, or has given up.
func (l *loadRun) awaitLease(ctx context.Context, f *flight) (ready []*flight) {
	if f.resident != nil {
		l.end([]*flight{f}, outcome{err: errAbandoned}) // a refresh that another does
		return nil
	}
	wait := maxLeaseWait
	if l.s.cfg.noTracking {
		wait = leasePoll
	}
	for {
		if err := f.sleep(ctx, wait/2+rand.N(wait/2)); err != nil {
			l.end([]*flight{f}, outcome{err: err})
			return nil
		}
		ready, held := l.lease(ctx, []*flight{f})
		if len(held) == 0 {
			return ready
		}
	}
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

// releaseLater gives up leases that the server may hold for us although its
// answer did not come: it performs late what it was slow to answer, and this
// after it, so that nobody waits for us until the leases expire.
func (l *loadRun) releaseLater(keys []string) {
	l.s.spawn(func() {
		ctx, cancel := context.WithTimeout(l.s.ctx, max(l.s.cfg.timeout, time.Second))
		defer cancel()
		if err := l.s.conn.Release(ctx, keys, l.token); err != nil {
			l.failed(err)
		}
	})
}

func namesOf(writes []remote.Write) []string {
	out := make([]string, len(writes))
	for i, w := range writes {
		out[i] = w.Key
	}
	return out
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

func names(fs []*flight) []string {
	out := make([]string, 0, len(fs))
	for _, f := range fs {
		if !f.offline {
			out = append(out, f.name)
		}
	}
	return out
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

// refreshPause is how long a stale value is served before a refresh of it that
// failed is tried again.
const refreshPause = time.Second

// filling is one loaded value on its way into both tiers.
type filling struct {
	f      *flight
	it     *item
	write  remote.Write
	listed bool // it was put into the local tier before the write
}

// fill ends the flights with what was loaded, and stores what may be stored.
func (l *loadRun) fill(ctx context.Context, fs []*flight, r loadResult) {
	done := make([]finishedLoad, len(fs))
	for i, f := range fs {
		done[i].it, done[i].envelope, done[i].kept, done[i].err = l.finished(ctx, f, r, i)
	}
	l.dropOlder(ctx, fs, done)
	var fills []filling
	var release []string
	for i, f := range fs {
		it, envelope, kept, err := done[i].it, done[i].envelope, done[i].kept, done[i].err
		switch {
		case err != nil:
			if f.resident != nil {
				f.resident.retry.Store(int64(mono.Now().Add(refreshPause)))
			}
			l.end([]*flight{f}, outcome{err: err, spare: f.stale})
		case envelope != nil && !f.offline:
			fills = append(fills, filling{f: f, it: it, write: remote.Write{Key: f.name, Token: l.token, Envelope: envelope, TTL: kept}})
			continue
		default:
			if envelope != nil && f.refused {
				l.ns.stats.fillErrors.Add(1)
				l.ns.stats.full.Add(1)
				l.s.observe(EventFill, l.ns, 0, remote.ErrFull)
			}
			l.keepUnstored(f, it, kept)
		}
		if !f.offline && !l.cfg.localOnly {
			release = append(release, f.name)
		}
	}
	if len(release) > 0 {
		rctx, cancel := l.s.request(context.WithoutCancel(ctx))
		if err := l.s.conn.Release(rctx, release, l.token); err != nil {
			l.failed(err)
		}
		cancel()
	}
	if len(fills) > 0 {
		l.store(ctx, fills)
	}
}

// finishedLoad is what became of one flight's load.
type finishedLoad struct {
	it       *item
	envelope []byte // nil: not to be stored
	kept     time.Duration
	err      error
}

// dropOlder removes what the tiers hold of keys whose loader has answered with
// something that is not stored ("not found", DoNotStore, not encodable): after
// a refresh that gave the new value, the older one must not be served again.
func (l *loadRun) dropOlder(ctx context.Context, fs []*flight, done []finishedLoad) {
	var keys []string
	for i, f := range fs {
		if d := done[i]; d.envelope != nil && !f.refused || d.err != nil && !errors.Is(d.err, ErrNotFound) || l.cfg.localOnly && d.kept > 0 {
			continue
		}
		switch {
		case l.cfg.localOnly, f.offline && f.force && !f.refused:
			l.s.local.Remove(f.h)
		case f.offline && !f.refused:
		case f.force || f.seen != "" || f.resident != nil || f.stale != nil:
			keys = append(keys, f.key)
		}
	}
	if len(keys) > 0 {
		_ = l.deleteAll(context.WithoutCancel(ctx), keys) // counted there
	}
}

// keepUnstored ends a flight whose value is not stored remotely: it is kept
// locally only by caches that have nothing else.
func (l *loadRun) keepUnstored(f *flight, it *item, kept time.Duration) {
	if !l.cfg.localOnly || kept == 0 || !l.usesLocal(l.o) || !l.s.table.keep(f.h, &f.watch, it, 0) {
		it.release(l.s.tail)
	}
	l.end([]*flight{f}, outcome{it: it, origin: Loaded})
}

// store writes loaded values to the remote tier. Their callers are answered
// before that is acknowledged, unless too many such writes are under way.
//
// A value is put into the local tier at once as well, provisionally: believed
// no longer than the proof that the key had not changed by then. Once the write
// is acknowledged, and the only notice that came is the one the write owes, it
// stays; otherwise it goes.
func (l *loadRun) store(ctx context.Context, fills []filling) {
	writes := make([]remote.Write, len(fills))
	var bytes int64
	for i := range fills {
		l.list(&fills[i])
		writes[i] = fills[i].write
		bytes += int64(len(writes[i].Envelope))
	}
	early := l.s.fills.TryAcquire(bytes)
	if early {
		defer l.s.fills.Release(bytes)
		for _, fl := range fills {
			fl.f.finish(outcome{it: fl.it, origin: Loaded})
		}
	}
	begun := mono.Now()
	rctx, cancel := l.s.request(context.WithoutCancel(ctx))
	written, err := l.s.conn.Write(rctx, writes)
	cancel()
	if err != nil {
		l.failed(err)
		l.releaseLater(namesOf(writes))
		written = make([]remote.Written, len(fills))
		for i := range written {
			written[i].Err = err
		}
	}
	for i, fl := range fills {
		l.settle(fl, written[i], mono.Now().Sub(begun))
		if !early {
			fl.f.finish(outcome{it: fl.it, origin: Loaded})
		}
		l.s.table.land(fl.f)
	}
}

// list marks the key as being written, and puts the value into the local tier
// if the key is known not to have changed since the lease was taken.
func (l *loadRun) list(fl *filling) {
	view := l.s.tail.View()
	clean := l.s.table.mark(fl.f.h, &fl.f.watch)
	if !clean || !l.usesLocal(l.o) || view.Proof == 0 {
		// An older copy may be there: a refresh by a view without local copies
		// replaces what another view has kept. No notice will take it out, since
		// the one that comes is taken for the one that this write owes.
		l.s.local.Remove(fl.f.h)
		return
	}
	fl.it.provisional.Store(int64(view.Proof.Add(l.s.cfg.maxStaleness)))
	fl.it.plan(&l.cfg)
	fl.listed = l.s.table.list(fl.f.h, &fl.f.watch, fl.it)
}

// settle keeps or drops the local copy according to how its write went.
func (l *loadRun) settle(fl filling, w remote.Written, took time.Duration) {
	st := &l.ns.stats
	err := w.Err
	switch {
	case err != nil:
		st.fillErrors.Add(1)
		if errors.Is(err, remote.ErrFull) {
			st.full.Add(1)
			// Neither the lease nor an older value is to stay.
			_ = l.deleteAll(context.Background(), []string{fl.f.key})
		}
	case !w.Stored:
		st.fenced.Add(1)
	default:
		st.fills.Add(1)
	}
	l.s.observe(EventFill, l.ns, took, err)
	if w.Verified && l.usesLocal(l.o) && l.s.table.keep(fl.f.h, &fl.f.watch, fl.it, l.s.owedNotices()) {
		fl.it.provisional.Store(0)
		fl.it.plan(&l.cfg)
		return
	}
	l.s.table.unlist(fl.f.h, &fl.f.watch, fl.it)
	fl.it.release(l.s.tail)
}

// owedNotices is how many notices a write of ours causes.
func (s *Store) owedNotices() int {
	if s.cfg.noTracking {
		return 0
	}
	return 1
}

// finished makes an item of what was loaded for a flight, and its envelope if
// it may be stored.
func (l *loadRun) finished(ctx context.Context, f *flight, r loadResult, i int) (it *item, envelope []byte, kept time.Duration, err error) {
	cfg, discard := r.entries[i].taken()
	value, err := r.loaded[i].value, r.loaded[i].err
	negative := errors.Is(err, ErrNotFound)
	switch {
	case negative:
		l.ns.stats.notFound.Add(1)
		if l.cfg.negativeTTL == 0 || discard {
			return nil, nil, 0, err
		}
	case err == nil:
		err = cfg.err
	}
	fresh, kept, lifeErr := cfg.life(&l.cfg, l.s.cfg.maxTTL, negative)
	if err != nil && !negative || lifeErr != nil {
		err = errors.Join(err, lifeErr)
		if context.Cause(ctx) != errLeft { // else nobody is told
			l.ns.stats.loadErrors.Add(1)
		}
		return nil, nil, 0, err
	}
	it = l.newItem(f.key, value, negative, cfg, r.asOf, fresh, kept)
	it.epoch, it.keyTick = f.epoch, f.keyTick
	if !l.hold(ctx, it) {
		l.ns.stats.overtaken.Add(1)
		return it, nil, 0, nil
	}
	if discard || l.cfg.localOnly {
		if discard {
			kept = 0
		}
		return it, nil, kept, nil
	}
	envelope, err = l.seal(it, fresh, kept)
	if err != nil {
		l.ns.stats.encodeErrors.Add(1)
		l.s.observe(EventFill, l.ns, 0, err)
		return it, nil, 0, nil // the value is good, it just cannot be kept
	}
	return it, envelope, kept, nil
}

// newItem makes the item of a value that was loaded or set just now.
func (c *core) newItem(key string, value any, negative bool, cfg entryConfig, asOf AsOf, fresh, kept time.Duration) *item {
	now := mono.Now()
	it := &item{
		value: value, ns: c.ns, key: key, negative: negative, sources: cfg.sources, shape: c.typed.shape,
		nonce: rand.Uint64() | 1, asOf: asOf, cost: cfg.cost,
		born: now, fresh: now.Add(fresh), expires: now.Add(kept),
	}
	if negative {
		it.value = nil
	}
	c.limitLocal(it, now)
	return it
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
