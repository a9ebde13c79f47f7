package coherence

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/faultproxy"
	"github.com/tiercache/tiercache/internal/valkeytest"
)

// The battery: a fleet of five members, two of them processes of their own, reads
// and changes without a pause while one fault after the other is done to it.
//
//	TIERCACHE_SEED=n        repeats a plan; 0 or none is a plan that is always the same
//	TIERCACHE_FAULTS=word   only faults with that word in their names; -word: only the others
//	TIERCACHE_SOAK=1h       goes on for so long (make soak)
//	TIERCACHE_ENDED=n       n of 100 contexts end early; 0 shows whether a violation needs that
//	TIERCACHE_OWN_READS=0   nothing is judged by I10

func seed() uint64 {
	n, _ := strconv.ParseUint(os.Getenv("TIERCACHE_SEED"), 10, 64) // none is 0
	return n
}

// testConfig is DefaultConfig with the plan's seed and what the environment asks for.
func testConfig() Config {
	cfg := DefaultConfig()
	cfg.Seed = seed()
	if n, err := strconv.Atoi(os.Getenv("TIERCACHE_ENDED")); err == nil {
		cfg.Ended = n
	}
	cfg.OwnReads = os.Getenv("TIERCACHE_OWN_READS") != "0"
	if raceDetector {
		// Else readers alone take up the machine: no store proves itself in time, nothing is local, and what the
		// battery waits for comes when another member is through. With fewer plain reads, more of all are of other kinds.
		cfg.Burst /= int(cfg.slowness())
	}
	return cfg
}

func chosen(all []fault) (out []fault) {
	for _, f := range all {
		if f.stepsClock && valkeytest.CanStepClock() != nil {
			continue // TestTheServersClockIsSteppedInTheBattery says so
		}
		word, others := strings.CutPrefix(os.Getenv("TIERCACHE_FAULTS"), "-")
		if strings.Contains(f.name, word) != others {
			out = append(out, f)
		}
	}
	return out
}

// slowIn leaves the slow faults out of two of three rounds, and to full speed.
func slowIn(round int, all []fault) []fault {
	return slices.DeleteFunc(slices.Clone(all), func(f fault) bool { return f.slow && (round%3 != 0 || raceDetector) })
}

func TestTheServersClockIsSteppedInTheBattery(t *testing.T) { valkeytest.NeedSteppedClock(t) }

// rounds is how often the short plan does each fault.
func rounds(t *testing.T) int {
	switch {
	case testing.Short():
		return 1
	case raceDetector:
		return 1
	}
	return 3 // the others are those of make soak
}

func TestFaults(t *testing.T) {
	for name, set := range map[string]func(cfg *Config){
		"with tracking":    func(*Config) {},
		"without tracking": func(cfg *Config) { cfg.NoTracking = true },
		"two encodings":    func(cfg *Config) { cfg.TwoEncodings = true },
	} {
		n := rounds(t)
		if name != "with tracking" {
			if raceDetector {
				continue // the rest of the time is better spent at full speed
			}
			n = max(1, n/6)
		}
		t.Run(name, func(t *testing.T) {
			cfg := testConfig()
			set(&cfg)
			w := newWorld(t, cfg, false)
			w.calm(1_000_000 / cfg.slowness() / cfg.slowness()) // with the race detector, beside another package, 2,000 take a second
			for i := range n {
				w.round(chosen(slowIn(i, faults)))
			}
			w.conclude()
			if os.Getenv("TIERCACHE_FAULTS") == "" && !t.Failed() {
				w.broke()
			}
		})
	}
}

// slowness is how much longer a read takes here than it should.
func (Config) slowness() int64 {
	if raceDetector {
		return 10
	}
	return 1
}

// calm lets the fleet do so many reads in peace.
func (w *world) calm(n int64) {
	before, _ := w.totals()
	w.until("reads without a fault", func() bool {
		reads, _ := w.totals()
		return reads-before >= n
	})
}

// round does each fault once, in the order that the seed gives, or stops at the
// first violation.
func (w *world) round(all []fault) {
	for _, i := range w.rng.Perm(len(all)) {
		if _, violated := w.totals(); violated > 0 {
			return
		}
		w.inject(all[i])
	}
}

