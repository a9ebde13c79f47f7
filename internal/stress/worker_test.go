package stress

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// worker is one goroutine that calls whatever there is.
type worker struct {
	d     *driver
	rng   *rand.Rand
	since atomic.Int64 // when its present call began, from driver.begun; 0: none

	calls                 map[string]int64
	ended, failed, values int64
	kept                  []func() error // look at values again that were given out
}

func newWorker(d *driver, i int) *worker {
	return &worker{d: d, rng: rand.New(rand.NewPCG(d.Seed, uint64(100+i))), calls: make(map[string]int64)}
}

func (w *worker) run() {
	for !w.d.over() {
		w.one()
	}
	for _, look := range w.kept {
		w.check(look())
	}
}

// habit is what is called again and again.
type habit struct{ place, view, op int }

func newHabit(rng *rand.Rand) habit {
	return habit{place: rng.IntN(stores), view: rng.IntN(1 << 10), op: rng.IntN(100)}
}

// phase is for how long the workers do whatever comes, and then for as long the
// same call of the same view, all at once: that is when they meet each other's
// memory.
const phase = 250 * time.Millisecond

func (w *worker) habit() (h habit, all bool) {
	n := uint64(time.Since(w.d.begun) / phase)
	if n%2 == 0 {
		return newHabit(w.rng), false
	}
	rng := rand.New(rand.NewPCG(w.d.Seed, 1000+n))
	if h = newHabit(rng); rng.IntN(2) == 0 {
		h.op = getMany // what uses most memory
	}
	return h, true
}

// one does one call.
func (w *worker) one() {
	h, all := w.habit()
	o := w.d.places[h.place].Load()
	if o == nil {
		return // it could not be opened in time
	}
	ctx, cancel := w.context(all)
	defer cancel()
	switch n := w.rng.IntN(1000); {
	case n == 0 && !all:
		w.call("Open, Close", ctx, func() error {
			w.d.open(ctx, h.place, w.rng)
			return nil
		})
	case n < 50 && !all:
		w.ofStore(ctx, o)
	default:
		o.views[h.view%len(o.views)].call(ctx, w, h.op)
	}
}

// call does one call, and judges that it returns, and with what.
func (w *worker) call(op string, ctx context.Context, f func() error) {
	w.since.Store(int64(time.Since(w.d.begun)) | 1)
	err := f()
	w.since.Store(0)
	w.calls[op]++
	if ctx.Err() != nil {
		w.ended++
	}
	if err != nil {
		w.failed++
		w.d.allowed(op, ctx, err)
	}
}

func (w *worker) check(err error) {
	w.values++
	if err != nil {
		w.d.found("%v", err)
	}
}

// keptValues are looked at again later, one with each that is new.
const keptValues = 256

// keep has a value be looked at now, and again later.
func (w *worker) keep(look func() error) {
	w.check(look())
	if len(w.kept) < keptValues {
		w.kept = append(w.kept, look)
		return
	}
	i := w.rng.IntN(keptValues)
	if err := w.kept[i](); err != nil {
		w.check(fmt.Errorf("it has changed since it was given out: %w", err))
	}
	w.kept[i] = look
}

func (w *worker) key() string { return fmt.Sprintf("key-%d", w.rng.IntN(keys)) }

func (w *worker) someKeys() []string {
	out := make([]string, 1+w.rng.IntN(100))
	for i := range out {
		out[i] = w.key()
	}
	return out
}

func (w *worker) source() string { return fmt.Sprintf("source-%d", w.rng.IntN(1000)) }

// moment is up to 5 ms, half of the time less than 0.5 ms: as long as a call takes.
func (w *worker) moment() time.Duration {
	if w.rng.IntN(2) == 0 {
		return time.Duration(w.rng.Int64N(int64(500 * time.Microsecond)))
	}
	return time.Duration(w.rng.Int64N(int64(5 * time.Millisecond)))
}

// context is one for a call: it ends at any moment, in each of the ways there are,
// or never. It ends soon when all do the same.
func (w *worker) context(soon bool) (context.Context, context.CancelFunc) {
	ctx := context.Background()
	if soon && w.rng.IntN(4) > 0 {
		return context.WithTimeout(ctx, time.Duration(w.rng.Int64N(int64(time.Millisecond))))
	}
	switch w.rng.IntN(10) {
	case 0, 1:
		return ctx, func() {} // one that cannot
	case 2:
		return context.WithCancel(ctx) // one that does not
	case 3:
		ctx, cancel := context.WithCancel(ctx)
		if w.rng.IntN(4) == 0 {
			cancel() // it has ended already
		}
		return ctx, cancel
	case 4, 5, 6:
		return context.WithTimeout(ctx, w.moment())
	case 7:
		ctx, cancel := context.WithCancelCause(ctx)
		timer := time.AfterFunc(w.moment(), func() { cancel(errLoad) })
		return ctx, func() { timer.Stop(); cancel(nil) }
	case 8:
		ctx, cancel := context.WithCancel(ctx)
		timer := time.AfterFunc(w.moment(), cancel)
		return ctx, func() { timer.Stop(); cancel() }
	}
	// Another worker ends it, after one of its own calls.
	ctx, cancel := context.WithCancel(ctx)
	if other := w.d.cancels[w.rng.IntN(len(w.d.cancels))].Swap(&cancel); other != nil {
		(*other)()
	}
	return ctx, cancel
}
