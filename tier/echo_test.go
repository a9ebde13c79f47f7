package tier_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/embedded"
	"github.com/tiercache/tiercache/internal/interpose"
	"github.com/tiercache/tiercache/tier"
)

// The invalidation that a write of this process owes says nothing new. These are the
// moments at which it can come, or not come at all, and in each the next change
// that another store makes must take the local copy out.

// owing is a store that loads, another that writes, and a stranger.
type owing struct {
	*world
	hub    *embedded.Remote
	store  *tier.Store
	cache  *tier.Cache[int64]
	writer *tier.Cache[int64]
	hooks  *interpose.Backend
}

func eachOwing(t *testing.T, test func(t *testing.T, o *owing)) {
	for name, first := range map[string]bool{"read first": false, "lease first": true} {
		t.Run(name, func(t *testing.T) {
			leaseFirst = first
			defer func() { leaseFirst = false }()
			hub := embedded.New(0)
			o := &owing{world: &world{t, hub, "test", embeddedRaw{hub}}, hub: hub}
			o.store, o.hooks = o.open(quiet...)
			other, _ := o.open(quiet...)
			o.cache, o.writer = cacheOf[int64](t, o.store), cacheOf[int64](t, other)
			test(t, o)
		})
	}
}

// load fills k with 0, and returns when that is stored.
func (o *owing) load() {
	require.Equal(o.t, tier.Loaded, lookup(o.t, o.cache, func(context.Context, *tier.Entry) (int64, error) { return 0, nil }).Origin)
	filled(o.t, o.store, 1)
}

// name is the remote key of k, which is there or not.
func (o *owing) name() string {
	e, err := o.writer.Explain(bg, "k")
	require.NoError(o.t, err)
	return e.RemoteKey
}

// changed: another store changes k, and each read that begins then must see that.
func (o *owing) changed() {
	o.t.Helper()
	require.NoError(o.t, o.writer.Set(bg, "k", 1))
	require.NoError(o.t, o.store.Sync(bg)) // it comes after the invalidation
	require.Equal(o.t, int64(1), lookup(o.t, o.cache, none).Value)
}

// Guard: meta.expectsOwnEcho is set only if the write's echo has not come.
//
//	A: its fill is answered, and its echo came before
//	B: Set(k): the invalidation is not the echo of A's write
func TestTheWritesEchoCameFirst(t *testing.T) {
	eachOwing(t, func(t *testing.T, o *owing) {
		o.load()
		require.Equal(t, tier.Local, lookup(t, o.cache, none).Origin)
		o.changed()
	})
}

// Guard: meta.expectsOwnEcho lets one invalidation pass.
//
//	A: its fill is answered
//	A: gets the echo: the copy stays
//	B: Set(k): the copy is removed
func TestTheWritesEchoComesAfterItsAnswer(t *testing.T) {
	eachOwing(t, func(t *testing.T, o *owing) {
		o.hooks.Filter(func(e interpose.Event) bool { return e.Changed == nil })
		o.load()
		require.Equal(t, 1, o.hooks.Held())
		o.hooks.Filter(func(interpose.Event) bool { return true })
		require.Equal(t, tier.Local, lookup(t, o.cache, none).Origin)
		o.hooks.Deliver()
		require.Equal(t, tier.Local, lookup(t, o.cache, none).Origin, "its own write is no news")
		o.changed()
	})
}

// Guard: one invalidation before the answer may be of another change, and then there is no
// echo.
//
//	A:        is about to write what it loaded
//	stranger: changes k, which ends its tracking
//	A:        writes, which has no echo
//	B:        Set(k)
func TestAStrangersInvalidationTakesThePlaceOfTheOwn(t *testing.T) {
	eachOwing(t, func(t *testing.T, o *owing) {
		name := o.name()
		reached, goOn := stopAt(o.hooks.Before, interpose.Write, 1)
		go func() {
			<-reached
			o.hub.Put(name, "foreign")
			o.store.Sync(bg)
			close(goOn)
		}()
		o.load()
		o.changed()
	})
}

// Guard: such a write reads the key first.
//
//	A:        has the lease
//	stranger: changes k, which ends its tracking; A gets the invalidation
//	A:        resets the baseline of k and writes; that would have no echo
//	B:        Set(k): its invalidation is not the echo of A's write
func TestAWriteOfAKeyThatIsNoLongerTrackedReadsItFirst(t *testing.T) {
	eachOwing(t, func(t *testing.T, o *owing) {
		name := o.name()
		require.Equal(t, tier.Loaded, lookup(t, o.cache, func(context.Context, *tier.Entry) (int64, error) {
			o.hub.Put(name, "foreign")
			return 0, o.store.Sync(bg)
		}).Origin)
		filled(t, o.store, 1)
		o.changed()
	})
}

// Guard: more invalidations than the echo.
//
//	A: its Set was answered, but A has not run since
//	B: Set(k); A gets both invalidations
//	A: runs, and keeps what it has set
func TestAWrittenValueThatIsNoLongerThereIsNotKept(t *testing.T) {
	eachOwing(t, func(t *testing.T, o *owing) {
		reached, goOn := stopAt(o.hooks.After, interpose.Write, 1)
		go func() {
			<-reached
			o.writer.Set(bg, "k", 1)
			o.store.Sync(bg)
			close(goOn)
		}()
		require.NoError(t, o.cache.Set(bg, "k", 0))
		require.Equal(t, int64(1), lookup(t, o.cache, none).Value)
	})
}

// Guard: backend.Write.Unread.
//
//	A: Set(k), which it has never read; without a read that would have no echo
//	B: Set(k): its invalidation is not the echo of A's write
func TestASetOfAKeyThatWasNeverReadOwesItsInvalidation(t *testing.T) {
	eachRemote(t, func(t *testing.T, w *world) {
		a, _ := w.open(quiet...)
		b, _ := w.open(quiet...)
		ca, cb := cacheOf[int64](t, a), cacheOf[int64](t, b)
		require.NoError(t, ca.Set(bg, "k", 0))
		require.NoError(t, a.Sync(bg)) // its own invalidation has come
		require.Equal(t, tier.Local, lookup(t, ca, none).Origin)
		require.NoError(t, cb.Set(bg, "k", 1))
		require.NoError(t, a.Sync(bg))
		require.Equal(t, int64(1), lookup(t, ca, none).Value)
	})
}

// The server sends an invalidation of an expired value, too, at the latest when the lease
// is taken. The value loaded in its place stays in the local tier all the same.
func TestWhatReplacesAnExpiredValueIsKept(t *testing.T) {
	inBubbles(t, func(t *testing.T, f *fleet) {
		for _, first := range []bool{false, true} {
			s := f.process()
			c := view[int64](t, s, "docs", tier.WithTTL(time.Second), tier.WithJitter(0))
			if first {
				tier.LeaseFirst(c)
			}
			for i := range int64(5) {
				require.Equal(t, tier.Loaded, find(t, c, "k", is(i)).Origin)
				filled(t, s, i+1)
				synctest.Wait()
				require.Equal(t, tier.Local, find(t, c, "k", unneeded).Origin, "lease first %v, round %d", first, i)
				time.Sleep(2 * time.Second)
			}
		}
	})
}
