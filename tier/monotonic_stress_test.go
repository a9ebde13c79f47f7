package tier_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/internal/valkeytest"
	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// monotonic is one key whose values are versions of a source that only grows. Two
// processes work on it; the versions that the first has returned never go back.
//
// The source changes with a Set, or without a word and without Set or Delete, but not both
// in one run. A load that overlaps one of these is taken for the older of the two, and
// nothing can tell that its loader read the source after another change that came later
// still:
//
//	A: takes the lease; B: deletes the key, and C takes the lease and loads 1
//	the source changes to 2; A: loads that, returns it, and is refused
//	C: stores 1, by right as far as it can know
type monotonic struct {
	t      *testing.T
	sets   bool // the source changes by Set
	source atomic.Int64
	// writes is held by a Set from its change of the source until it has returned, and by
	// loaders while they read that: what is written there is in the cache as well.
	writes sync.RWMutex

	highest atomic.Int64 // version that the first process has returned or set
	by      atomic.Pointer[string]
	reads   atomic.Int64
	// unleased counts the loads without a lease that have excused a read.
	unleased atomic.Int64
	store    *tier.Store
	failed   atomic.Bool
}

func (m *monotonic) load(ctx context.Context, e *tier.Entry) (int64, error) {
	m.writes.RLock()
	v := m.source.Load()
	m.writes.RUnlock()
	switch rand.N(8) {
	case 0: // an older value is loaded while others go on
		timer := time.NewTimer(rand.N(500 * time.Microsecond))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	case 1:
		e.DoNotStore()
	case 2:
		e.SetTTL(time.Duration(1+rand.N(5)) * time.Millisecond)
	case 3:
		return 0, errOrigin
	}
	return v, nil
}

func (m *monotonic) loadMany(ctx context.Context, keys []string, es tier.Entries) (map[string]int64, error) {
	out := make(map[string]int64)
	var err error
	for _, k := range keys {
		if out[k], err = m.load(ctx, es.For(k)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// returned checks the result of a read that began when the highest version was floor.
func (m *monotonic) returned(what string, v, floor int64) {
	m.reads.Add(1)
	if v < floor && !m.excused(v) && !m.failed.Swap(true) {
		m.t.Errorf("%s gave %d, after %d was returned by %s", what, v, floor, *m.by.Load())
	}
	for {
		was := m.highest.Load()
		if v <= was {
			return
		}
		m.by.Store(&what)
		if m.highest.CompareAndSwap(was, v) {
			return
		}
	}
}

// excused reports whether a load without its lease explains v: what that gives is not
// stored. It explains one such read.
func (m *monotonic) excused(v int64) bool {
	loads := m.store.Stats().Unleased
	if m.unleased.Swap(loads) == loads {
		return false
	}
	m.highest.Store(v)
	return true
}

// step does something at random, with one of the views of a process; first says that it
// is the one whose reads are judged.
func (m *monotonic) step(views []*tier.Cache[int64], first bool) {
	ctx := context.Context(m.t.Context())
	if rand.N(4) == 0 {
		short, cancel := context.WithTimeout(ctx, rand.N(time.Millisecond))
		defer cancel()
		ctx = short
	}
	n := rand.N(len(views))
	c, floor := views[n], m.highest.Load()
	var options []tier.CallOption
	way := fmt.Sprintf("view %d, ", n)
	if rand.N(3) == 0 {
		options, way = append(options, tier.NoLocal()), way+"no local, "
	}
	if rand.N(8) == 0 {
		options, way = append(options, tier.Fresh()), way+"fresh, "
	}
	v, err, what := int64(-1), error(nil), ""
	switch op := rand.N(40); {
	case op < 12:
		if rand.N(2) == 0 {
			what = "Get"
			v, err = c.Get(ctx, "k", m.load, options...)
			break
		}
		var r tier.Result[int64]
		r, err = c.Lookup(ctx, "k", m.load, options...)
		v, what = r.Value, fmt.Sprintf("Lookup, from %v, stale %v", r.Origin, r.Stale)
	case op < 22:
		what = "GetMany"
		var got map[string]int64
		got, err = c.GetMany(ctx, []string{"k", "other"}, m.loadMany, options...)
		if found, ok := got["k"]; ok {
			v, err = found, nil
		}
	case op < 30:
		what = "Peek"
		var there bool
		if v, there, err = c.Peek(ctx, "k"); !there {
			return
		}
	case op < 34:
		what = "Refresh"
		v, err = c.Refresh(ctx, "k", m.load)
	case !m.sets:
		m.source.Add(1)
		return
	case op < 35:
		_ = c.Delete(m.t.Context(), "k")
		return
	default:
		what, ctx = "Set", m.t.Context()
		m.writes.Lock()
		defer m.writes.Unlock()
		v = m.source.Add(1)
		if rand.N(2) == 0 {
			err = c.Set(ctx, "k", v)
		} else {
			err = c.SetMany(ctx, map[string]int64{"k": v, "other": v})
		}
		floor = 0
	}
	if first && err == nil && v >= 0 {
		m.returned(way+what, v, floor)
	}
}

// run has both processes work for a while. On a machine with too much to do no read may have ended by then: they go on until one
// has, for a minute at most.
func (m *monotonic) run(a, b *tier.Store, path string) {
	m.store = a
	views := func(s *tier.Store) []*tier.Cache[int64] {
		return []*tier.Cache[int64]{
			view[int64](m.t, s, path),
			view[int64](m.t, s, path, tier.WithRemoteOnly()),
			view[int64](m.t, s, path, tier.WithTTL(2*time.Millisecond), tier.WithStaleOnError(time.Hour), tier.WithSoftTimeout(time.Millisecond)),
			view[int64](m.t, s, path, tier.WithTTL(3*time.Millisecond), tier.WithStaleWhileRevalidate(time.Hour), tier.WithRemoteOnly()),
			view[int64](m.t, s, path, tier.WithTTL(4*time.Millisecond), tier.WithEarlyRefresh(0.5)),
		}
	}
	mine, theirs := views(a), views(b)
	end := time.Now().Add(monotonicTime())
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for (time.Now().Before(end) || m.reads.Load() == 0 && time.Now().Before(end.Add(time.Minute))) && !m.failed.Load() {
				if i < 6 {
					m.step(mine, true)
				} else {
					m.step(theirs, false)
				}
			}
		})
	}
	all.Wait()
	require.Positive(m.t, m.reads.Load())
	m.t.Logf("%d reads, version %d, %+v", m.reads.Load(), m.source.Load(), a.Stats().Counts)
}

