package coherence

import (
	"context"
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
}

// DefaultConfig returns what the tests use: changes every few milliseconds, and
// a bound short enough for a fault to outlast.
func DefaultConfig() Config {
	return Config{
		Members: 1, Prefix: "coherence", Seed: 1,
		MaxStaleness: 100 * time.Millisecond, Heartbeat: 20 * time.Millisecond, Timeout: 30 * time.Millisecond,
		Docs: 40, Cells: 16, Readers: 2, Burst: 400, Pace: time.Millisecond, Changes: 100,
	}
}

// Member is a store of the fleet, with those who read, change and synchronise
// through it. Subjects of two kinds are changed in all ways there are:
//
//   - A doc is a source. Values made from it are loaded, and invalidated by
//     source, by namespace or all together.
//   - A cell is a key. Its values are set, deleted and loaded.
type Member struct {
	cfg   Config
	board *Board
	tally *Tally
	store *tier.Store
	docs  []*tier.Cache[Value] // by namespace; doc s is in docs[s%len(docs)]
	cells *tier.Cache[Value]
	loads atomic.Int64

	mu         sync.Mutex // guards what follows
	violations []*Violation
	failures   []string // the first errors of reads
	staleness  [numPhases]Histogram
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
	var err error
	if m.store, err = tier.Open(ctx, options...); err != nil {
		return nil, err
	}
	for i := range docNamespaces {
		c, err := tier.New[Value](m.store, "docs:"+strconv.Itoa(i), tier.WithEarlyRefresh(0.5), tier.WithTTL(10*time.Second))
		if err != nil {
			return nil, err
		}
		m.docs = append(m.docs, c)
	}
	m.cells, err = tier.New[Value](m.store, "cells", tier.WithTTL(10*time.Second))
	return m, err
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
	all.Go(func() { m.sync(ctx) })
	told := int64(0)
	m.paced(ctx, m.cfg.Heartbeat, func() {
		hits := m.store.Stats().LocalHits
		m.tally.LocalHits.Add(hits - told) // added: another process may have had this place before
		told = hits
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

// cache returns where values of the subject are.
func (m *Member) cache(subject int) *tier.Cache[Value] {
	if m.isCell(subject) {
		return m.cells
	}
	return m.docs[subject%docNamespaces]
}

func source(subject int) string { return "doc-" + strconv.Itoa(subject) }

// sync asks to be told of all changes, again and again.
func (m *Member) sync(ctx context.Context) {
	acked := make([]int64, m.subjects())
	m.paced(ctx, m.cfg.Heartbeat, func() {
		for s := range acked {
			acked[s] = m.board.Subject(s).LatestAck()
		}
		if m.store.Sync(ctx) != nil {
			return
		}
		for s, v := range acked {
			m.board.Subject(s).Told(m.cfg.Member, v)
		}
		m.tally.Syncs.Add(1)
	})
}

// Report is what a member found.
type Report struct {
	Member     int
	Reads      int64
	Changes    int64
	Loads      int64
	LocalHits  int64
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
		Failures: m.failures, Staleness: m.staleness,
	}
}

func (m *Member) String() string { return fmt.Sprintf("member %d at %s", m.cfg.Member, m.cfg.URL) }
