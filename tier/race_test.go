package tier_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/tier"
)

// The invariants again, without a schedule: many rounds of the real race, each
// judged. TIERCACHE_RACES sets the rounds (make races: 100,000).

func rounds(t *testing.T) int64 {
	n, err := strconv.ParseInt(os.Getenv("TIERCACHE_RACES"), 10, 64)
	if err != nil {
		n = 1000
		if strings.Contains(t.Name(), "/cluster") {
			n /= 10 // four times as slow, and it is the same code but for which server proves what
		}
	}
	if testing.Short() {
		n = 200
	}
	return n
}

// lively opens stores that go through all their machinery often.
var lively = []tier.Option{tier.WithHeartbeat(5 * time.Millisecond), tier.WithMaxStaleness(time.Second), tier.WithRemoteTimeout(10 * time.Second)}

// racers runs f in n goroutines, a few times whenever they are kicked. They do
// not spin: local hits that never wait would keep the network from being polled.
func racers(n int, f func(i int)) (kick, stop func()) {
	starts := make([]chan struct{}, n)
	var done sync.WaitGroup
	for i := range starts {
		starts[i] = make(chan struct{}, 1)
		done.Go(func() {
			for range starts[i] {
				for range 3 {
					f(i)
				}
			}
		})
	}
	kick = func() {
		for _, start := range starts {
			select {
			case start <- struct{}{}:
			default: // still at it
			}
		}
	}
	stop = func() {
		for _, start := range starts {
			close(start)
		}
		done.Wait()
	}
	return kick, stop
}

// I1, I4, I5: one document changes again and again while readers of both
// processes load, share and keep it. After the invalidation returned, the
// invalidating process reads the new version, by any path; so does any other
// that reads fresh, or that has synchronised.
func TestRaceInvalidationAgainstLoads(t *testing.T) {
	eachRemote(t, func(t *testing.T, w *world) {
		a, _ := w.open(lively...)
		b, _ := w.open(lively...)
		o := &origin{}
		ca, cb := cacheOf[int64](t, a), cacheOf[int64](t, b)
		// Some loads have read the version and not returned when it changes.
		slow := func(ctx context.Context, e *tier.Entry) (int64, error) {
			v, err := o.load(ctx, e)
			if rand.IntN(2) == 0 {
				for range 50 { // a while that others run in
					runtime.Gosched()
				}
			}
			return v, err
		}
		kick, stop := racers(4, func(i int) {
			c := []*tier.Cache[int64]{ca, cb}[i%2]
			_, err := c.Get(bg, "k", slow)
			if err == nil && i == 3 {
				_, err = c.Refresh(bg, "k", slow)
			}
			if err != nil {
				t.Error(err)
			}
		})
		defer stop()
		violations := 0
		for i := range rounds(t) {
			kick()
			v := o.version.Add(1)
			_, err := a.InvalidateSource(bg, "doc")
			require.NoError(t, err)
			here, err := ca.Get(bg, "k", o.load)
			require.NoError(t, err)
			var there int64
			if i%2 == 0 {
				there, err = cb.Get(bg, "k", o.load, tier.Fresh())
			} else {
				require.NoError(t, b.Sync(bg))
				there, err = cb.Get(bg, "k", o.load)
			}
			require.NoError(t, err)
			if here < v || there < v {
				violations++
				t.Errorf("round %d: version %d was invalidated, read %d here and %d there", i, v, here, there)
			}
		}
		t.Logf("%d rounds, %d violations", rounds(t), violations)
	})
}

// I1, R8, R9: one process writes or deletes a key again and again while both
// read it into their local tiers. After the write returned, the writer reads
// nothing older; after it synchronised, the other does not either.
func TestRaceWritesAgainstReads(t *testing.T) {
	eachRemote(t, func(t *testing.T, w *world) {
		a, _ := w.open(lively...)
		b, _ := w.open(lively...)
		ca, cb := cacheOf[int64](t, a), cacheOf[int64](t, b)
		var version atomic.Int64
		load := func(context.Context, *tier.Entry) (int64, error) { return version.Load(), nil }
		kick, stop := racers(4, func(i int) {
			c := []*tier.Cache[int64]{ca, cb}[i%2]
			if _, err := c.Get(bg, "k", load); err != nil {
				t.Error(err)
			}
		})
		defer stop()
		violations := 0
		for i := range rounds(t) {
			kick()
			v := version.Add(1)
			if i%5 == 4 {
				require.NoError(t, ca.Delete(bg, "k"))
			} else {
				require.NoError(t, ca.Set(bg, "k", v))
			}
			here, err := ca.Get(bg, "k", load)
			require.NoError(t, err)
			require.NoError(t, b.Sync(bg))
			there, err := cb.Get(bg, "k", load)
			require.NoError(t, err)
			if here < v || there < v {
				violations++
				t.Errorf("round %d: version %d was written, read %d here and %d there", i, v, here, there)
			}
		}
		t.Logf("%d rounds, %d violations", rounds(t), violations)
	})
}

