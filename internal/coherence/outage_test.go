package coherence

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/faultproxy"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/tier"
)

// What an outage costs readers and the origin, in figures. They are printed and
// not judged, since a busy machine would fail them:
//
//	make outage

const (
	outageStores  = 2
	outageKeys    = 500
	outageReaders = 4                    // of each store
	outagePace    = 4 * time.Millisecond // between two reads of a reader
	outageBefore  = 4 * time.Second
	outageLength  = 6 * time.Second
	outageAfter   = 3 * time.Second
	outageLeave   = 5 * time.Second  // WithOutageTTL, where it is used
	outageLife    = 20 * time.Second // TTL, of which jitter takes up to half
)

func TestOutageFigures(t *testing.T) {
	if os.Getenv("TIERCACHE_OUTAGE") == "" {
		t.Skip("prints figures; TIERCACHE_OUTAGE=1 runs it (make outage)")
	}
	kinds := []struct {
		name       string
		begin, end func(*valkeytest.Server, *faultproxy.Proxy)
	}{
		{"kill -9, restarted empty", func(s *valkeytest.Server, _ *faultproxy.Proxy) { s.Kill() }, func(s *valkeytest.Server, _ *faultproxy.Proxy) { s.Restart() }},
		{"SIGSTOP", func(s *valkeytest.Server, _ *faultproxy.Proxy) { s.Pause() }, func(s *valkeytest.Server, _ *faultproxy.Proxy) { s.Resume() }},
		{"half-open", func(_ *valkeytest.Server, p *faultproxy.Proxy) { p.Freeze(faultproxy.ToServer, faultproxy.ToClient) }, func(_ *valkeytest.Server, p *faultproxy.Proxy) { p.Thaw() }},
	}
	variants := []struct {
		name       string
		leave      time.Duration
		noTracking bool
	}{{"no option", 0, false}, {"`WithOutageTTL`", outageLeave, false}, {"`WithoutTracking`", 0, true}}
	fmt.Println("| outage | with | reads | failed | waiting: p50, p99, max | away: p50, p99, max | loads of a key at once | local hits after | loads/s before, during, 1st second back |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|")
	for _, k := range kinds {
		for _, v := range variants {
			t.Run(k.name+", "+v.name, func(t *testing.T) {
				server := valkeytest.Start(t)
				proxy, err := faultproxy.Start(server.Addr, 1)
				require.NoError(t, err)
				defer proxy.Close()
				o := newOutageRun(t, proxy.Addr(), v.leave, v.noTracking)
				o.play(func() { k.begin(server, proxy) }, func() { k.end(server, proxy) })
				o.print(k.name, v.name)
			})
		}
	}
}

// outageRun is a fleet that reads through an outage.
type outageRun struct {
	t      *testing.T
	stores []*outageStore
	loads  atomic.Int64
	failed atomic.Int64
	reads  atomic.Int64

	before, during, back int64 // loads
	local                time.Duration

	mu            sync.Mutex // guards what follows
	waiting, away Histogram  // of reads that began before and after a store knew
}

type outageStore struct {
	store   *tier.Store
	cache   *tier.Cache[string]
	running [outageKeys]atomic.Int64
	most    atomic.Int64
	phase   atomic.Int64 // of the run
	hit     atomic.Int64 // when the first proven local hit came after the outage
}

// The phases of a run.
const (
	phaseBefore = iota
	phaseOut
	phaseBack
	phaseDone
)

func newOutageRun(t *testing.T, addr string, leave time.Duration, noTracking bool) *outageRun {
	o := &outageRun{t: t}
	options := []tier.Option{tier.WithValkey("valkey://" + addr), tier.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil)))}
	if noTracking {
		options = append(options, tier.WithoutTracking())
	}
	for range outageStores {
		s, err := tier.Open(context.Background(), options...)
		require.NoError(t, err)
		c, err := tier.New[string](s, "figures", tier.WithTTL(outageLife), tier.WithJitter(0.5), tier.WithOutageTTL(leave))
		require.NoError(t, err)
		o.stores = append(o.stores, &outageStore{store: s, cache: c})
	}
	return o
}

