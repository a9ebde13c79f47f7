package coherence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// Config says how a fleet works. All its members have the same, but for Member
// and URL. It can be sent to other processes.
type Config struct {
	Member, Members int
	URL             string // of the server, or of a proxy before it
	Prefix          string
	Seed            uint64
	MaxStaleness    time.Duration
	Heartbeat       time.Duration
	Timeout         time.Duration // of requests
	NoTracking      bool
	Docs, Cells     int           // subjects of each kind
	Readers         int           // goroutines of each member
	Burst           int           // reads of each reader between two ticks of Pace
	Pace            time.Duration // of readers and writers
	Changes         int           // of each member, per 1000 ticks
	Ended           int           // contexts that end early, of 100
	MaxTTL          time.Duration // of the store; 0: the default
	OwnReads        bool          // are judged by I10
	BadSources      bool          // some loaders name a source that is none
	TwoEncodings    bool          // members with an odd number encode values in another way, as another version of a program would
	Beside          bool          // a local-only view beside the others of the cells, if New allows it
}

// DefaultConfig returns what the tests use: changes every few milliseconds, and
// a bound short enough for a fault to outlast.
func DefaultConfig() Config {
	return Config{
		Members: 1, Prefix: "coherence", Seed: 1,
		MaxStaleness: 100 * time.Millisecond, Heartbeat: 20 * time.Millisecond, Timeout: 30 * time.Millisecond,
		Docs: 40, Cells: 16, Readers: 2, Burst: 100, Pace: time.Millisecond, Changes: 100, Ended: 30, OwnReads: true, BadSources: true,
	}
}

// Member is a store of the fleet, with the goroutines that read, change and
// synchronise through it. Subjects of two kinds are changed in all ways there are:
//
//   - A doc is a source. Values made from it are loaded, and invalidated by
//     source, by namespace or all together.
//   - A cell is a key. Its values are set, deleted and loaded.
type Member struct {
	cfg   Config
	board *Board
	tally *Tally
	store *tier.Store
	docs  []views // by namespace; doc s is in docs[s%len(docs)]
	own   []views // local-only ones, of namespaces below those
	cells views
	loads atomic.Int64

	localCells *tier.Cache[Value] // see reading.beside

	// What has failed in the store, for [Reader.Calm].
	failed struct {
		count atomic.Int64 // when it was last looked at
		at    atomic.Int64 // when more was found
	}

	mu         sync.Mutex // guards what follows
	violations []*Violation
	failures   []string // the first errors of reads
	staleness  [numPhases]Histogram
}

// views are of one namespace, the one that most reads use first.
type views []*tier.Cache[Value]

// ttl is of all views but those that let it pass.
const ttl = 10 * time.Second

// newViews returns views of a namespace of all kinds that share its entries. Most
// entries are made by the first one, and live long.
func newViews(s *tier.Store, path string, all []tier.CacheOption, first ...tier.CacheOption) (out views, err error) {
	const stale = 500 * time.Millisecond // short, but so that most reads are local ones still
	for _, options := range [][]tier.CacheOption{
		append(first, tier.WithTTL(ttl)),
		{tier.WithTTL(ttl), tier.WithRemoteOnly()},
		{tier.WithTTL(stale), tier.WithStaleWhileRevalidate(ttl), tier.WithStaleOnError(ttl)},
		{tier.WithTTL(ttl), tier.WithLocalTTL(stale), tier.WithJitter(0.5)},
	} {
		c, err := tier.New[Value](s, path, append(options, all...)...)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// docNamespaces is over how many namespaces docs are spread: a change of one of
// those reaches the docs of all owners that are in it.
const docNamespaces = 4

// keptViolations are enough to understand what went wrong.
const keptViolations = 5

// Join opens the member's store, on the backend if that is not nil, else at
// cfg.URL.
func Join(ctx context.Context, cfg Config, b *Board, backend remote.Backend) (*Member, error) {
	m := &Member{cfg: cfg, board: b, tally: b.Tally(cfg.Member)}
	where := tier.WithValkey(cfg.URL)
	if backend != nil {
		where = tier.WithRemote(backend)
	}
	options := []tier.Option{
		where, tier.WithPrefix(cfg.Prefix), tier.WithMaxStaleness(cfg.MaxStaleness), tier.WithHeartbeat(cfg.Heartbeat),
		tier.WithRemoteTimeout(cfg.Timeout), tier.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))),
	}
	if cfg.NoTracking {
		options = append(options, tier.WithoutTracking())
	}
	if cfg.MaxTTL != 0 {
		options = append(options, tier.WithMaxTTL(cfg.MaxTTL))
	}
	var err error
	if m.store, err = tier.Open(ctx, options...); err != nil {
		return nil, err
	}
	if err := m.open(); err != nil {
		return nil, errors.Join(err, m.store.Close())
	}
	return m, nil
}

// otherCodec encodes values as the default does, under another name. (That of the version before has no WithSchema.)
type otherCodec struct{}

func (otherCodec) Marshal(v any) ([]byte, error)   { return json.Marshal(v) }
func (otherCodec) Unmarshal(b []byte, v any) error { return json.Unmarshal(b, v) }

