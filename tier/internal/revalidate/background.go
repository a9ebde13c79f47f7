package revalidate

import (
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tiercache/tiercache/internal/backend"
	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier/internal/background"
	"github.com/tiercache/tiercache/tier/internal/inflight"
	"github.com/tiercache/tiercache/tier/internal/record"
	"github.com/tiercache/tiercache/tier/internal/session"
)

// A pass begins up to perProcess for each process that the server tells of changed keys (see [Background.count]) after the first
// read that found a suspended copy, at random. A process that is alone asks for aloneAtOnce copies at a time, without pauses. Several ask
// for fewAtOnce each and pause, so that they ask for no more than together in a second, all of them: that is a tenth to a fifth of
// what a processor of the server does, in pieces so short that another client seldom waits for more than one. However many there are, each pauses
// for as long as a request took at least.
const (
	aloneAtOnce = 512
	fewAtOnce   = 32
	together    = 100_000
	perProcess  = 5 * time.Millisecond
	latestStart = 250 * time.Millisecond
	// countEvery, times the number of processes, is how often each counts them: a connection that was lost may count for a moment.
	countEvery = 20 * time.Millisecond
	// unknownFleet is how many processes there are taken to be where the server does not tell.
	unknownFleet = 6
	// most is how many copies are asked for in the background after a loss. What is beyond them is asked for when it is read.
	most   = 1 << 17
	budget = time.Minute // most is for that time, if the epoch lasts
)

// Background has the suspended copies proven again that were used last, so that their next reads need not ask (V6).
type Background struct {
	Session    *session.Session
	Table      *inflight.Table
	Local      *local.Cache[record.Item]
	Goroutines *background.Group

	running atomic.Bool

	// Of the goroutine that runs.
	epoch     uint64    // for which most counts
	began     mono.Time // when that began
	asked     int
	processes int // that the server tells of changed keys, this one among them
	countedAt mono.Time
	requests  int              // that were answered
	took      [4]time.Duration // each of the latest of them
}

// Wake has a pass begin soon, unless one is under way. It is called by each read that finds a suspended copy, so one that
// a pass has left behind, as when the server did not answer, begins another. Without tracking, where only a server of a cluster
// that is another suspends copies, they are left to their reads: they are of an epoch, and as of a tick, of another kind.
func (b *Background) Wake() {
	// guard: V6-left-to-reads
	if !b.Session.Cfg.NoTracking && b.running.CompareAndSwap(false, true) && !b.Goroutines.Spawn(b.run) {
		b.running.Store(false)
	}
}

func (b *Background) run() {
	defer b.running.Store(false)
	b.count()
	if b.sleep(rand.N(min(latestStart, time.Duration(b.processes)*perProcess))) {
		b.pass()
	}
}

// count asks how many processes the server tells of changed keys. Those that reconnect at once count a few at first, and all
// soon after.
func (b *Background) count() {
	b.processes, b.countedAt = unknownFleet, mono.Now()
	if !b.mayAsk() {
		return
	}
	ctx := b.Session.Request(b.Goroutines.Ctx)
	defer ctx.End()
	if n, err := b.Session.Conn.Trackers(ctx); err == nil && n > 0 {
		b.processes = int(n)
	}
}

// pause is how long to wait after a request for so many copies that took so long. What it took is that of the quickest of the latest
// few, since others may have waited for a processor here.
func (b *Background) pause(copies int, took time.Duration) time.Duration {
	if mono.Now().Sub(b.countedAt) > time.Duration(b.processes)*countEvery {
		b.count()
	}
	b.took[b.requests%len(b.took)] = took
	b.requests++
	if b.processes == 1 {
		return 0
	}
	share := time.Duration(copies*b.processes) * time.Second / together
	return max(share-took, slices.Min(b.took[:min(b.requests, len(b.took))]))
}

// atOnce is how many copies are asked for in a request.
func (b *Background) atOnce() int {
	if b.processes == 1 {
		return aloneAtOnce
	}
	return fewAtOnce
}

// sleep returns false if the store is closed meanwhile.
func (b *Background) sleep(d time.Duration) bool {
	if d <= 0 {
		return b.Goroutines.Ctx.Err() == nil
	}
	select {
	case <-time.After(d):
		return true
	case <-b.Goroutines.Ctx.Done():
		return false
	}
}