// play reads without a pause, and notes the loads of three stretches of time.
func (o *outageRun) play(begin, end func()) {
	var readers sync.WaitGroup
	for _, s := range o.stores {
		for i := range outageReaders {
			readers.Go(func() { o.read(s, uint64(i/2)) })
		}
	}
	rest := func(d time.Duration) { wait(context.Background(), d) }
	phase := func(p int64) {
		for _, s := range o.stores {
			s.phase.Store(p)
		}
	}
	loads := func(f func()) int64 { was := o.loads.Load(); f(); return o.loads.Load() - was }
	rest(outageLife) // all keys are read, and the first of them have expired: as many loads as ever
	o.before = loads(func() { rest(outageBefore) })
	phase(phaseOut)
	begin()
	rest(time.Second)
	o.during = loads(func() { rest(outageLength) })
	came := make(chan int64)
	go func() { // the second begins when the first store is served again
		for !o.stores[0].store.Stats().AwaySince.IsZero() {
			rest(time.Millisecond)
		}
		came <- loads(func() { rest(time.Second) })
	}()
	end()
	ended := Now()
	phase(phaseBack)
	o.back = <-came
	rest(outageAfter)
	phase(phaseDone)
	readers.Wait()
	for _, s := range o.stores {
		o.local = max(o.local, time.Duration(s.hit.Load()-int64(ended)))
		require.NoError(o.t, s.store.Close())
	}
}

// read is one reader. Two of each store are given the same seed, and so ask for the
// same keys at about the same times.
func (o *outageRun) read(s *outageStore, seed uint64) {
	rng := rand.New(rand.NewPCG(1, seed))
	ctx := context.Background()
	for s.phase.Load() != phaseDone {
		key := rng.IntN(outageKeys)
		phase := s.phase.Load()
		known := !s.store.Stats().AwaySince.IsZero()
		begun := time.Now()
		r, err := s.cache.Lookup(ctx, strconv.Itoa(key), func(context.Context, *tier.Entry) (string, error) {
			o.loads.Add(1)
			at := s.running[key].Add(1)
			s.most.Store(max(s.most.Load(), at))
			runtime.Gosched()
			s.running[key].Add(-1)
			return "v", nil
		})
		took := time.Since(begun)
		o.reads.Add(1)
		if err != nil {
			o.failed.Add(1)
		}
		switch {
		case phase == phaseOut && known && s.phase.Load() == phaseOut:
			o.note(&o.away, took)
		case phase == phaseOut && !known && (err != nil || r.Origin != tier.Local):
			o.note(&o.waiting, took)
		case phase == phaseBack && err == nil && r.Origin == tier.Local && !r.Outage:
			s.hit.CompareAndSwap(0, int64(Now()))
		}
		wait(ctx, outagePace)
	}
}

func (o *outageRun) note(h *Histogram, d time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	h.Add(d)
}

func (o *outageRun) print(name, with string) {
	most := int64(0)
	for _, s := range o.stores {
		most = max(most, s.most.Load())
	}
	three := func(h *Histogram) string {
		round := func(d time.Duration) time.Duration {
			return d.Round(max(time.Microsecond, d/1000).Truncate(time.Microsecond))
		}
		return fmt.Sprintf("%v, %v, %v (%d)", round(h.Quantile(.5)), round(h.Quantile(.99)), round(h.Max), h.Count)
	}
	rate := func(n int64, d time.Duration) int64 { return int64(float64(n) / d.Seconds()) }
	fmt.Printf("| %s | %s | %d | %d | %s | %s | %d | %v | %d, %d, %d |\n", name, with, o.reads.Load(), o.failed.Load(),
		three(&o.waiting), three(&o.away), most, o.local.Round(time.Millisecond),
		rate(o.before, outageBefore), rate(o.during, outageLength), o.back)
}
