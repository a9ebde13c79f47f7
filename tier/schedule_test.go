package tier_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/embedded"
	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/tier"
)

// Schedules that once broke an invariant.

// Guard: item.recheck compares the epoch, and only it notes Seq.
//
//	A: GET k is answered with the old value
//	A: its connection is lost and renewed; B: Set(k, new) in between
//	A: a heartbeat on the new connection; then it keeps the old value
func TestI2AnAnswerOfALostConnectionIsNotBelieved(t *testing.T) {
	hub := embedded.New(0)
	w := &world{t, hub, "test", embeddedRaw{hub}}
	a, hooks := w.open(quiet...)
	b, _ := w.open(quiet...)
	ca, cb := cacheOf[int64](t, a), cacheOf[int64](t, b)
	require.NoError(t, cb.Set(bg, "k", 0))
	reached, goOn := stopAt(hooks.After, readOp(), 1)
	old := make(chan int64)
	go func() { old <- lookup(t, ca, none).Value }()
	<-reached
	w.raw.disconnect()
	require.NoError(t, cb.Set(bg, "k", 1))
	require.NoError(t, a.Sync(bg))
	close(goOn)
	require.Equal(t, int64(0), <-old)
	for range 3 {
		require.Equal(t, int64(1), lookup(t, ca, none).Value)
	}
}

