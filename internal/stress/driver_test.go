package stress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tiercache/tiercache/tier"
)

// order says what a driver's process is to do.
type order struct {
	Name string
	URL  string
	Seed uint64
	For  time.Duration
}

// report is what it found.
type report struct {
	Calls      map[string]int64 // by operation
	Ended      int64            // of them, with a context that had ended when they returned
	Failed     int64            // with an error
	Opened     int64            // stores
	NotOpened  int64            // calls of Open that failed
	Values     int64            // that were checked
	Wrong      []string         // the first things that were wrong
	Goroutines int              // at most, between
	HeapMB     float64          // at most, after a collection
}

const (
	workers  = 12
	stores   = 3
	keys     = 150
	patience = 60 * time.Second // with any call; no context and no timeout here is longer than a second

	// Bounds that a leak of one goroutine or buffer a call passes within seconds.
	maxGoroutines = 1500
	maxHeapMB     = 200
	keptWrong     = 10
)

// driver is all that happens in a process.
type driver struct {
	order
	begun   time.Time
	places  [stores]atomic.Pointer[opened]
	workers [workers]*worker
	cancels [64]atomic.Pointer[context.CancelFunc] // of contexts that another goroutine ends

	opens, failedOpens atomic.Int64

	mu    sync.Mutex // guards what follows
	wrong []string
}

// opened is a store that is open, or was.
type opened struct {
	store *tier.Store
	views []view
}

func (d *driver) over() bool { return time.Since(d.begun) > d.For }

// report one thing that is wrong.
func (d *driver) found(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.wrong) < keptWrong {
		d.wrong = append(d.wrong, fmt.Sprintf(format, args...))
	}
}

// drive does what the order says.
func drive(o order) report {
	d := &driver{order: o, begun: time.Now()}
	before := runtime.NumGoroutine()
	for i := range d.workers {
		d.workers[i] = newWorker(d, i)
	}
	out := report{Calls: make(map[string]int64)}
	d.opening()
	var running sync.WaitGroup
	for _, w := range d.workers {
		running.Go(w.run)
	}
	ended := make(chan struct{})
	go func() {
		running.Wait()
		close(ended)
	}()
	d.watch(&out, ended)
	for i := range d.places {
		d.close(i)
	}
	d.afterwards(before)
	for _, w := range d.workers {
		for op, n := range w.calls {
			out.Calls[op] += n
		}
		out.Ended, out.Failed, out.Values = out.Ended+w.ended, out.Failed+w.failed, out.Values+w.values
	}
	out.Opened, out.NotOpened, out.Wrong = d.opens.Load(), d.failedOpens.Load(), d.wrong
	return out
}

// opening has all stores open.
func (d *driver) opening() {
	rng := rand.New(rand.NewPCG(d.Seed, 1))
	for i := range d.places {
		for d.places[i].Load() == nil && !d.over() {
			d.open(context.Background(), i, rng)
		}
	}
}

// open has a place be taken by a new store. The one before is closed afterwards,
// while others still call it.
func (d *driver) open(ctx context.Context, i int, rng *rand.Rand) {
	timeout, heartbeat := 50*time.Millisecond, 250*time.Millisecond // the defaults
	if rng.IntN(2) == 0 {
		timeout = time.Duration(1+rng.IntN(50)) * time.Millisecond
	}
	if rng.IntN(2) == 0 {
		heartbeat = time.Duration(1+rng.IntN(50)) * time.Millisecond
	}
	options := []tier.Option{
		tier.WithValkey(d.URL), tier.WithRemoteTimeout(timeout), tier.WithHeartbeat(heartbeat), tier.WithMaxStaleness(4 * heartbeat),
		tier.WithLocalBytes(1 << 20), tier.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))), tier.WithObserver(func(tier.Event) {}),
	}
	switch i {
	case 0, 1:
		options = append(options, tier.WithPrefix("stress"))
	default: // all stores of a prefix have to agree on this
		options = append(options, tier.WithPrefix("stress-untracked"), tier.WithoutTracking())
	}
	store, err := tier.Open(ctx, options...)
	if err != nil {
		d.failedOpens.Add(1)
		d.allowed("Open", ctx, err)
		return
	}
	d.opens.Add(1)
	views, err := newViews(store)
	if err != nil {
		d.found("views: %v", err)
		store.Close()
		return
	}
	if old := d.places[i].Swap(&opened{store, views}); old != nil {
		d.allowed("Close", ctx, old.store.Close())
		d.panics(old)
	}
}

func (d *driver) close(i int) {
	if o := d.places[i].Load(); o != nil {
		d.allowed("Close", context.Background(), o.store.Close())
		d.allowed("Close", context.Background(), o.store.Close()) // twice is fine
		d.panics(o)
	}
}

// panics notes that a goroutine of a store has panicked, which it survives.
func (d *driver) panics(o *opened) {
	if n := o.store.Stats().Panics; n != 0 {
		d.found("%d panics in the goroutines of a store", n)
	}
}

// errLoad is what loaders fail with.
var errLoad = errors.New("stress: the source does not answer")

// panicked is what loaders panic with.
const panicked = "stress: a loader panicked"

// allowed notes an error that a call's contract does not name.
func (d *driver) allowed(op string, ctx context.Context, err error) {
	var panics *tier.LoadPanic
	switch {
	case err == nil, errors.Is(err, tier.ErrUnavailable), errors.Is(err, tier.ErrClosed), errors.Is(err, tier.ErrNotFound), errors.Is(err, errLoad):
	case errors.As(err, &panics) && panics.Value == panicked:
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
	case op == "Open": // whatever the server has said
	case errors.Is(err, context.DeadlineExceeded) && strings.Contains(err.Error(), "load took longer than"): // WithLoadTimeout
	default:
		d.found("%s returned %v (context: %v)", op, err, ctx.Err())
	}
}

// watch looks at the process until the workers have ended, and ends it if one of
// them hangs.
func (d *driver) watch(out *report, ended <-chan struct{}) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ended:
			return
		case <-tick.C:
		}
		out.Goroutines = max(out.Goroutines, runtime.NumGoroutine())
		if out.Goroutines > maxGoroutines {
			d.hang(fmt.Sprintf("%d goroutines", out.Goroutines))
		}
		if n%20 == 0 {
			out.HeapMB = max(out.HeapMB, heap())
			if out.HeapMB > maxHeapMB {
				d.hang(fmt.Sprintf("%.0f MB of heap", out.HeapMB))
			}
		}
		for _, w := range d.workers {
			if since := w.since.Load(); since != 0 && time.Since(d.begun)-time.Duration(since) > patience {
				d.hang("a call does not return")
			}
		}
	}
}

// heap is what is in use, in MB.
func heap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / 1e6
}

// hang ends the process and says where its goroutines are.
func (d *driver) hang(what string) {
	fmt.Fprintf(os.Stderr, "stress: %s after %v\n", what, time.Since(d.begun))
	_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
	os.Exit(exitHung)
}

// leftBehind is what may be left of closed stores: timers of the client of a
// cluster, for some seconds.
const leftBehind = 3

// afterwards waits until all goroutines of the stores are gone.
func (d *driver) afterwards(before int) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); runtime.NumGoroutine() > before+leftBehind; <-tick.C {
		if time.Now().After(deadline) {
			d.hang(fmt.Sprintf("%d goroutines are left, where %d were before", runtime.NumGoroutine(), before))
		}
	}
}