// monotonicTime is how long each run lasts; TIERCACHE_MONOTONIC=2m for a long one.
func monotonicTime() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("TIERCACHE_MONOTONIC")); err == nil {
		return d
	}
	return 300 * time.Millisecond
}

func TestI1ReadsOfAProcessAreMonotonic(t *testing.T) {
	for how, sets := range map[string]bool{"by Set": true, "without a word": false} {
		t.Run(how, func(t *testing.T) {
			onEachRemote(t, func(t *testing.T, f *fleet) {
				a, b := f.process(), f.process()
				(&monotonic{t: t, sets: sets}).run(a, b, "docs")
			})
			t.Run("cluster", func(t *testing.T) {
				c := valkeytest.SharedCluster(t)
				w := &world{t, remote.Valkey(valkey.ClientOption{InitAddress: c.Addrs()}), strings.Trim(valkeytest.Prefix(t), ":"), nil}
				a, _ := w.open(patient...)
				b, _ := w.open(patient...)
				(&monotonic{t: t, sets: sets}).run(a, b, "docs")
			})
		})
	}
}

// patient stores fail nothing because the machine is slow.
var patient = []tier.Option{tier.WithRemoteTimeout(10 * time.Second), tier.WithMaxStaleness(10 * time.Second)}

// The same where now and then a write is lost, or the answer to one.
func TestI1ReadsOfAProcessAreMonotonicThoughWritesFail(t *testing.T) {
	for name, options := range tracking {
		t.Run(name, func(t *testing.T) {
			w := &world{t, embeddedFleet(t, nil).hub, "test", nil}
			a, hooks := w.open(slices.Concat(options, patient)...)
			b, _ := w.open(slices.Concat(options, patient)...)
			var since atomic.Int64 // requests since one failed: of two in a row the server would be away
			sometimes := func(op interpose.Op) error {
				if since.Add(1) > 20 && op == interpose.Write && rand.N(4) == 0 {
					since.Store(0)
					return errCut
				}
				return nil
			}
			hooks.Before(sometimes)
			hooks.After(sometimes)
			(&monotonic{t: t}).run(a, b, "docs")
		})
	}
}