// Guard: watch.hasProvisional.
//
//	A1: loads k
//	A2: Set(k, 1) fences that load off, and keeps 1
//	A1: is about to write what it loaded
//	B:  Set(k, 2): its invalidation is not the echo of A1's write
func TestI2AnInvalidationIsNotTakenForThatOfAFencedLoad(t *testing.T) {
	eachRemote(t, func(t *testing.T, w *world) {
		a, hooks := w.open(quiet...)
		b, _ := w.open(quiet...)
		ca, cb := cacheOf[int64](t, a), cacheOf[int64](t, b)
		loading, loaded := make(chan struct{}), make(chan struct{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			lookup(t, ca, func(context.Context, *tier.Entry) (int64, error) {
				close(loading)
				<-loaded
				return 0, nil
			})
		}()
		<-loading
		require.NoError(t, ca.Set(bg, "k", 1))
		require.Equal(t, tier.Local, lookup(t, ca, none).Origin)
		reached, goOn := stopAt(hooks.Before, interpose.Write, 1)
		close(loaded)
		<-reached
		require.NoError(t, cb.Set(bg, "k", 2))
		require.NoError(t, a.Sync(bg))
		close(goOn)
		<-done
		require.Equal(t, int64(2), lookup(t, ca, none).Value)
		require.Equal(t, int64(2), lookup(t, ca, none).Value)
	})
}

// Guard: a fresh caller does not share a call that began before it did.
//
//	B1: GET k is answered with the old value
//	A:  Set(k, new); its invalidation to B is late
//	B2: reads k fresh and finds B1's call
func TestI4AFreshReadDoesNotShareAReadFromBeforeAWrite(t *testing.T) {
	eachRemote(t, func(t *testing.T, w *world) {
		a, _ := w.open(quiet...)
		b, hooks := w.open(quiet...)
		ca, cb := cacheOf[int64](t, a), cacheOf[int64](t, b)
		require.NoError(t, ca.Set(bg, "k", 0))
		hooks.Filter(func(e interpose.Event) bool { return e.Changed == nil })
		reached, goOn := stopAt(hooks.After, readOp(), 1)
		old := make(chan int64)
		go func() { old <- lookup(t, cb, none).Value }()
		<-reached
		require.NoError(t, ca.Set(bg, "k", 1))
		fresh := make(chan int64)
		go func() { fresh <- lookup(t, cb, none, tier.Fresh()).Value }()
		close(goOn)
		require.Equal(t, int64(0), <-old)
		require.Equal(t, int64(1), <-fresh)
	})
}

// What a call has kept is served to the caller that looked for it just before.
//
//	B: finds no copy of k that it may serve
//	A: its write of k is acknowledged, and its copy kept
//	B: leads a call of its own
func TestWhatWasKeptMeanwhileIsNotReadRemotely(t *testing.T) {
	eachRemote(t, func(t *testing.T, w *world) {
		s, hooks := w.open(quiet...)
		c := cacheOf[int64](t, s)
		require.NoError(t, c.Set(bg, "k", 1))
		lookup(t, c, none)
		was := s.Stats()
		hooks.Before(func(o interpose.Op) error { assert.NotEqual(t, readOp(), o); return nil })
		require.Equal(t, tier.Local, tier.LeadLate(c, "k", func() {}))
		is := s.Stats()
		require.Equal(t, was.Reads()+1, is.Reads())
		require.Equal(t, was.Shared+1, is.Shared)
	})
}

// Guard: a fresh caller does not share a local copy, however recently that was checked.
//
//	B1: finds no copy of k that it may serve, and leads a call
//	A:  Set(k, new); its invalidation to B is late
//	B2: reads k fresh and finds B1's call
//	B1: finds the old value, kept meanwhile
func TestI4AFreshReadDoesNotShareALocalCopy(t *testing.T) {
	eachRemote(t, func(t *testing.T, w *world) {
		a, _ := w.open(quiet...)
		b, hooks := w.open(quiet...)
		ca, cb := cacheOf[int64](t, a), cacheOf[int64](t, b)
		require.NoError(t, ca.Set(bg, "k", 0))
		require.Equal(t, int64(0), lookup(t, cb, none).Value)
		hooks.Filter(func(e interpose.Event) bool { return e.Changed == nil })
		fresh := make(chan int64)
		tier.LeadLate(cb, "k", func() {
			require.NoError(t, ca.Set(bg, "k", 1))
			go func() { fresh <- lookup(t, cb, none, tier.Fresh()).Value }()
			within(t, "it shares the call", func() bool { return tier.Waiters(cb, "k") == 2 })
		})
		require.Equal(t, int64(1), <-fresh)
	})
}

// Guards: a load without its lease is shared neither for longer than the bound nor
// across a Sync.
//
//	A: its read of k gets no answer; it loads k, and the server may not track it
//	B: Set(k, 1): no message tells A
//	A: reads k, later than the bound, or after a Sync
func TestI2ALoadWithoutALeaseIsNotSharedBeyondTheBound(t *testing.T) {
	const bound = 100 * time.Millisecond
	afterALoadWithoutALease(t, bound, func(*tier.Store) {
		set := time.Now()
		assert.Eventually(t, func() bool { return time.Since(set) > 2*bound }, time.Minute, time.Millisecond)
	})
}

func TestI3AfterASyncALoadWithoutALeaseIsNotShared(t *testing.T) {
	afterALoadWithoutALease(t, time.Hour, func(a *tier.Store) { assert.NoError(t, a.Sync(bg)) })
}

func afterALoadWithoutALease(t *testing.T, bound time.Duration, then func(*tier.Store)) {
	eachRemote(t, func(t *testing.T, w *world) {
		options := []tier.Option{tier.WithHeartbeat(10 * time.Millisecond), tier.WithMaxStaleness(bound), tier.WithRemoteTimeout(10 * time.Second)}
		a, hooks := w.open(options...)
		b, _ := w.open(options...)
		ca, cb := cacheOf[int64](t, a), cacheOf[int64](t, b)
		var failed atomic.Bool
		hooks.Before(func(o interpose.Op) error {
			if o == readOp() && !failed.Swap(true) {
				return context.DeadlineExceeded
			}
			return nil
		})
		goOn, first := heldLoad(t, ca)
		assert.NoError(t, cb.Set(bg, "k", 1))
		then(a)
		second := make(chan int64, 1)
		go func() { second <- lookup(t, ca, none).Value }()
		assert.Eventually(t, func() bool { return tier.Waiters(ca, "k") == 2 }, time.Minute, time.Millisecond)
		close(goOn)
		assert.Equal(t, int64(0), <-first)
		assert.Equal(t, int64(1), <-second)
	})
}

// Guard: errors are shared only if nothing has changed since the load began.
//
//	A1: its load found nothing
//	the value is made, and that is invalidated by A
//	A2: reads k and finds A1's load
func TestI1NotFoundIsNotSharedAcrossAChange(t *testing.T) {
	eachRemote(t, func(t *testing.T, w *world) {
		s, _ := w.open(quiet...)
		c := cacheOf[int64](t, s, tier.WithNegativeTTL(0))
		loading, goOn := make(chan struct{}), make(chan struct{})
		first := make(chan error)
		go func() {
			_, err := c.Get(bg, "k", func(context.Context, *tier.Entry) (int64, error) {
				close(loading)
				<-goOn
				return 0, tier.ErrNotFound
			})
			first <- err
		}()
		<-loading
		_, err := c.Invalidate(bg)
		require.NoError(t, err)
		second := make(chan int64)
		go func() {
			second <- lookup(t, c, func(context.Context, *tier.Entry) (int64, error) { return 1, nil }).Value
		}()
		close(goOn)
		require.ErrorIs(t, <-first, tier.ErrNotFound)
		require.Equal(t, int64(1), <-second)
	})
}

// Guard: where keys are scopes, their change is recorded after the write.
//
//	A: Set(k, new) has recorded the change, or is about to write
//	B: reads k: whatever it finds, it does not keep the old value
func TestI2WithoutTrackingAWriteIsFollowedByItsRecord(t *testing.T) {
	eachRemote(t, func(t *testing.T, w *world) {
		options := append([]tier.Option{tier.WithoutTracking()}, quiet...)
		a, hooks := w.open(options...)
		b, _ := w.open(options...)
		ca, cb := cacheOf[int64](t, a), cacheOf[int64](t, b)
		require.NoError(t, ca.Set(bg, "k", 0))
		require.NoError(t, b.Sync(bg))
		reached, goOn := stopAt(hooks.Before, interpose.Write, 1)
		set := make(chan error)
		go func() { set <- ca.Set(bg, "k", 1) }()
		<-reached
		require.NoError(t, b.Sync(bg))
		lookup(t, cb, none)
		require.Equal(t, int64(0), lookup(t, cb, none).Value)
		close(goOn)
		require.NoError(t, <-set)
		require.NoError(t, b.Sync(bg))
		require.Equal(t, int64(1), lookup(t, cb, none).Value)
	})
}

// What is loaded beside an entry of another version is shared as if the key were not tracked, if that entry changed
// before the load began: the server has told of that, and tells no more.
func TestI3AfterASyncALoadBesideWhatChangedIsNotShared(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		options := []tier.Option{tier.WithHeartbeat(10 * time.Millisecond), tier.WithMaxStaleness(time.Hour), tier.WithRemoteTimeout(10 * time.Second)}
		a, hooks := w.open(options...)
		b, _ := w.open(options...)
		now, old := cacheOf[int64](t, a, tier.WithSchema("2")), cacheOf[int64](t, b, tier.WithSchema("1"))
		require.NoError(t, old.Set(bg, "k", 5))
		require.NoError(t, a.Sync(bg))
		var gets atomic.Int64
		hooks.Before(func(o interpose.Op) error {
			if o == interpose.Get && gets.Add(1) == 2 { // it has read what it goes beside
				assert.NoError(t, old.Set(bg, "k", 6))
				assert.NoError(t, a.Sync(bg))
			}
			return nil
		})
		goOn, first := heldLoad(t, now)
		assert.NoError(t, old.Set(bg, "k", 1))
		assert.NoError(t, a.Sync(bg))
		second := make(chan int64, 1)
		go func() {
			second <- lookup(t, now, func(context.Context, *tier.Entry) (int64, error) { return 1, nil }).Value
		}()
		assert.Eventually(t, func() bool { return tier.Waiters(now, "k") == 2 }, time.Minute, time.Millisecond)
		close(goOn)
		assert.Equal(t, int64(0), <-first)
		assert.Equal(t, int64(1), <-second)
		third := lookup(t, now, func(context.Context, *tier.Entry) (int64, error) { return 1, nil })
		assert.Equal(t, int64(1), third.Value, "nor is it kept")
	})
}

