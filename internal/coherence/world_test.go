package coherence

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/faultproxy"
	"github.com/tiercache/tiercache/internal/valkeytest"
)

// world is a fleet, some of its members in processes of their own, each behind
// a proxy of its own before one server.
type world struct {
	t       testing.TB
	cfg     Config
	board   *Board
	file    string
	rng     *rand.Rand
	server  *valkeytest.Server // the one in charge
	proxies []*faultproxy.Proxy
	members []*Member        // those of this process
	procs   map[int]*Process // the others
	running sync.WaitGroup

	// For worlds with a replica.
	replica *valkeytest.Server
	link    *faultproxy.Proxy // from the replica to the server in charge
	// For a world on a cluster, which has no proxies.
	cluster *clusterWorld

	injections map[string]int
	reads      map[string]int64 // checked while the fault and its recovery lasted
	violated   map[string]int64
	decided    map[string]string // of which subjects reads were judged
	setBacks   map[string]int    // servers to a snapshot, by the way
	killed     int               // subscriptions whose buffer was full
	faults     []string          // by number, as schedules print them
}

// here and there are how many members of a world are in this process, and in all.
const here, there = 3, 5

func newWorld(t testing.TB, cfg Config, withReplica bool) *world {
	w := emptyWorld(t, cfg)
	options := []valkeytest.Option{valkeytest.Config("repl-diskless-sync-delay", "0")}
	if valkeytest.CanStepClock() == nil {
		options = append(options, valkeytest.SteppedClock())
	}
	w.server = valkeytest.Start(t, options...)
	if withReplica {
		var err error
		w.replica = valkeytest.Start(t, valkeytest.Config("repl-diskless-sync-delay", "0"))
		w.link, err = faultproxy.StartRaw(w.server.Addr, w.cfg.Seed)
		require.NoError(t, err)
		t.Cleanup(w.link.Close)
		w.replica.Follow(t, w.link.Addr())
		w.replica.AwaitReplica(t, w.server)
	}
	for i := range there {
		w.proxies = append(w.proxies, w.proxy(w.server.Addr, uint64(i)))
	}
	w.populate()
	return w
}

// emptyWorld has a board, and no members.
func emptyWorld(t testing.TB, cfg Config) *world {
	if runtime.GOOS != "linux" {
		t.Skip("members in other processes need Linux")
	}
	w := &world{
		t: t, cfg: cfg, file: filepath.Join(t.TempDir(), "board"), rng: rand.New(rand.NewPCG(cfg.Seed, 0)),
		procs: make(map[int]*Process), injections: make(map[string]int), reads: make(map[string]int64), violated: make(map[string]int64), decided: make(map[string]string), setBacks: make(map[string]int),
	}
	t.Logf("seed %d", cfg.Seed)
	var unmap func()
	var err error
	w.board, unmap, err = Share(w.file)
	require.NoError(t, err)
	t.Cleanup(unmap)
	w.cfg.Members = there
	return w
}

// populate has the fleet begin.
func (w *world) populate() {
	w.t.Cleanup(w.end)
	for i := range there {
		if i < here {
			w.join(i)
		} else {
			w.spawn(i)
		}
	}
	w.recovered()
}

func (w *world) proxy(target string, number uint64) *faultproxy.Proxy {
	p, err := faultproxy.Start(target, w.cfg.Seed<<16|number)
	require.NoError(w.t, err)
	w.t.Cleanup(p.Close)
	return p
}

func (w *world) config(member int) Config {
	cfg := w.cfg
	if w.cluster != nil {
		cfg.Member, cfg.URL = member, w.cluster.url()
		return cfg
	}
	cfg.Member, cfg.URL = member, (&url.URL{Scheme: "valkey", Host: w.proxies[member].Addr()}).String()
	return cfg
}

func (w *world) join(i int) {
	m, err := Join(context.Background(), w.config(i), w.board, nil)
	require.NoError(w.t, err)
	w.members = append(w.members, m)
	w.running.Go(func() {
		if err := m.Run(context.Background()); err != nil {
			w.t.Error(err)
		}
	})
}

func (w *world) spawn(i int) {
	p, err := Spawn(w.config(i), w.file)
	require.NoError(w.t, err)
	w.procs[i] = p
}

// end stops the fleet; it is idempotent.
func (w *world) end() {
	w.board.Stop()
	for _, p := range w.proxies {
		p.Heal()
	}
	w.running.Wait()
	for _, p := range w.procs {
		p.Kill()
	}
}

// reports ends the fleet and collects what its members found.
func (w *world) reports() (out []Report) {
	w.board.Stop()
	w.running.Wait()
	for _, m := range w.members {
		out = append(out, m.Report())
	}
	for i, p := range w.procs {
		r, err := p.Report()
		require.NoError(w.t, err, "member %d", i)
		out = append(out, r)
	}
	clear(w.procs)
	return out
}