// open makes the views.
func (m *Member) open() (err error) {
	var all []tier.CacheOption
	if m.cfg.TwoEncodings && m.cfg.Member%2 == 1 {
		all = append(all, tier.WithCodec(otherCodec{}))
	}
	for i := range docNamespaces {
		path := "docs:" + strconv.Itoa(i)
		shared, err := newViews(m.store, path, all, tier.WithEarlyRefresh(0.5))
		if err != nil {
			return err
		}
		own, err := tier.New[Value](m.store, path+":own", tier.WithTTL(ttl), tier.WithLocalOnly())
		if err != nil {
			return err
		}
		m.docs, m.own = append(m.docs, shared), append(m.own, views{own})
	}
	if m.cells, err = newViews(m.store, "cells", all); err == nil && m.cfg.Beside {
		m.localCells, _ = tier.New[Value](m.store, "cells", tier.WithLocalOnly()) // refused, which is safe
	}
	return err
}

// Store returns the member's store.
func (m *Member) Store() *tier.Store { return m.store }

// Run reads, changes and synchronises until the board asks to stop or ctx ends,
// and then closes the store.
func (m *Member) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var all sync.WaitGroup
	for i := range m.cfg.Readers {
		all.Go(func() { m.read(ctx, m.rng(i)) })
	}
	all.Go(func() { m.change(ctx, m.rng(100)) })
	all.Go(func() { m.sync(ctx, m.rng(101)) })
	told := int64(0)
	m.paced(ctx, m.cfg.Heartbeat, func() {
		hits := m.store.Stats().LocalHits
		m.tally.LocalHits.Add(hits - told) // added: another process may have had this place before
		told = hits
		if n := m.failedSoFar(); m.failed.count.Swap(n) != n {
			m.failed.at.Store(int64(Now()))
		}
	})
	cancel()
	all.Wait()
	return m.store.Close()
}

// rng makes what a goroutine does a matter of the seed.
func (m *Member) rng(i int) *rand.Rand {
	return rand.New(rand.NewPCG(m.cfg.Seed, uint64(m.cfg.Member)<<32|uint64(i)))
}

// paced calls f every d until the fleet stops. Readers that never waited would
// keep the network from being polled.
func (m *Member) paced(ctx context.Context, d time.Duration, f func()) {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for !m.board.Stopped() {
		f()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// isCell tells the two kinds of subjects apart.
func (m *Member) isCell(subject int) bool { return subject >= m.cfg.Docs }

func (m *Member) subjects() int { return m.cfg.Docs + m.cfg.Cells }

// failedSoFar counts what has failed in the store: a load whose value another
// process's load, which began earlier, may replace.
func (m *Member) failedSoFar() int64 {
	st := m.store.Stats()
	return st.RemoteErrors + st.Unleased + st.FillErrors + st.Outages
}

// settled is how long a load that began without the fleet's lease, or before the
// fault was healed, may have effects.
const settled = time.Second

// calm reports whether nothing that can excuse that a read is older than one at
// that time has happened since shortly before.
func (m *Member) calm(at Time) bool {
	now := Now()
	return m.board.HealthyFor(settled+time.Duration(now-at), now) &&
		Time(m.failed.at.Load())+Time(settled) < at && m.failed.count.Load() == m.failedSoFar()
}

// views returns those of the subject's values.
func (m *Member) views(subject int) views {
	if m.isCell(subject) {
		return m.cells
	}
	return m.docs[subject%docNamespaces]
}

func source(subject int) string { return "doc-" + strconv.Itoa(subject) }

// sync asks to be told of all changes, again and again.
func (m *Member) sync(ctx context.Context, rng *rand.Rand) {
	acked := make([]int64, m.subjects())
	m.paced(ctx, m.cfg.Heartbeat, func() {
		for s := range acked {
			acked[s] = m.board.Subject(s).LatestAck()
		}
		brief, cancel := m.context(ctx, rng)
		defer cancel()
		if m.store.Sync(brief) != nil {
			return
		}
		for s, v := range acked {
			m.board.Subject(s).Told(m.cfg.Member, v)
		}
		m.tally.Syncs.Add(1)
	})
}

// context is one for a single call: a share of them ends early, by a deadline or
// because it is called off, between 50 µs and 5 ms after it began.
func (m *Member) context(ctx context.Context, rng *rand.Rand) (context.Context, context.CancelFunc) {
	if rng.IntN(100) >= m.cfg.Ended {
		return ctx, func() {}
	}
	return brief(ctx, rng)
}

func brief(ctx context.Context, rng *rand.Rand) (context.Context, context.CancelFunc) {
	d := briefest << rng.IntN(7)
	d += time.Duration(rng.Int64N(int64(d)))
	if rng.IntN(2) == 0 {
		return context.WithTimeout(ctx, d)
	}
	ctx, cancel := context.WithCancel(ctx)
	timer := time.AfterFunc(d, cancel)
	return ctx, func() { timer.Stop(); cancel() }
}

const briefest = 50 * time.Microsecond

// Report is what a member found.
type Report struct {
	Member     int
	Reads      int64
	Changes    int64
	Loads      int64
	LocalHits  int64
	Ended      int64
	Violations []*Violation
	Violated   int64
	Failures   []string // the first errors of reads; Tally has their number
	Staleness  [numPhases]Histogram
}

// Report returns it; after Run it is complete.
func (m *Member) Report() Report {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Report{
		Member: m.cfg.Member, Reads: m.tally.Reads.Load(), Changes: m.tally.Changes.Load(), Loads: m.tally.Loads.Load(),
		LocalHits: m.tally.LocalHits.Load(), Violations: m.violations, Violated: m.tally.Violations.Load(),
		Failures: m.failures, Staleness: m.staleness, Ended: m.tally.Ended.Load(),
	}
}

func (m *Member) String() string { return fmt.Sprintf("member %d at %s", m.cfg.Member, m.cfg.URL) }