// conclude ends the fleet, prints what was found, and fails the test if that
// was anything.
func (w *world) conclude() {
	w.t.Helper()
	if _, violated := w.totals(); violated == 0 && !raceDetector { // which makes all else so slow that little is local
		w.until("most reads are local ones: else this shows little", w.mostAreLocal)
	}
	reports := w.reports()
	var reads, local, changes, ended, violated int64
	var stale [numPhases]Histogram
	for _, r := range reports {
		reads, local, changes = reads+r.Reads, local+r.LocalHits, changes+r.Changes
		ended, violated = ended+r.Ended, violated+r.Violated
		for p := range stale {
			stale[p].Merge(&r.Staleness[p])
		}
	}
	injections := 0
	for _, n := range w.injections {
		injections += n
	}
	w.t.Logf("\n%s", w.table())
	w.t.Logf("seed %d: %d kinds, %d injections, %d checked reads (%d local), %d changes, %d reads whose context ended, %d violations, %d failed reads",
		w.cfg.Seed, len(w.injections), injections, reads, local, changes, ended, violated, w.failures())
	for p, name := range []string{"healthy", "during faults"} {
		h := &stale[p]
		w.t.Logf("staleness %s: p50 %v, p99 %v, p99.9 %v, max %v of %d samples", name, h.Quantile(.5), h.Quantile(.99), h.Quantile(.999), h.Max, h.Count)
	}
	for _, r := range reports {
		for _, v := range r.Violations {
			w.t.Errorf("seed %d: %v", w.cfg.Seed, v)
		}
		for _, err := range r.Failures {
			w.t.Errorf("seed %d: a read of member %d failed: %s", w.cfg.Seed, r.Member, err)
		}
	}
	w.t.Logf("faults by number: %v", numbered(w.faults, w.t.Failed()))
	require.Zero(w.t, violated, "violations")
	require.True(w.t, ended > 0 || w.cfg.Ended == 0, "reads whose context ended")
	require.Zero(w.t, w.failures(), "failed reads: their loaders never do (I8)")
}

// mostAreLocal reports whether at least one read in four was. While the machine has too much else to do there are few, since no
// member is proven in time.
func (w *world) mostAreLocal() bool {
	var reads, local int64
	for i := range w.cfg.Members {
		t := w.board.Tally(i)
		reads, local = reads+t.Reads.Load(), local+t.LocalHits.Load()
	}
	return local > reads/4
}

// failures counts the reads that failed, though their loaders never do.
func (w *world) failures() (n int64) {
	for i := range w.cfg.Members {
		n += w.board.Tally(i).Failures.Load()
	}
	return n
}

func numbered(names []string, wanted bool) (out []string) {
	if !wanted {
		return nil
	}
	for i, name := range names {
		out = append(out, fmt.Sprintf("%d: %s", i, name))
	}
	return out
}

// broke checks that the proxies did all that they were told to, and that
// subscriptions were killed for their buffers.
func (w *world) broke() {
	require.NotZero(w.t, w.killed, "subscriptions killed")
	done := map[faultproxy.Action]int64{}
	for _, p := range w.proxies {
		for action, n := range p.Stats().Done {
			done[faultproxy.Action(action)] += n
		}
	}
	w.t.Logf("messages that the proxies treated: %v", done)
	for action, n := range done {
		require.NotZero(w.t, n, "%v", action)
	}
}

func (w *world) table() string {
	var names []string
	for name := range w.injections {
		names = append(names, name)
	}
	sort.Strings(names)
	var out strings.Builder
	fmt.Fprintf(&out, "%-40s %-12s %10s %14s  %s\n", "fault", "of", "injections", "checked reads", "violations of I1, I2, I4, I5, I10")
	for _, name := range names {
		fmt.Fprintf(&out, "%-40s %-12s %10d %14d  %d\n", name, w.decided[name], w.injections[name], w.reads[name], w.violated[name])
	}
	return out.String()
}

// footprint is what a soak watches.
func footprint() (heap uint64, goroutines int) {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc, runtime.NumGoroutine()
}

// TestSoak goes through the faults for TIERCACHE_SOAK, healthy two thirds of the
// time: those of one server, and a fifth of it those of a primary and its replica.
func TestSoak(t *testing.T) {
	d, err := time.ParseDuration(os.Getenv("TIERCACHE_SOAK"))
	if err != nil {
		t.Skip("SKIPPED: make soak DURATION=1h")
	}
	cfg := testConfig()
	if cfg.Seed == 0 {
		cfg.Seed = uint64(time.Now().UnixNano())
	}
	cfg.Burst = 2000 // as many reads as the machine can do
	t.Run("one server", func(t *testing.T) {
		newWorld(t, cfg, false).soak(chosen(faults), d*4/5)
	})
	t.Run("a primary and its replica", func(t *testing.T) {
		newWorld(t, cfg, true).soak(chosen(topologyFaults), d/5)
	})
}

func (w *world) soak(all []fault, d time.Duration) {
	w.t.Helper()
	begun := time.Now()
	for report := begun; time.Since(begun) < d; {
		calm := time.Now()
		w.inject(all[w.rng.IntN(len(all))])
		if _, violated := w.totals(); violated > 0 {
			break
		}
		w.hold(2 * time.Since(calm))
		if time.Since(report) > d/20 {
			report = time.Now()
			heap, goroutines := footprint()
			reads, violations := w.totals()
			w.t.Logf("%v: %d reads, %d violations, %.1f MB of heap, %d goroutines", time.Since(begun).Round(time.Second), reads, violations, float64(heap)/1e6, goroutines)
		}
	}
	w.conclude()
}