// Nor is it kept, then or if the connection over which that entry was read was lost.
func TestI3WhatIsLoadedBesideAnEntryThatIsNotTrackedIsNotKept(t *testing.T) {
	for name, between := range map[string]func(t *testing.T, w *world, old *tier.Cache[int64]){
		"it changed": func(t *testing.T, _ *world, old *tier.Cache[int64]) {
			assert.NoError(t, old.Set(bg, "k", 6))
		},
		"another connection": func(_ *testing.T, w *world, _ *tier.Cache[int64]) { w.raw.disconnect() },
	} {
		t.Run(name, func(t *testing.T) { loadedBeside(t, between) })
	}
}

func loadedBeside(t *testing.T, between func(t *testing.T, w *world, old *tier.Cache[int64])) {
	eachWorld(t, func(t *testing.T, w *world) {
		options := []tier.Option{tier.WithHeartbeat(10 * time.Millisecond), tier.WithMaxStaleness(time.Hour), tier.WithRemoteTimeout(10 * time.Second)}
		a, hooks := w.open(options...)
		b, _ := w.open(options...)
		now, old := cacheOf[int64](t, a, tier.WithSchema("2")), cacheOf[int64](t, b, tier.WithSchema("1"))
		require.NoError(t, old.Set(bg, "k", 5))
		require.NoError(t, a.Sync(bg))
		var gets atomic.Int64
		hooks.Before(func(o interpose.Op) error {
			if o == interpose.Get && gets.Add(1) == 2 { // it has read what it goes beside
				between(t, w, old)
				within(t, "it is told", func() bool { return a.Sync(bg) == nil })
			}
			return nil
		})
		load := func(n int64) tier.Loader[int64] {
			return func(context.Context, *tier.Entry) (int64, error) { return n, nil }
		}
		assert.Equal(t, int64(0), lookup(t, now, load(0)).Value)
		within(t, "it is stored", func() bool { st := a.Stats(); return st.Fills+st.FillErrors+st.Unleased > 0 })
		within(t, "it is set", func() bool { return old.Set(bg, "k", 1) == nil })
		within(t, "all is told", func() bool { return a.Sync(bg) == nil })
		assert.Equal(t, int64(1), lookup(t, now, load(1)).Value)
	})
}