const patience = 2 * time.Minute

// until polls; it fails with the seed if the condition never comes.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(patience); !ok(); <-poll.C {
		if time.Now().After(deadline) {
			fault := "none so far"
			if n := len(w.faults); n > 0 {
				fault = w.faults[n-1]
			}
			w.t.Fatalf("seed %d: never happened: %s; the latest fault: %s; %s", w.cfg.Seed, what, fault, w.tallies())
		}
	}
}

func (w *world) tallies() string {
	var out []string
	for i := range w.cfg.Members {
		t := w.board.Tally(i)
		out = append(out, fmt.Sprintf("member %d: %d reads (%d local), %d changes, %d syncs, %d failures",
			i, t.Reads.Load(), t.LocalHits.Load(), t.Changes.Load(), t.Syncs.Load(), t.Failures.Load()))
	}
	return strings.Join(out, "; ")
}

// recovered waits until every member synchronises, changes things and serves
// local copies again.
func (w *world) recovered() {
	w.t.Helper()
	before := make([][3]int64, w.cfg.Members)
	for i := range before {
		t := w.board.Tally(i)
		before[i] = [3]int64{t.Syncs.Load(), t.Changes.Load(), t.LocalHits.Load()}
	}
	w.until(fmt.Sprintf("the fleet works again, from syncs, changes and local hits of %v", before), func() bool {
		for i := range before {
			t := w.board.Tally(i)
			if t.Syncs.Load() < before[i][0]+2 || t.Changes.Load() < before[i][1]+1 || t.LocalHits.Load() < before[i][2]+100 {
				return false
			}
		}
		return true
	})
}

// hold lets a fault last, and the members read meanwhile.
func (w *world) hold(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

// span is how long a fault lasts: from well within the bound to well beyond. Each
// fourth is so long that what could be read too late is read many times: without
// those the battery did not notice when the age of the proof was ignored.
func (w *world) span() time.Duration {
	if d := w.cfg.MaxStaleness; w.rng.IntN(4) > 0 {
		return d/4 + time.Duration(w.rng.Int64N(int64(d)))
	}
	return 3*w.cfg.MaxStaleness + time.Duration(w.rng.Int64N(int64(w.cfg.MaxStaleness)))
}

func (w *world) totals() (reads, violations int64) {
	for i := range w.cfg.Members {
		t := w.board.Tally(i)
		reads, violations = reads+t.Reads.Load(), violations+t.Violations.Load()
	}
	return reads, violations
}

// inject does a fault once, and accounts what was read during it.
func (w *world) inject(f fault) {
	w.t.Helper()
	reads, violations := w.totals()
	w.board.SetPhase(Faulty)
	w.faults = append(w.faults, f.name)
	w.board.NoteFault(FaultBegin, int64(len(w.faults)-1), Now())
	w.decided[f.name] = "docs, cells"
	spared := f.spares.in(w.cfg)
	if spared {
		w.decided[f.name] = "docs"
		w.cells((*Subject).Suspend)
	}
	if f.lies {
		w.decided[f.name] = "none"
		w.docs((*Subject).Suspend)
		w.cells((*Subject).Suspend)
	}
	n := f.run(w)
	w.board.NoteFault(FaultEnd, int64(len(w.faults)-1), Now())
	w.recovered()
	if f.lies {
		w.do("FLUSHALL")
		w.recovered()
		w.change(w.docs)
		w.change(w.cells)
		w.docs((*Subject).Resume)
		w.cells((*Subject).Resume)
	}
	if spared {
		w.rewriteCells()
		w.cells((*Subject).Resume)
	}
	w.board.SetPhase(Healthy)
	r, v := w.totals()
	w.injections[f.name] += n
	w.reads[f.name] += r - reads
	w.violated[f.name] += v - violations
}

func (w *world) docs(f func(*Subject)) {
	for s := range w.cfg.Docs {
		f(w.board.Subject(s))
	}
}

func (w *world) cells(f func(*Subject)) {
	for s := w.cfg.Docs; s < w.cfg.Docs+w.cfg.Cells; s++ {
		f(w.board.Subject(s))
	}
}

// rewriteCells has each cell written after the fault, so that what the fault was
// allowed to do to it is undone.
func (w *world) rewriteCells() { w.change(w.cells) }

// change has each of the subjects changed once more.
func (w *world) change(all func(func(*Subject))) {
	w.t.Helper()
	all((*Subject).Want)
	w.until("all is changed again", func() bool {
		done := true
		all(func(s *Subject) { done = done && !s.Wanted() })
		return done
	})
}