// R8: a load that has read the old value ends at about the time when another
// process writes the new one. Whichever comes first, the new one stays.
func TestRaceSlowLoadsAgainstWrites(t *testing.T) {
	eachRemote(t, func(t *testing.T, w *world) {
		a, _ := w.open(lively...)
		b, _ := w.open(lively...)
		ca, cb := cacheOf[int64](t, a), cacheOf[int64](t, b)
		none := func(context.Context, *tier.Entry) (int64, error) { return 0, errCut }
		violations := 0
		for i := range rounds(t) {
			key := strconv.FormatInt(i%64, 10)
			require.NoError(t, cb.Delete(bg, key))
			require.NoError(t, a.Sync(bg))
			loading, written := make(chan struct{}), make(chan error)
			go func() {
				<-loading
				written <- cb.Set(bg, key, 2*i+1)
			}()
			_, err := ca.Get(bg, key, func(context.Context, *tier.Entry) (int64, error) {
				close(loading)
				return 2 * i, nil
			})
			require.NoError(t, err)
			require.NoError(t, <-written)
			require.NoError(t, a.Sync(bg))
			here, err1 := ca.Get(bg, key, none)
			there, err2 := cb.Get(bg, key, none)
			if errors.Join(err1, err2) != nil || here != 2*i+1 || there != 2*i+1 {
				violations++
				t.Errorf("round %d: %d was written, read %d here and %d there (%v, %v)", i, 2*i+1, here, there, err1, err2)
			}
		}
		t.Logf("%d rounds, %d violations", rounds(t), violations)
	})
}

// I2, I6: the log, the key, or the connection is lost between a change and the
// reads that follow.
func TestRaceLossesAgainstReads(t *testing.T) {
	eachRemote(t, func(t *testing.T, w *world) {
		a, _ := w.open(lively...)
		b, _ := w.open(lively...)
		o := &origin{}
		ca, cb := cacheOf[int64](t, a), cacheOf[int64](t, b)
		log := w.prefix + ":{" + w.prefix + "}:log"
		name := mustExplain(t, ca).RemoteKey
		kick, stop := racers(2, func(i int) {
			c := []*tier.Cache[int64]{ca, cb}[i%2]
			if _, err := c.Get(bg, "k", o.load); err != nil {
				t.Error(err)
			}
		})
		defer stop()
		violations := 0
		for i := range rounds(t) / 4 { // each costs ten of the others
			kick()
			v := o.version.Add(1)
			_, err := a.InvalidateSource(bg, "doc")
			require.NoError(t, err)
			switch {
			case i%64 == 63: // a tenth of a second on a real server
				w.raw.disconnect()
			case i%3 == 0:
				w.raw.remove(log)
			case i%3 == 1:
				w.raw.remove(name)
			default:
				w.raw.remove(name + "!")
			}
			here, err := ca.Get(bg, "k", o.load)
			require.NoError(t, err)
			sync := func() bool { return b.Sync(bg) == nil }
			within(t, "synchronised", sync)
			there, err := cb.Get(bg, "k", o.load)
			require.NoError(t, err)
			if here < v || there < v {
				violations++
				t.Errorf("round %d: version %d was invalidated, read %d here and %d there", i, v, here, there)
			}
		}
		t.Logf("%d rounds, %d violations", rounds(t)/4, violations)
	})
}

// I2, I4: messages and invalidations are dropped, duplicated and reordered; after a
// delta read, or with one, nothing old is believed, and messages alone never make
// it so.
func TestRaceDamagedMessages(t *testing.T) {
	eachRemote(t, func(t *testing.T, w *world) {
		a, _ := w.open(lively...)
		b, hooks := w.open(append(append([]tier.Option{}, quiet...), tier.WithRemoteTimeout(10*time.Second))...)
		o := &origin{}
		ca, cb := cacheOf[int64](t, a), cacheOf[int64](t, b)
		n := 0
		hooks.Filter(func(e interpose.Event) bool { n++; return e.Message == "" || n%3 == 0 })
		kick, stop := racers(2, func(i int) {
			c := []*tier.Cache[int64]{ca, cb}[i%2]
			if _, err := c.Get(bg, "k", o.load); err != nil {
				t.Error(err)
			}
		})
		defer stop()
		violations := 0
		for i := range rounds(t) {
			kick()
			v := o.version.Add(1)
			_, err := a.InvalidateSource(bg, "doc")
			require.NoError(t, err)
			if held := hooks.Held(); held > 2 {
				hooks.Deliver(held-1, 0, held-1, held-2) // late, twice, in another order
			}
			var there int64
			if i%2 == 0 {
				there, err = cb.Get(bg, "k", o.load, tier.Fresh())
			} else {
				require.NoError(t, b.Sync(bg))
				there, err = cb.Get(bg, "k", o.load)
			}
			require.NoError(t, err)
			if there < v {
				violations++
				t.Errorf("round %d: version %d was invalidated, read %d there", i, v, there)
			}
		}
		t.Logf("%d rounds, %d violations", rounds(t), violations)
	})
}

func mustExplain[V any](t *testing.T, c *tier.Cache[V]) tier.Explanation {
	e, err := c.Explain(bg, "k")
	require.NoError(t, err)
	return e
}