// pass asks for the copies that are suspended now. It ends early when the server does not answer.
func (b *Background) pass() {
	if v := b.Session.Tail.View(); v.Epoch != b.epoch || b.asked == 0 || mono.Now().Sub(b.began) > budget {
		b.epoch, b.began, b.asked = v.Epoch, mono.Now(), 0
	}
	if b.asked >= most || !b.mayAsk() {
		return
	}
	waiting := b.Local.Hottest(most)
	for len(waiting) > 0 && b.asked < most {
		var ps []*proof
		ps, waiting = b.next(waiting, b.atOnce())
		if len(ps) == 0 {
			return
		}
		b.asked += len(ps)
		begun := mono.Now()
		if !b.prove(ps) {
			return
		}
		// guard: V6-paced
		if !b.sleep(b.pause(len(ps), mono.Now().Sub(begun))) || !b.mayAsk() {
			return
		}
	}
}

// mayAsk reports whether the log was read over the connection that is used now, and the server answers.
func (b *Background) mayAsk() bool {
	return b.Session.Conn.OpenOutage() == nil && b.Session.ProofFresh(b.Session.Tail.View(), mono.Now())
}

// proof is the proof of one copy on its way.
type proof struct {
	entry *local.Entry[record.Item]
	space *session.Namespace
	name  string
	shard *backend.Shard // that has the key
	link  uint64         // the copy may stand beside an entry that is this write
	w     inflight.Watch
}

func (p *proof) copy() *record.Item { return &p.entry.Value }

// next returns the first of the copies that are still suspended, as many as are asked for at once, and the rest.
func (b *Background) next(waiting []*local.Entry[record.Item], atOnce int) (ps []*proof, rest []*local.Entry[record.Item]) {
	v, now := b.Session.Tail.View(), mono.Now()
	for i, e := range waiting {
		if len(ps) == atOnce {
			return ps, waiting[i:]
		}
		it := &e.Value
		space, ok := it.Space.(interface{ Names() *session.Namespace })
		if !ok || !b.Session.IsSuspended(it, v) || !it.Servable(now) {
			continue // a read has had it proven, or it is not served in any case
		}
		if space.Names().IsBypassed() {
			continue // it would be refused, and with it all that is asked for in the same request
		}
		p := &proof{entry: e, space: space.Names()}
		p.name = p.space.RemoteName(e.Key())
		if b.Session.Conn.Of(p.name).Current.Load() == nil {
			ps = append(ps, p)
		}
	}
	return ps, nil
}

// prove asks for copies, and does with each what the answer says. It returns false if there was none.
//
// Each key is registered before it is asked for, as by a read (R9). A copy that a read, a load or a Set has replaced by then,
// or that was removed, is left alone.
func (b *Background) prove(ps []*proof) bool {
	v := b.Session.Tail.View()
	for _, p := range ps {
		// guard: V3-register
		b.Table.Watch(p.entry.Key(), &p.w)
		defer b.Table.Unwatch(p.entry.Key(), &p.w)
		p.shard = b.Session.ShardOf(p.name)
	}
	heads, ok := b.ask(ps, v, func(p *proof) string { return p.name })
	if !ok {
		return false
	}
	var beside []*proof
	for i, p := range ps {
		switch a, link := Compare(p.copy(), heads[i]); a {
		case Same:
			b.believe(p, v)
		case Beside:
			p.link = link
			beside = append(beside, p)
		default:
			b.Local.RemoveEntry(p.entry)
		}
	}
	if len(beside) == 0 {
		return true
	}
	heads, ok = b.ask(beside, v, func(p *proof) string { return p.space.BesideName(p.entry.Key(), p.copy().Shape) })
	for i, p := range beside {
		switch {
		case !ok:
			return false
		case CompareBeside(p.copy(), heads[i], p.link) == Same:
			b.believe(p, v)
		default:
			b.Local.RemoveEntry(p.entry)
		}
	}
	return true
}

// ask reads heads that v can judge.
func (b *Background) ask(ps []*proof, v *changelog.View, name func(*proof) string) ([]backend.Item, bool) {
	names := make([]string, len(ps))
	for i, p := range ps {
		names[i] = name(p)
	}
	items, done, err := b.Session.ReadHeads(b.Goroutines.Ctx, names, nil, false, v)
	return items, done && err == nil
}

// believe puts a copy like that of p in its place, of the epoch and the server as of before the question: if they are
// others by now, the new copy is suspended in its turn. One that cannot be judged without asking the log is left to its
// next read.
func (b *Background) believe(p *proof, v *changelog.View) {
	it := p.copy().Renewed()
	// guard: V3-same-epoch
	it.Meta().Epoch = v.Epoch
	if p.shard != nil {
		it.EnsureExtra().Shard = p.shard
	}
	switch b.Session.PinKnown(p.space, it, false) {
	case changelog.Valid:
		if b.Table.ReplaceProven(p.entry.Key(), &p.w, p.copy(), it) {
			return
		}
	case changelog.Changed:
		b.Local.RemoveEntry(p.entry)
	}
	it.Release(b.Session.Tail)
}
