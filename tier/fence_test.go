package tier_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/remote"
	"github.com/tiercache/tiercache/tier"
)

// Guards: the call table, and the fleet's lease.
func TestI7OneLoadPerKeyInTheFleet(t *testing.T) {
	eachRemote(t, func(t *testing.T, w *world) {
		var caches []*tier.Cache[int64]
		for range 4 {
			s, _ := w.open(tier.WithRemoteTimeout(10 * time.Second))
			caches = append(caches, cacheOf[int64](t, s))
		}
		var loads, running atomic.Int64
		load := func(ctx context.Context, e *tier.Entry) (int64, error) {
			if running.Add(1) != 1 {
				t.Error("two loads at a time")
			}
			defer running.Add(-1)
			timer := time.NewTimer(50 * time.Millisecond) // what a load takes
			defer timer.Stop()
			<-timer.C
			return loads.Add(1), nil
		}
		start, errs := make(chan struct{}), make(chan error)
		for i := range 1000 {
			go func() {
				<-start
				v, err := caches[i%4].Get(bg, "k", load)
				if err == nil && v != 1 {
					err = fmt.Errorf("got the value of load %d", v)
				}
				errs <- err
			}()
		}
		close(start)
		for range 1000 {
			require.NoError(t, <-errs)
		}
		require.Equal(t, int64(1), loads.Load())
	})
}

// Guard: the call table, where there is no lease to help.
func TestI7OneLoadPerKeyInAProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t, remote.NewEmbedded(0), "test", nil}
		s, _ := w.open()
		c := cacheOf[int64](t, s, tier.WithLocalOnly())
		var loads atomic.Int64
		goOn, got := make(chan struct{}), make(chan int64)
		for range 1000 {
			go func() {
				got <- lookup(t, c, func(context.Context, *tier.Entry) (int64, error) {
					<-goOn
					return loads.Add(1), nil
				}).Value
			}()
		}
		synctest.Wait()
		close(goOn)
		for range 1000 {
			require.Equal(t, int64(1), <-got)
		}
	})
}

// Guard: the lease's token in the write script (rule R8).
//
//	A: its load of k has read the old value
//	B: Set(k, new), or Delete(k)
//	A: the load ends late and would overwrite the newer value
func TestALoadNeverOverwritesANewerWrite(t *testing.T) {
	for _, how := range []string{"set", "delete"} {
		t.Run(how, func(t *testing.T) {
			eachRemote(t, func(t *testing.T, w *world) {
				a, _ := w.open(quiet...)
				b, _ := w.open(quiet...)
				ca, cb := cacheOf[int64](t, a), cacheOf[int64](t, b)
				goOn, got := heldLoad(t, ca)
				if how == "set" {
					require.NoError(t, cb.Set(bg, "k", 1))
				} else {
					require.NoError(t, cb.Delete(bg, "k"))
				}
				close(goOn)
				<-got
				loadNew := func(context.Context, *tier.Entry) (int64, error) { return 1, nil }
				require.NoError(t, a.Sync(bg)) // invalidations of before have been delivered
				within(t, "the late fill was refused", func() bool { return a.Stats().Fenced == 1 })
				require.Equal(t, int64(1), lookup(t, ca, loadNew).Value)
				require.Equal(t, int64(1), lookup(t, cb, loadNew).Value)
			})
		})
	}
}

// Guard: the count of invalidations in Table.InsertIfUnchanged (rule R9).
//
//	B: GET k is answered with the old value; B's goroutine sleeps
//	A: Set(k, new): the invalidation reaches B, which holds nothing yet
//	B: wakes up and would keep the old value for ever
func TestAReadThatAnInvalidationOvertookIsNotKept(t *testing.T) {
	eachRemote(t, func(t *testing.T, w *world) {
		a, _ := w.open(quiet...)
		b, hooks := w.open(quiet...)
		ca, cb := cacheOf[int64](t, a), cacheOf[int64](t, b)
		fail := func(context.Context, *tier.Entry) (int64, error) { return 0, errCut }
		require.NoError(t, ca.Set(bg, "k", 0))
		held, goOn := stopAt(hooks.After, readOp(), 1)
		old := make(chan int64)
		go func() { old <- lookup(t, cb, fail).Value }()
		<-held
		require.NoError(t, ca.Set(bg, "k", 1))
		require.NoError(t, b.Sync(bg)) // the invalidation has been delivered
		close(goOn)
		require.Equal(t, int64(0), <-old)
		require.Equal(t, int64(1), lookup(t, cb, fail).Value)
	})
}
